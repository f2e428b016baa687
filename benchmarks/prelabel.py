"""From a JPEG on disk to a durable row: ours beside the stock loops of torchvision and timm. The target of issue 6.

    uv run python benchmarks/prelabel.py [--pictures DIR --number 400 --rounds 5] [--weights FILE] [--out FILE]

Same weights, same transform, same two cores, each contestant in a process of its own, in turns. The clock runs from
the first picture to the last durable row; building the network (and, once for a workspace, exporting it) stands beside
it. Stock loops are those of torchvision's references/classification (`DataLoader`, as many workers as cores, Pillow,
batches of 32, also in channels_last) and of timm's validate.py/inference.py (`create_loader`, `--channels-last`); they
write a CSV at the end. Ours writes vectors and one row of the catalog for each picture, and fsyncs both.

SqueezeNet 1.1 has the weights of `--weights` (default: ../shared/models); without that file, and for MobileNetV3, they
are random: speed does not depend on them. Gate: ImageNet's top-1 of every contestant's network against torchvision's
own transform and float32 PyTorch, one picture at a time.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image

from collector.catalog import images as image_rows
from collector.catalog import models
from collector.catalog.models import Experiment
from collector.decoding import PREVIEW_SIDE
from collector.intake import take_in
from collector.records import Kept, License, Sighting
from collector.workspace import Workspace
from pipelines import engine, features
from pipelines.backbones import TorchBackbone, load_backbone
from pipelines.engine import Runtime
from pipelines.predict import Head, Model, judged, model_run

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"
NETWORKS = ("squeezenet1_1", "mobilenet_v3_large")
LABELS = tuple(f"class-{k}" for k in range(20))
TARGET = {"originals": 4.0, "previews": 5.0}
STOCK = ("torchvision", "torchvision channels_last", "timm", "timm channels_last")
BATCH = 32


def main() -> None:
    """Set the scene, take turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, default=SHARED / "data" / "imagen")
    parser.add_argument("--weights", type=Path, default=SHARED / "models" / "squeezenet1_1-imagenet.pth")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--number", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs=4, metavar=("WHO", "NETWORK", "FROM", "SCENE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only:
        print(json.dumps(run(*asked.only[:3], Path(asked.only[3]))))
        return
    with tempfile.TemporaryDirectory(prefix="collect-prelabel-") as name:
        scene = Path(name)
        lines = speed(scene, asked)
    print("\n".join(lines))
    if asked.out:
        asked.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def speed(scene: Path, asked: argparse.Namespace) -> list[str]:
    """The table of all contestants, the profile of ours, and the gate."""
    pictures = set_scene(scene, asked)
    lines = [
        "# Pre-labels beside the stock loops",
        "",
        f"Machine: {engine.cores()} cores, {platform.machine()}, load {os.getloadavg()[0]:.1f} before; "
        f"torch {version('torch')}, torchvision {version('torchvision')}, timm {version('timm')}, "
        f"onnxruntime {version('onnxruntime')}, openvino {version('openvino')}.",
        "",
        f"Command: `uv run python benchmarks/prelabel.py {' '.join(sys.argv[1:])}`; {pictures} JPEGs.",
    ]
    for network in asked.networks:
        kinds = [(who, "originals") for who in STOCK] + [(STOCK[0], "previews"), (STOCK[3], "previews")]
        kinds += [("ours", "originals"), ("ours", "previews")]
        found: dict[tuple[str, str], list[dict[str, float]]] = {kind: [] for kind in kinds}
        child("ours", network, "originals", scene)  # exports the network, once for a workspace
        for turn in range(asked.rounds):
            for who, source in kinds if turn % 2 == 0 else reversed(kinds):
                found[who, source].append(child(who, network, source, scene))
                print(network, who, source, found[who, source][-1], file=sys.stderr)
        lines += ["", f"## {network}", "", *table(found), "", *profile(scene, network), "", gate(scene, network)]
    return lines


