"""One go at a training: from a checkpoint, or from the start, to the end, an error or a signal."""

from __future__ import annotations

import logging
import os
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

from collector.errors import UsageError
from pipelines.config import FinetuneConfig
from pipelines.finetune import checkpoints
from pipelines.finetune.loader import Share, Source, Training, Validation, binds
from pipelines.finetune.plan import Plan
from pipelines.finetune.tuner import Lesson, Tuner, stops

ACCELERATORS = {"cuda": "gpu", "cpu": "cpu", "mps": "mps"}


def hardware(device: str) -> str:
    """`cpu`, `cuda` or `mps`; `auto` is the fastest that is there.

    Raises:
        UsageError: it is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, found in there.items() if found)
    if not there.get(device, False):
        raise UsageError(f"there is no `{device}` here", hint="`--device auto` takes what is there")
    return device


def over(position: dict[str, Any], config: FinetuneConfig) -> bool:
    """Whether a training that stands at `position` has come to its end."""
    return bool(position["history"]) and position["step"] == 0 and stops(position["history"], config)


def go(plan: Plan, path: Path | None, pieces: int) -> None:
    """Train in this process, each batch in so many pieces, from a checkpoint or from the start."""
    position = position_of(path)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(position.get("threads", threads))  # so that sums are split as before
        with _quiet(), _interruptible():
            _fit(plan, path, position, pieces)
    finally:
        torch.set_num_threads(threads)


def position_of(path: Path | None) -> dict[str, Any]:
    """Where the training of a checkpoint stands, empty without one."""
    return checkpoints.load(path)["position"] if path else {}


def _fit(plan: Plan, path: Path | None, position: dict[str, Any], pieces: int) -> None:
    config, folder = plan.config, plan.job.folder / checkpoints.FOLDER
    rows = {name: plan.manifest.split(name) for name in ("train", "validation")}
    sources = {name: Source(plan.ws, [row.image for row in rows[name]], plan.backbone) for name in rows}
    share = Share(pieces, int(os.environ["RANK"]) if plan.world > 1 else 0, plan.world)
    tuner = Tuner(plan.backbone, lesson(plan), config, plan.job.seed, share)
    tuner.folder, tuner.clock, tuner.log_figures = folder, sources["train"].clock, plan.job.track.log
    tuner.look = 1 if plan.device == "cpu" else tuner.look
    if config.compile == "on" or (config.compile == "auto" and plan.device == "cuda"):
        tuner.network.compile()
    epoch, step = position.get("epoch", 0), position.get("step", 0)
    rule = (config.resolution or plan.backbone.layout.crop, config.smallest_crop)
    training = Training(sources["train"], plan.job.seed, config.batch, rule, share, epoch, step)
    validation = Validation(sources["validation"], max(1, config.batch // (pieces * plan.world)), share)
    tuner.told = _meter(plan, len(rows["train"]), epoch * len(rows["train"]) + step * config.batch)
    trainer = _trainer(plan, checkpoints.Keeper(folder, config.checkpoint_every, tuner), config.epochs - epoch, pieces)
    trainer.fit(tuner, training, validation, ckpt_path=str(path) if path else None, weights_only=True)


def _trainer(plan: Plan, keeper: checkpoints.Keeper, epochs: int, pieces: int) -> Trainer:
    config = plan.config
    strategy: Any = "auto"
    if plan.world > 1:
        strategy = config.strategy
        if strategy == "ddp":  # while the backbone is frozen, its gradients are missing
            strategy = DDPStrategy(find_unused_parameters=config.freeze_epochs > 0)
    bf16 = plan.device == "cuda" and torch.cuda.is_bf16_supported()
    return Trainer(
        accelerator=ACCELERATORS[plan.device],
        devices=config.devices,
        num_nodes=config.nodes,
        strategy=strategy,
        precision="bf16-mixed" if config.precision == "bf16" or (config.precision == "auto" and bf16) else "32-true",
        sync_batchnorm=plan.world > 1 and plan.device == "cuda",
        max_epochs=epochs,
        accumulate_grad_batches=pieces,
        gradient_clip_val=config.clip or None,
        callbacks=[keeper],
        plugins=[checkpoints.Disk()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=plan.job.folder,
    )


def lesson(plan: Plan) -> Lesson:
    """Targets: the label, or with `soft` the share of the people who said each; weights, if labels weigh alike."""
    train, validation = plan.manifest.split("train"), plan.manifest.split("validation")
    labels = plan.manifest.labels
    number = {label: k for k, label in enumerate(labels)}
    truth = np.array([number[row.label] for row in train])
    targets = np.eye(len(labels), dtype=np.float32)[truth]
    if plan.job.soft:
        targets = plan.manifest.vote_shares(train).astype(np.float32)
    weights = np.ones(len(truth), dtype=np.float32)
    if plan.job.balanced:
        weights = (len(truth) / (len(labels) * np.bincount(truth, minlength=len(labels))))[truth].astype(np.float32)
    return Lesson(targets, weights, np.array([number[row.label] for row in validation], dtype=np.int64))


def _meter(plan: Plan, each: int, before: int) -> Any:
    """Tells the progress: epoch, images a second, what binds, and how long it may last yet."""
    started, new = time.monotonic(), 0
    total = each * plan.config.epochs

    def told(tuner: Tuner, images: int) -> None:
        nonlocal new
        new += images
        rate = new / max(time.monotonic() - started, 1e-3)
        bound = binds(*tuner.clock.shares(), plan.device)
        left = (total - before - new) / rate / 60
        text = (
            f"epoch {tuner.epoch + 1} of {plan.config.epochs}, {rate:.0f} images/s, {bound} binds, {left:.0f} min left"
        )
        text += ", calibration drifts" if tuner.drift else ""
        plan.ws.progress(f"fine-tuning {plan.backbone.name}: {text}", before + new, total)

    return told


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's tips and advice are not for people who never called it."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning ends the whole program on Ctrl-C and SIGTERM; here both are a KeyboardInterrupt, as everywhere."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        if signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)
