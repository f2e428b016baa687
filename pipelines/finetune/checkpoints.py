"""Checkpoints of a training: whole or not at all, two of them, each with its own hash in its name.

They are Lightning's own, without its loop counters: where the training stands is said by ours, see `tuner`. They hold
tensors and plain values only, and are read by `torch.load(weights_only=True)`, which runs nothing.
"""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import CheckpointIO

from collector import durable

FOLDER = "checkpoints"
KEPT = 2  # the last one, and the one before in case that the disk spoils the last


class Disk(CheckpointIO):
    """How Lightning writes and reads checkpoints here."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write `STEPS.ckpt` as `STEPS-HASH.ckpt`, durably; then remove what is older than the last two.

        Of the best weights, too, two are left: the older checkpoint may know of the older ones only.

        Raises:
            DiskFull: nothing was changed, the last checkpoint stays.
        """
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        data = buffer.getvalue()
        place = Path(path)
        durable.save(place.with_name(f"{place.stem}-{_hash(data)}.ckpt"), data)
        for pattern in ("*.ckpt", "best-*"):
            for old in _all(place.parent, pattern)[KEPT:]:
                old.unlink(missing_ok=True)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """The content of a checkpoint that `newest` found."""
        del map_location, weights_only  # always to the processor first, and never a pickle
        return _read(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Remove one checkpoint."""
        Path(path).unlink(missing_ok=True)


class Position(Protocol):
    """Where a training stands."""

    step: int
    """Steps done of this epoch."""
    done: int
    """Steps done of all epochs."""
    steps: int
    """Steps of one epoch."""


class Keeper(Checkpoint):
    """Saves every so many steps, and after the validation at the end of an epoch."""

    def __init__(self, folder: Path, every: int, position: Position) -> None:
        self._folder = folder
        self._every = every
        self._at = position
        self._saved = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What was read is not saved again: after a part of the next batch, batch norm has seen more than the step."""
        self._saved = self._at.done

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where a step of the optimizer has just ended, unless the validation is next, which saves as well."""
        due = self._at.done % self._every == 0 and self._at.done != self._saved
        if due and 0 < self._at.step < self._at.steps:
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the epoch."""
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        self._saved = self._at.done
        trainer.save_checkpoint(self._folder / f"{self._saved:08d}.ckpt", weights_only=False)


def newest(folder: Path) -> tuple[Path | None, list[str]]:
    """The last whole checkpoint in a folder, and a sentence for each damaged one; drafts of killed runs are removed."""
    said = []
    for draft in folder.glob("*.tmp"):
        draft.unlink(missing_ok=True)
    for path in _all(folder):
        try:
            _read(path)
        except Exception as error:  # a damaged file raises nearly anything
            said.append(f"the checkpoint {path.name} is damaged ({type(error).__name__}): the one before it was used")
            path.unlink(missing_ok=True)
        else:
            return path, said
    return None, said


def load(path: Path) -> dict[str, Any]:
    """What a checkpoint holds."""
    return _read(path)


def clear(folder: Path) -> None:
    """Remove the checkpoints and the best weights of a run folder: its training is over and its result kept."""
    for path in (folder / FOLDER).glob("*"):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        (folder / FOLDER).rmdir()


def _all(folder: Path, pattern: str = "*.ckpt") -> list[Path]:
    """Files of one kind, the newest first: their names have their steps or their epoch."""
    return sorted(folder.glob(pattern), reverse=True)


def _read(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    if _hash(data) != path.stem.rpartition("-")[2]:
        raise ValueError("its bytes are not those that were written")
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