def table(found: dict[tuple[str, str], list[dict[str, float]]]) -> list[str]:
    """One line for each contestant: images/s of every round, against the recipes as they stand, and against the best.

    The target is set against the recipes as they stand; to ask for channels_last is a change of one's own.
    """
    rates = {kind: [each["images"] / each["seconds"] for each in rounds] for kind, rounds in found.items()}
    middle = {kind: statistics.median(each) for kind, each in rates.items()}
    recipe = max(middle[who, "originals"] for who in STOCK if "channels_last" not in who)
    best = max(middle[who, "originals"] for who in STOCK)
    lines = [
        "| who | from | images/s, median | every round | start, s | x the stock loops | x channels_last too |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (who, source), each in rates.items():
        against = middle[who, source] / recipe
        told = f"{against:.2f}"
        if who == "ours":
            told += f" (target {TARGET[source]:.0f}: {'met' if against >= TARGET[source] else 'missed'})"
        told += f" | {middle[who, source] / best:.2f}"
        start = statistics.median(round_["start"] for round_ in found[who, source])
        rounds = ", ".join(f"{rate:.0f}" for rate in each)
        lines.append(f"| {who} | {source} | {statistics.median(each):.0f} | {rounds} | {start:.1f} | {told} |")
    return lines


def set_scene(scene: Path, asked: argparse.Namespace) -> int:
    """A workspace with the pictures, the same as files, their previews as files, and the weights."""
    torch.manual_seed(0)
    for network in asked.networks:
        path = scene / f"{network}.pth"
        if network == "squeezenet1_1" and asked.weights.is_file():
            path.write_bytes(asked.weights.read_bytes())
        else:
            torch.save(drawn(network, sorted(asked.pictures.iterdir())[:32]).state_dict(), path)
    for folder in ("ws", "originals/all", "previews/all"):
        (scene / folder).mkdir(parents=True)
    (scene / "ws" / "config.toml").touch()
    count = 0
    with Workspace.open(scene / "ws" / "config.toml", environ={}) as ws:
        ws.concept("things", create=True)
        for path in sorted(asked.pictures.iterdir()):
            if count == asked.number:
                break
            data = path.read_bytes()
            seen = Sighting("made", path.name, path.as_uri(), License("own"), "things", "things")
            if not data.startswith(b"\xff\xd8") or not isinstance(kept := take_in(ws, data, seen), Kept):
                continue
            count += 1
            (scene / "originals" / "all" / f"{kept.image}.jpg").write_bytes(data)
            with Image.open(path) as file:
                small = file.convert("RGB")
            scale = min(1.0, PREVIEW_SIDE / min(small.size))
            small = small.resize((round(small.width * scale), round(small.height * scale)), reducing_gap=2.0)
            small.save(scene / "previews" / "all" / f"{kept.image}.jpg", quality=90)
        packed = {path.stem: path.read_bytes() for path in sorted((scene / "previews" / "all").iterdir())}
        places = dict(zip(packed, ws.store.put_previews(list(packed.values())), strict=True))
        (scene / "places.json").write_text(json.dumps(places))
    return count


def drawn(network: str, paths: list[Path]) -> Any:
    """A network with random weights whose layers have seen pictures: without, its answers would hardly differ."""
    model = torchvision.models.get_model(network, weights=None)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # the mean over all that it sees
    preset = torchvision.models.get_model_weights(network).DEFAULT.transforms(antialias=True)
    last = [layer for layer in model.modules() if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear))][-1]
    with torch.no_grad():
        last.weight *= 100
        model.train()(torch.stack([preset(Image.open(path).convert("RGB")) for path in paths]))
    return model


