"""Probabilities that drift away from what is right are told of while the training still runs, and once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collector.workspace import Workspace
from pipelines import calibrate
from pipelines.finetune import alarms, fit, worker
from pipelines.finetune.plan import Job, Plan
from pipelines.manifest import Manifest, find, read_manifest
from tests.pipelines import finetuned
from tests.pipelines.finetuned import SMALL, Told, tune

Make = Callable[..., Workspace]
SURER = SMALL.model_copy(
    update={"epochs": 12, "patience": 12, "learning_rate": 0.005, "ema": 0.9, "freeze_epochs": 0, "warmup": 0.3}
    | {"mixup": 0.0, "cutmix": 0.0, "checkpoint_every": 1000}
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def wrong_in_every_third(manifest: Manifest) -> Manifest:
    """The same with a third of validation mislabeled: who grows sure of the truth is surely wrong there."""
    labels = manifest.table["label"].to_pylist()
    held_out = [at for at, split in enumerate(manifest.table["split"].to_pylist()) if split == "validation"]
    for at in held_out[2::3]:
        labels[at] = "horse" if labels[at] == "not-horse" else "not-horse"
    number = manifest.table.schema.get_field_index("label")
    column = pa.array(labels, manifest.table.schema.field("label").type)
    return replace(manifest, table=manifest.table.set_column(number, "label", column))


@pytest.mark.slow
def test_a_real_training_tells_of_drift_after_the_epoch_that_shows_it_and_goes_on(make_workspace: Make) -> None:
    ws = make_workspace()
    finetuned.prepare(ws, each=40)
    manifest = wrong_in_every_third(read_manifest(ws, find(ws, "horse")))
    shown: list[str] = []
    told: list[tuple[str, int]] = []
    ws.progress = lambda text, done, total: shown.append(text)

    def stop(text: str) -> None:
        told.append((text, len(shown)))

    def stopped(text: str, done: int, total: int | None) -> None:
        shown.append(text)
        if told:
            raise KeyboardInterrupt

    with alarms.heard(stop, printed=False):
        ws.progress = stopped
        with pytest.raises(KeyboardInterrupt):
            tune(ws, "drifts", SURER, manifest=manifest)
        ws.progress = lambda text, done, total: shown.append(text)
        found = tune(ws, "drifts", SURER, manifest=manifest)  # goes on after the alarm, and repeats it not
    assert len(told) == 1
    (said, steps) = told[0]
    first = next(n for n in range(1, 13) if calibrate.drift(found.history[:n]))
    assert said == calibrate.drift(found.history[:first])
    assert len(found.history) == 12 > first
    trained = [text for text in shown if text.startswith("fine-tuning")]
    assert ["calibration drifts" in text for text in trained] == [n >= steps for n in range(len(trained))]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 9)), max_size=14), st.booleans())
def test_of_any_curve_the_first_epoch_with_drift_is_told_of_and_no_other(
    curve: list[tuple[float, float]], falling: bool
) -> None:
    errors, losses = zip(*curve, strict=True) if curve else ((), ())
    if falling:
        errors, losses = tuple(sorted(errors, reverse=True)), tuple(sorted(losses))
    rows = [{"epoch": k, "error": e, "nll": n} for k, (e, n) in enumerate(zip(errors, losses, strict=True), 1)]
    told: list[str] = []
    with alarms.heard(told.append, printed=False):
        said = [alarms.drifting(rows[: n + 1]) for n in range(len(rows))]
    assert told == [text for text in said if text is not None][:1]


def test_processes_that_train_together_tell_the_one_that_started_them(
    make_workspace: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = make_workspace()
    backbone = finetuned.prepare(ws)
    line = 'print(\'{"alarm": "calibration drifts"}\')'
    monkeypatch.setattr(worker, "_command", lambda config, folder: [sys.executable, "-c", line])
    job = Job(ws.data / "runs" / "many", 0, "cpu", False, False, Told())
    job.folder.mkdir(parents=True)
    plan = Plan(ws, read_manifest(ws, find(ws, "horse")), backbone, SMALL, job, fit.hardware("cpu"))
    told: list[str] = []
    with alarms.heard(told.append, printed=False):
        worker.launch(plan, 1)
    assert told == ["calibration drifts"]
