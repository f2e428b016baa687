"""The step of fine-tuning: from a manifest and a pretrained backbone to a backbone and a head of our own.

A run folder holds `checkpoints/` while it trains. Killed at any point, the same call goes on from the last checkpoint
and ends with the same weights, bit for bit on a CPU; called again when it is over, it returns what it found.
"""

from __future__ import annotations

import gc
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from collector import durable
from collector.errors import CollectError, GateNotMet, UsageError
from collector.workspace import Workspace
from pipelines.backbones import TorchBackbone, load_backbone
from pipelines.config import FinetuneConfig
from pipelines.finetune.plan import Job, Plan, Tuned
from pipelines.manifest import Manifest
from pipelines.predict import Head

__all__ = ["BACKBONE", "Job", "Tuned", "check", "finetune"]

BACKBONE = "backbone.safetensors"


def finetune(ws: Workspace, manifest: Manifest, backbone: TorchBackbone, config: FinetuneConfig, job: Job) -> Tuned:
    """Train the whole of `backbone` and a last layer on the train split; validation says when to stop and what to keep.

    The weights go to `backbone.safetensors` of the run folder.

    Raises:
        GateNotMet: train lacks a label, or there is nothing to validate on.
        UsageError: a backbone that is no network, or a device that is not there.
        CollectError: Lightning is missing, the loss became no number, a picture is damaged, or no batch fits into
            memory; what was trained so far is kept.
        DiskFull: no room for a checkpoint; the last one stays.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM.
    """
    if find_spec("lightning") is None:
        raise CollectError("fine-tuning needs the finetune extra", hint="pip install 'collect-dataset[finetune]'")
    if not isinstance(backbone, TorchBackbone):
        raise UsageError(f"`{backbone.name}` is no network that could be fine-tuned", hint="`--backbone resnet18`")
    from pipelines.finetune import checkpoints, fit

    notes = check(manifest)
    folder = job.folder / checkpoints.FOLDER
    with durable.explained(folder):
        durable.make_folder(folder)
    plan = Plan(ws, manifest, backbone, config, job, fit.hardware(job.device))
    while True:
        path, damaged = checkpoints.newest(folder)
        notes += damaged
        if path is not None and fit.over(position := checkpoints.load(path)["position"], config):
            return _result(plan, position, notes)
        _train(plan, path)


def _train(plan: Plan, path: Path | None) -> None:
    """Go on from the checkpoint at `path` to the end. Where a GPU is too small, pieces are halved, the step stays."""
    import torch

    from pipelines.finetune import checkpoints, draws, fit, worker

    pieces = plan.config.accumulate
    smallest = len(plan.manifest.split("train")) // draws.steps(len(plan.manifest.split("train")), plan.config.batch)
    if smallest < pieces * plan.world:
        raise UsageError(
            f"a batch of {smallest} pictures cannot be computed in {pieces * plan.world} parts",
            hint="a larger `finetune.batch`, or less of `finetune.accumulate` and `finetune.devices`",
        )
    while True:
        pieces = max(pieces, fit.position_of(path).get("pieces", 1))
        try:
            return worker.launch(plan, pieces) if plan.world > 1 else fit.go(plan, path, pieces)
        except torch.OutOfMemoryError:
            pieces *= 2
        if smallest < pieces * plan.world:
            raise CollectError(
                "not even one picture fits into the memory of the GPU",
                hint="a smaller `--backbone`, a smaller `finetune.resolution`, or `--device cpu`",
            )
        gc.collect()
        torch.cuda.empty_cache()
        plan.ws.progress(f"the GPU is too small: each batch is computed in {pieces} parts from now on", 0, None)
        path, _ = checkpoints.newest(plan.job.folder / checkpoints.FOLDER)


def check(manifest: Manifest) -> list[str]:
    """Sentences on what is thin in a snapshot.

    Raises:
        GateNotMet: it cannot be trained on, or not be validated.
    """
    counts = manifest.counts()
    lacking = [label for label, n in counts["train"].items() if n == 0]
    if lacking:
        raise GateNotMet(
            f"the train split holds no image of `{'`, `'.join(lacking)}`", hint="label more, then `collect snapshot`"
        )
    if not any(counts["validation"].values()):
        raise GateNotMet("the validation split is empty", hint="label its images, then `collect snapshot`")
    return [
        f"`{label}` has one picture to train on: expect little of it" for label, n in counts["train"].items() if n == 1
    ]


def _result(plan: Plan, position: dict[str, Any], notes: list[str]) -> Tuned:
    """The best weights as the two files that every other step reads."""
    from safetensors.torch import load, save

    from pipelines.finetune import checkpoints
    from pipelines.finetune.loader import binds
    from pipelines.finetune.tuner import best, best_name

    job, config, history = plan.job, plan.config, position["history"]
    chosen = best(history, config.monitor)
    state = load((job.folder / checkpoints.FOLDER / best_name(chosen)).read_bytes())
    parts: dict[str, dict[str, Any]] = {"backbone": {}, "head": {}}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    durable.save(job.folder / BACKBONE, save(parts["backbone"]))
    tuned = load_backbone(plan.backbone.name, job.folder / BACKBONE)
    assert isinstance(tuned, TorchBackbone)
    weights, bias = (parts["head"][name].double().numpy() for name in ("weight", "bias"))
    size = weights.shape[1]
    head = Head(plan.manifest.labels, weights, bias, np.zeros(size), np.ones(size))
    if position["pieces"] > config.accumulate:
        notes = [*notes, f"the GPU was too small: each batch was computed in {position['pieces']} parts, as one step"]
    last = history[-1]
    figures = {
        "epochs": len(history),
        "best_epoch": chosen + 1,
        "images_per_second": last["images_per_second"],
        "binds": binds(last["waiting"], last["reading"], plan.device),
        "device": plan.device,
        "notes": notes,
    }
    return Tuned(tuned, head, figures, history)
