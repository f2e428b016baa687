"""Engines: each that is installed gives what PyTorch gives, and one that does not is left alone."""

from __future__ import annotations

import logging
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
    assert forward.__qualname__.startswith(f"_{name}")
    shown = np.random.default_rng(1).integers(0, 256, (8, SIDE, SIDE, 3), dtype=np.uint8)
    assert distance(forward(shown), plain(shown)) < 1e-5
    with ThreadPoolExecutor(4) as pool:  # several threads, the same bits
        assert all((found == forward(shown)).all() for found in pool.map(forward, [shown] * 8))


def test_a_network_is_exported_once_and_for_a_few_pictures_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build(module(), SIDE, Runtime("cpu", "auto", tmp_path, PAYS - 1), "small").__qualname__.startswith("_torch")
    assert not list(tmp_path.iterdir())
    first = build(module(), SIDE, Runtime("cpu", "auto", tmp_path, PAYS), "small")
    assert first.__qualname__.startswith("_onnxruntime")
    monkeypatch.setattr(engine, "export", lambda *_: pytest.fail("exported again"))
    again = build(module(), SIDE, Runtime("cpu", "auto", tmp_path, 1), "small")
    shown = pictures(8, SIDE)
    assert (again(shown) == first(shown)).all()


def test_a_damaged_export_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "small.onnx").write_bytes(b"half a netw")
    forward = build(module(), SIDE, Runtime("cpu", "onnxruntime", tmp_path, PAYS), "small")
    assert forward.__qualname__.startswith("_onnxruntime")
    assert "is damaged" in caplog.text


def test_an_export_of_other_weights_does_not_pass_the_gate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = module()
    with torch.no_grad():
        other.network[0].weight *= 1.01
    (tmp_path / "small.onnx").write_bytes(engine.export(other, SIDE))
    forward = build(module(), SIDE, Runtime("cpu", "auto", tmp_path, PAYS), "small")
    assert forward.__qualname__.startswith("_torch")
    assert "onnxruntime is left alone: its vectors are" in caplog.text


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
