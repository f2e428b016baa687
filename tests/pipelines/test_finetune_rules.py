"""When a training stops, what binds it, and what it never reads."""

from __future__ import annotations

import io
import math
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from pipelines.finetune import checkpoints, tuner
from pipelines.finetune.loader import Clock, binds
from tests.pipelines.finetuned import SMALL


class Bomb:
    """A pickle that leaves a mark when somebody loads it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_pickle_in_the_place_of_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"position": Bomb(tmp_path / "mark")}, buffer)
    data = buffer.getvalue()
    (tmp_path / f"00000001-{sha256(data).hexdigest()[:16]}.ckpt").write_bytes(data)
    path, said = checkpoints.newest(tmp_path)
    assert path is None
    assert len(said) == 1
    assert not (tmp_path / "mark").exists()


def history(**values: list[float]) -> list[dict[str, float]]:
    """Epochs with these values."""
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def test_it_stops_when_validation_has_not_improved_for_so_many_epochs() -> None:
    config = SMALL.model_copy(update={"epochs": 20, "patience": 2, "freeze_epochs": 1})
    losses = [0.9, 0.8, 0.5, 0.6, 0.55, 0.4]
    stops = [tuner.stops(history(nll=losses[: n + 1]), config) for n in range(len(losses))]
    assert stops == [False, False, False, False, True, False]
    assert tuner.best(history(nll=losses), "nll") == 5
    assert tuner.best(history(ap=[0.5, 0.9, 0.9, math.nan]), "ap") == 1
    assert not tuner.stops(history(nll=[0.1, 0.2, 0.3]), config), "the epochs of the head alone count as well"
    assert tuner.stops(history(nll=[0.9] * 20), config)


def test_what_binds_is_what_the_network_waits_for() -> None:
    clock = Clock(read=3.0, decoded=1.0, waited=2.0)
    clock.passed, clock.since = 4.0, math.inf
    assert binds(*clock.take(), "cpu") == "disk"
    assert binds(0.5, 0.2, "cuda") == "decode"
    assert binds(0.01, 0.9, "cuda") == "gpu"
    assert binds(0.01, 0.9, "cpu") == "compute"