def child(who: str, network: str, source: str, scene: Path) -> dict[str, float]:
    """One contestant in a fresh process."""
    command = [sys.executable, "-W", "ignore", __file__, "--only", who, network, source, str(scene)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def run(who: str, network: str, source: str, scene: Path) -> dict[str, float]:
    """Judge all pictures once; seconds before the first picture, and from then to the last durable row."""
    started = time.perf_counter()
    judge = ours if who == "ours" else stock
    clock, images = judge(who, network, source, scene)
    return {"start": clock - started, "seconds": time.perf_counter() - clock, "images": images}


def made_head(dimension: int) -> Head:
    """A head of 20 labels that nobody has trained."""
    rng = np.random.default_rng(0)
    return Head(
        LABELS, rng.normal(size=(20, dimension)), np.zeros(20), np.zeros(dimension), np.ones(dimension), temperature=9.0
    )


def ours(_: str, network: str, source: str, scene: Path) -> tuple[float, int]:
    """As `collect prelabel` does it, from bytes in the store, or previews in packs, to rows."""
    backbone = load_backbone(network, scene / f"{network}.pth")
    assert isinstance(backbone, TorchBackbone)
    with Workspace.open(scene / "ws" / "config.toml", environ={}) as ws:
        places = {
            name: features.Preview(*place) for name, place in json.loads((scene / "places.json").read_text()).items()
        }
        chosen = places if source == "previews" else dict.fromkeys(places)
        image_rows.previews = lambda _, wanted: {name: chosen[name] for name in wanted}  # type: ignore[assignment]
        for shard in features.folder_of(ws, backbone).glob("*.parquet"):
            shard.unlink()
        version_ = f"{network}-{time.time_ns()}"
        model = Model(
            Experiment(version_, "things", "", "", {}, {}, "", "", None), backbone, made_head(backbone.dimension)
        )
        row = model_run(model)._replace(id=version_, experiment=None)
        models.put_model_run(ws.catalog, row)
        clock: list[float] = []

        @contextmanager
        def ready(runtime: Runtime) -> Iterator[None]:
            exported = replace(runtime, images=max(runtime.images, engine.PAYS))  # as for any larger pool
            with TorchBackbone.ready(backbone, exported):
                clock.append(time.perf_counter())
                yield

        backbone.ready = ready  # type: ignore[method-assign, assignment]
        done = 0
        for found, vectors in features.stream(ws, sorted(places), backbone):
            rows = judged(model, found, vectors.astype(np.float32))
            done += models.add_predictions(ws.catalog, version_, "things", rows)
    assert done == len(places)
    return clock[0], done


def stock(who: str, network: str, source: str, scene: Path) -> tuple[float, int]:
    """A stock loop: workers decode, the main process computes on all cores, a CSV at the end."""
    folder = scene / source
    model = torchvision.models.get_model(network, weights=None)
    model.load_state_dict(torch.load(scene / f"{network}.pth", weights_only=True))
    model.eval()
    last = who.endswith("channels_last")
    if last:
        model = model.to(memory_format=torch.channels_last)
    names, loader = (timm_loader if who.startswith("timm") else torchvision_loader)(folder, network)
    clock = time.perf_counter()
    said: list[list[float]] = []
    with torch.inference_mode():
        for batch, _ in loader:
            logits = model(batch.contiguous(memory_format=torch.channels_last) if last else batch)
            said += logits.softmax(1).topk(5).values.tolist()
    with open(scene / "stock.csv", "w", newline="") as file:
        csv.writer(file).writerows([name, *row] for name, row in zip(names, said, strict=True))
        file.flush()
        os.fsync(file.fileno())
    return clock, len(said)


def torchvision_loader(folder: Path, network: str) -> tuple[list[str], Any]:
    """As references/classification/train.py evaluates."""
    shown = torchvision.models.get_model_weights(network).DEFAULT.transforms(antialias=True)
    data = torchvision.datasets.ImageFolder(str(folder), shown)
    loader = torch.utils.data.DataLoader(data, BATCH, num_workers=engine.cores())
    return [name for name, _ in data.samples], loader


def timm_loader(folder: Path, network: str) -> tuple[list[str], Any]:
    """As timm's validate.py evaluates without a GPU."""
    from timm.data import create_dataset, create_loader

    preset = torchvision.models.get_model_weights(network).DEFAULT.transforms(antialias=True)
    data = create_dataset("", root=str(folder))
    loader = create_loader(
        data,
        input_size=(3, preset.crop_size[0], preset.crop_size[0]),
        batch_size=BATCH,
        use_prefetcher=False,
        interpolation="bilinear",
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        num_workers=engine.cores(),
        crop_pct=preset.crop_size[0] / preset.resize_size[0],
        device=torch.device("cpu"),
    )
    return list(data.filenames()), loader


def profile(scene: Path, network: str) -> list[str]:
    """Milliseconds of one core for an image, stage by stage, alone on the machine as far as it is."""
    backbone = load_backbone(network, scene / f"{network}.pth")
    assert isinstance(backbone, TorchBackbone)
    files = {name: [path.read_bytes() for path in sorted((scene / name / "all").iterdir())[:96]] for name in TARGET}
    lines = ["| stage, one core | ms an image |", "| --- | --- |"]

    def told(stage: str, work: Callable[[], object], count: int) -> None:
        best = float("inf")
        for _ in range(3):
            before = time.perf_counter()
            work()
            best = min(best, time.perf_counter() - before)
        lines.append(f"| {stage} | {1000 * best / count:.2f} |")

    for name, data in files.items():
        pictures = [features.decoded(each) for each in data]
        told(f"decode, {name}", lambda data=data: [features.decoded(each) for each in data], len(data))
        told(f"transform, {name}", lambda pictures=pictures: [backbone.prepare(each) for each in pictures], len(data))
    stack = np.stack([backbone.prepare(features.decoded(each)) for each in files["originals"]])
    for name in ("torch", *engine.CPU_ENGINES):
        with backbone.ready(Runtime("cpu", name, scene / "engines", engine.PAYS)):
            told(f"forward, {name}", lambda: [backbone.embed(part) for part in parts(stack)], len(stack))
    return lines


def parts(stack: Any) -> Iterator[Any]:
    """A stack in batches of our size."""
    return (stack[start : start + engine.BATCH] for start in range(0, len(stack), engine.BATCH))


def gate(scene: Path, network: str) -> str:
    """Top-1 and probabilities of ImageNet's classes, ours against torchvision's own path, one picture at a time."""
    torch.set_num_threads(engine.cores())
    backbone = load_backbone(network, scene / f"{network}.pth")
    assert isinstance(backbone, TorchBackbone)
    whole = backbone.whole(1000)
    paths = sorted((scene / "originals" / "all").iterdir())
    preset = torchvision.models.get_model_weights(network).DEFAULT.transforms(antialias=True)
    model = torchvision.models.get_model(network, weights=None).eval()
    model.load_state_dict(torch.load(scene / f"{network}.pth", weights_only=True))
    with torch.inference_mode():
        expected = (
            torch.cat([model(preset(Image.open(path).convert("RGB"))[None]) for path in paths]).softmax(1).numpy()
        )
    told = []
    for name in engine.CPU_ENGINES:
        with whole.ready(Runtime("cpu", name, scene / "engines", engine.PAYS)):
            stack = np.stack([whole.prepare(features.decoded(path.read_bytes())) for path in paths])
            found = torch.from_numpy(whole.embed(stack)).softmax(1).numpy()
        same = (found.argmax(1) == expected.argmax(1)).mean()
        told.append(
            f"{name}: top-1 equal on {100 * same:.2f} % of {len(paths)}, max |dp| {np.abs(found - expected).max():.1e}"
        )
    return f"Gate (99.9 %): {'; '.join(told)}."


if __name__ == "__main__":
    main()
