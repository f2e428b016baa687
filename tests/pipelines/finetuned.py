"""A tiny network and a workspace to fine-tune it in; as a program, a training that somebody may kill.

`python -m tests.pipelines.finetuned WORKSPACE KILLS` trains once, and again in children that it kills with SIGKILL
after a random number of steps and a random while, until that has happened so often; the last child may end.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from collector.workspace import Workspace
from pipelines.backbones import BACKBONES, Layout, TorchBackbone
from pipelines.config import FinetuneConfig
from pipelines.finetune.step import Job, Tuned, finetune
from pipelines.manifest import find, read_manifest
from pipelines.snapshot import snapshot
from tests.pipelines.labeled import collect, label_all

SMALL = FinetuneConfig(
    epochs=3, batch=8, learning_rate=0.02, backbone_rate=0.5, checkpoint_every=1, mixup=0.2, cutmix=0.2
)
LONG = SMALL.model_copy(update={"epochs": 6, "batch": 4, "accumulate": 2})
LAYOUT = Layout("Tiny", "fc", 12, resize=36, crop=32)


def network() -> nn.Module:
    """All that makes resuming hard: batch norm with running sums, and dropout that draws."""
    parts: dict[str, nn.Module] = {
        "conv": nn.Conv2d(3, 8, 5, stride=2),
        "norm": nn.BatchNorm2d(8),
        "relu": nn.ReLU(),
        "deep": nn.Conv2d(8, 12, 3, stride=2),
        "bend": nn.ReLU(),
        "pool": nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(1),
        "drop": nn.Dropout(0.2),
        "fc": nn.Linear(12, 10),
    }
    tiny = nn.Sequential()
    for name, part in parts.items():
        tiny.add_module(name, part)
    return tiny


def load(weights: str | Path | None) -> TorchBackbone:
    """The loader of the backbone `tiny`."""
    assert weights is not None
    return TorchBackbone("tiny", LAYOUT, Path(weights), network)


if "tiny" not in BACKBONES:
    BACKBONES.add("tiny", load)


class Told:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, Mapping[str, float]]] = []

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self.steps.append((step, figures))


def prepare(ws: Workspace, each: int = 20) -> TorchBackbone:
    """Labeled pictures, a snapshot of them, and the weights of `tiny`."""
    label_all(ws, collect(ws, each))
    snapshot(ws, "horse")
    torch.manual_seed(0)
    save_file(network().state_dict(), ws.root / "tiny.safetensors")
    return load(ws.root / "tiny.safetensors")


def tune(ws: Workspace, run: str, config: FinetuneConfig = SMALL, **changed: Any) -> Tuned:
    """Fine-tune `tiny` on the newest snapshot."""
    given: dict[str, Any] = {"seed": 3, "device": "cpu", "soft": False, "balanced": False, "track": Told(), **changed}
    manifest = given.pop("manifest", None) or read_manifest(ws, find(ws, "horse"))
    return finetune(
        ws, manifest, load(ws.root / "tiny.safetensors"), config, Job(folder=ws.data / "runs" / run, **given)
    )


def tensors(tuned: Tuned) -> dict[str, Tensor]:
    """All that was learned."""
    assert tuned.backbone.weights is not None
    head = {"weights": torch.from_numpy(tuned.head.weights), "bias": torch.from_numpy(tuned.head.bias)}
    return load_file(tuned.backbone.weights) | head


def newest(run: Path) -> int:
    """The step of the last checkpoint of a run."""
    return max((int(path.name[:8]) for path in (run / "checkpoints").glob("*.ckpt")), default=0)


def main(folder: str, kills: int) -> None:
    """Train run `whole-long`; kill run `killed` so often, and let it end. Prints how far each child got, in steps."""
    torch.set_num_threads(1)
    random.seed(kills)
    config = Path(folder) / "config.toml"
    with Workspace.open(config, environ={}) as ws:
        tune(ws, "whole-long", LONG)
    runs = Path(folder) / ".collect" / "runs"
    done = 0
    while kills >= 0:
        child = os.fork()
        if child == 0:
            with Workspace.open(config, environ={}) as ws:
                tune(ws, "killed", LONG)
            os._exit(0)
        if kills:
            goal = done + random.randint(0, 2)
            while newest(runs / "killed") < goal:
                time.sleep(0.002)
            time.sleep(random.uniform(0, 0.05))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        done = newest(runs / "killed")
        print(os.waitstatus_to_exitcode(status), done, flush=True)  # noqa: T201
        kills -= 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
