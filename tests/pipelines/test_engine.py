"""Engines: each that is installed gives what PyTorch gives, and one that does not is left alone."""

from __future__ import annotations

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image

from collector.errors import UsageError
from pipelines import engine
from pipelines.backbones import TorchBackbone, load_backbone
from pipelines.engine import CPU_ENGINES, GATE, PAYS, Runtime, build, device_of, distance, pictures, wrapped
from pipelines.engine.cpu import measured
from tests.conftest import SHARED

MEAN = STD = (0.5, 0.5, 0.5)
SIDE = 32
WEIGHTS = SHARED / "models" / "squeezenet1_1-imagenet.pth"


def module() -> Any:
    """A small network with a bit of everything: convolution, normalization, pooling, a layer."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, stride=2, padding=1),
        torch.nn.BatchNorm2d(16),
        torch.nn.Hardswish(),
        torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 24),
    )
    return wrapped(network, MEAN, STD)


@pytest.fixture
def plain() -> engine.Forward:
    return build(module(), SIDE, Runtime(), "small")


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_an_engine_gives_what_pytorch_gives(name: str, plain: engine.Forward, tmp_path: Path) -> None:
    forward = build(module(), SIDE, Runtime("cpu", name, tmp_path, PAYS), "small")
    assert forward.__qualname__.startswith(name)
    shown = np.random.default_rng(1).integers(0, 256, (8, SIDE, SIDE, 3), dtype=np.uint8)
    assert distance(forward(shown), plain(shown)) < 1e-5
    with ThreadPoolExecutor(4) as pool:  # several threads, the same bits
        assert all((found == forward(shown)).all() for found in pool.map(forward, [shown] * 8))


def test_the_fastest_engine_is_measured_once_and_for_a_few_pictures_nothing_is(tmp_path: Path) -> None:
    assert build(module(), SIDE, Runtime("cpu", "auto", tmp_path, PAYS - 1), "small").__qualname__.startswith(
        "in_torch"
    )
    assert not list(tmp_path.iterdir())
    first = build(module(), SIDE, Runtime("cpu", "auto", tmp_path, PAYS), "small")
    kept = json.loads((tmp_path / "small.json").read_text())
    assert kept["images_per_s"].keys() == {"torch", *CPU_ENGINES}
    assert kept["engine"] == max(kept["images_per_s"], key=kept["images_per_s"].get)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = build(module(), SIDE, Runtime("cpu", "auto", tmp_path, 1), "small")
    assert again.__qualname__ == first.__qualname__
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    shown = pictures(8, SIDE)
    assert (again(shown) == first(shown)).all()


def test_of_engines_the_one_with_more_pictures_in_a_second_wins() -> None:
    def waiting(seconds: float) -> engine.Forward:
        def forward(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            time.sleep(seconds)
            return np.zeros((len(pixels), 1), dtype=np.float32)

        return forward

    found = measured({"slow": waiting(0.2), "fast": waiting(0.01)}, pictures(8, SIDE))
    assert found["fast"] > 5 * found["slow"] > 0


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_a_choice_once_made_stays(name: str, tmp_path: Path) -> None:
    build(module(), SIDE, Runtime("cpu", name, tmp_path, PAYS), "small")
    (tmp_path / "small.json").write_text(json.dumps({"engine": name}))
    assert build(module(), SIDE, Runtime("cpu", "auto", tmp_path, 1), "small").__qualname__.startswith(name)


def test_a_damaged_choice_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text("[1")
    build(module(), SIDE, Runtime("cpu", "auto", tmp_path, PAYS), "small")
    assert json.loads((tmp_path / "small.json").read_text())["engine"] in {"torch", *CPU_ENGINES}


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_a_damaged_export_is_made_again(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    how = CPU_ENGINES[name]
    (tmp_path / f"small.{how.suffix}").write_bytes(how.export(module(), SIDE)[:-100])
    forward = build(module(), SIDE, Runtime("cpu", name, tmp_path, PAYS), "small")
    assert forward.__qualname__.startswith(name)
    assert "is damaged" in caplog.text


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_an_export_of_other_weights_does_not_pass_the_gate(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = module()
    with torch.no_grad():
        other.network[0].weight *= 1.01
    how = CPU_ENGINES[name]
    (tmp_path / f"small.{how.suffix}").write_bytes(how.export(other, SIDE))
    forward = build(module(), SIDE, Runtime("cpu", name, tmp_path, PAYS), "small")
    assert forward.__qualname__.startswith("in_torch")
    assert f"{name} is left alone: its vectors are" in caplog.text


def test_what_cannot_be_exported_runs_in_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return torch.linalg.svdvals(x.mean(dim=1))

    caplog.set_level(logging.INFO)
    forward = build(wrapped(Odd(), MEAN, STD), SIDE, Runtime("cpu", "auto", tmp_path, PAYS), "odd")
    assert forward(pictures(2, SIDE)).shape == (2, SIDE)
    assert "cannot run this network" in caplog.text


def test_the_gate_sees_nan_and_other_shapes() -> None:
    one = np.ones((2, 3), dtype=np.float32)
    assert distance(one, one) == 0
    assert distance(one * np.float32(1 + 2 * GATE), one) > GATE
    assert distance(np.full_like(one, np.nan), one) == float("inf")
    assert distance(one[:, :2], one) == float("inf")


def test_devices_are_words_and_auto_is_what_there_is() -> None:
    assert device_of("cpu") == "cpu"
    assert device_of("auto") in ("cpu", "cuda", "mps")
    with pytest.raises(UsageError, match="is not a device"):
        device_of("tpu")


@pytest.mark.realdata
@pytest.mark.skipif(not WEIGHTS.is_file(), reason="no real weights here")
@pytest.mark.parametrize("name", CPU_ENGINES)
def test_on_real_pictures_every_engine_says_the_same(name: str, tmp_path: Path) -> None:
    """As `benchmarks/prelabel.py` measures on all: equal top-1, against float32 PyTorch and torchvision's transform."""
    paths = sorted((SHARED / "data" / "imagen").glob("*.jp*g"))[::50]
    backbone = load_backbone("squeezenet1_1", WEIGHTS)
    assert isinstance(backbone, TorchBackbone)
    whole = backbone.whole(1000)
    shown = [Image.open(path).convert("RGB") for path in paths]
    with whole.ready(Runtime("cpu", name, tmp_path, PAYS)):
        logits = whole.embed(np.stack([whole.prepare(each) for each in shown]))
    network = torchvision.models.squeezenet1_1(weights=None).eval()
    network.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    preset = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms(antialias=True)
    with torch.inference_mode():
        expected = network(torch.stack([preset(each) for each in shown]))
        apart = (torch.from_numpy(logits).softmax(1) - expected.softmax(1)).abs().max()
    assert (logits.argmax(axis=1) == expected.argmax(dim=1).numpy()).all()
    assert float(apart) < 1e-4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu_the_vectors_are_those_of_the_processor(plain: engine.Forward) -> None:
    forward = build(module(), SIDE, Runtime("cuda"), "small")
    shown = pictures(300, SIDE)
    assert distance(forward(shown), plain(shown)) < GATE
    with ThreadPoolExecutor(6) as pool:
        found: list[NDArray[np.float32]] = list(pool.map(forward, [shown] * 12))
    assert all((each == found[0]).all() for each in found)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu_bfloat16_is_near(plain: engine.Forward) -> None:
    forward = build(module(), SIDE, Runtime("cuda"), "small", bf16=True)
    shown = pictures(16, SIDE)
    assert 0 < distance(forward(shown), plain(shown)) < 0.05
