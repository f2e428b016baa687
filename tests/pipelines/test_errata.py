"""What follows from an erratum: a new snapshot, and runs to repeat; and what a model may doubt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from collector.catalog import errata as book
from collector.catalog import models
from collector.catalog.errata import Found
from collector.catalog.models import Experiment, ModelRun, Prediction
from collector.errors import GateNotMet, UsageError
from collector.intake import take_in
from collector.records import Kept, Sighting
from collector.workspace import Workspace
from labeling.errata import dismiss, listed, open_erratum
from pipelines.calibrate import soften, temperature
from pipelines.errata import apply, out_of_sample, ranked, suspects, views
from pipelines.manifest import find, read_manifest
from pipelines.snapshot import SnapshotSummary, snapshot
from pipelines.train import RunSummary, train_baseline
from tests.pipelines.labeled import BY, answer, collect, label_all, settle, stripes

Made = tuple[Workspace, dict[str, tuple[str, str]]]
Doubted = tuple[Workspace, dict[str, tuple[str, str]], str, RunSummary]


@pytest.fixture
def labeled(ws: Workspace) -> Made:
    found = collect(ws, each=8)
    label_all(ws, found)
    return ws, found


def _a(found: dict[str, tuple[str, str]], label: str, split: str) -> str:
    return next(image for image, place in found.items() if place == (label, split))


def _experiment(ws: Workspace, frozen: SnapshotSummary, run: str) -> None:
    models.start_experiment(
        ws.catalog, Experiment(run, "horse", frozen.digest, "running", {}, None, f"runs/{run}", "2026", None)
    )


def test_an_open_erratum_changes_nothing_and_an_applied_one_makes_a_new_snapshot(labeled: Made) -> None:
    ws, found = labeled
    old = snapshot(ws, "horse")
    _experiment(ws, old, "first")
    image = _a(found, "horse", "train")
    open_erratum(ws, image, should_be="not-horse", why="a cow")
    again = snapshot(ws, "horse")
    assert (again.digest, again.errata) == (old.digest, 0)
    assert any("1 errata are open" in told for told in again.warnings)
    done = apply(ws, all_confirmed=True)
    assert done.applied == (1,)
    assert done.runs == {"first": {"snapshot": old.digest, "images": 1, "state": "running"}}
    new = snapshot(ws, "horse")
    assert new.digest != old.digest
    assert new.errata == 1
    rows = {row.image: row for row in read_manifest(ws, find(ws, "horse", new.digest)).rows}
    assert (rows[image].label, rows[image].method, rows[image].votes) == ("not-horse", "erratum 1", '{"horse": 2}')
    before = {row.image: row for row in read_manifest(ws, find(ws, "horse", old.digest)).rows}
    assert before[image].label == "horse"
    _experiment(ws, new, "second")
    assert set(apply(ws, [1]).runs) == {"first"}
    assert len(listed(ws).errata) == 1
    dismiss(ws, [1], why="a horse after all")
    assert snapshot(ws, "horse").digest == old.digest


def test_an_erratum_settles_a_tie(labeled: Made) -> None:
    ws, found = labeled
    image = _a(found, "horse", "train")
    settle(ws, (image, None, {"horse": 1, "not-horse": 1}))
    assert snapshot(ws, "horse").excluded == {"tie": 1}
    open_erratum(ws, image, should_be="horse", why="its mane")
    apply(ws, [1])
    assert snapshot(ws, "horse").excluded == {}


def test_what_cannot_be_applied_is_told(labeled: Made) -> None:
    ws, found = labeled
    with pytest.raises(UsageError, match="which errata"):
        apply(ws)
    with pytest.raises(UsageError, match="no erratum 3"):
        apply(ws, [3])
    assert apply(ws, all_confirmed=True).warnings == ("nothing was confirmed, so nothing was applied",)
    image = _a(found, "horse", "train")
    rows = [Found(image, "", label, "train", "x", "zoe", {"kind": "person"}) for label in ("horse", "not-horse")]
    book.open_(ws.catalog, "horse", rows)
    with pytest.raises(UsageError, match="give one image two labels"):
        apply(ws, all_confirmed=True)


def test_a_snapshot_whose_file_is_gone_counts_as_touched(labeled: Made) -> None:
    ws, found = labeled
    old = snapshot(ws, "horse")
    _experiment(ws, old, "first")
    Path(old.path).unlink()
    open_erratum(ws, _a(found, "horse", "train"), should_be="not-horse", why="a cow")
    assert set(apply(ws, [1]).runs) == {"first"}


@pytest.fixture(scope="module")
def doubted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doubted]:
    """A run on labels of which one in train is a planted error."""
    folder = tmp_path_factory.mktemp("doubted")
    (folder / "config.toml").write_text("", encoding="utf-8")
    with Workspace.open(folder / "config.toml", environ={}) as ws:
        found = collect(ws, each=24)
        wrong = _a(found, "horse", "train")
        said = {**found, wrong: ("not-horse", "train")}
        label_all(ws, said)
        yield ws, said, wrong, train_baseline(ws, snapshot(ws, "horse"), backbone="classic")


def test_a_model_finds_a_planted_error_that_it_was_trained_on_and_only_opens_an_erratum(doubted: Doubted) -> None:
    ws, _, wrong, run = doubted
    digest = snapshot(ws, "horse").digest
    found = suspects(ws, "horse")
    assert found.run == run.run
    assert found.splits == {"validation": 12, "train": 24}
    assert found.judged == 36
    assert next(iter(found.worst)) == wrong
    rows = {row.image: row for row in book.register(ws.catalog, "horse")}
    assert (rows[wrong].was, rows[wrong].should_be, rows[wrong].severity) == ("not-horse", "horse", "train")
    assert rows[wrong].evidence["kind"] == "model"
    assert sum(rows[wrong].evidence["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    assert {row.state for row in rows.values()} == {"open"}
    assert suspects(ws, "horse").opened == ()
    assert snapshot(ws, "horse").digest == digest


def test_every_training_image_is_judged_by_a_head_that_did_not_see_it(doubted: Doubted) -> None:
    ws, said, _, run = doubted
    done = models.experiment_of(ws.catalog, run.run)
    assert done is not None
    judged = out_of_sample(ws, done)
    assert sorted(judged.images) == sorted(image for image, (_, split) in said.items() if split != "test")
    assert judged.probabilities.sum(axis=1) == pytest.approx(np.ones(len(judged.images)))
    assert set(views(ws, "horse")) == {image for image, (_, split) in said.items() if split == "train"}


def test_without_a_run_there_are_no_suspects(labeled: Made) -> None:
    with pytest.raises(GateNotMet, match="nothing was trained"):
        suspects(labeled[0], "horse")
    with pytest.raises(UsageError, match="no finished run `abc`"):
        suspects(labeled[0], "horse", run="abc")
    assert views(labeled[0], "horse") == {}


def test_suspects_are_confident_and_ranked_by_how_far_their_label_is_behind() -> None:
    said = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.05, 0.95], [0.45, 0.55], [0.2, 0.8]])
    truth = np.array([0, 0, 0, 0, 1, 1])
    order, guess = ranked(said, truth)
    # Label 1 is confident from the mean of its own, (0.55 + 0.8) / 2 = 0.675, on.
    assert order.tolist() == [3, 2]
    assert guess[[2, 3]].tolist() == [1, 1]


def test_a_label_that_nobody_has_is_never_suggested() -> None:
    said = np.array([[0.1, 0.2, 0.7], [0.2, 0.7, 0.1]])
    assert ranked(said, np.array([0, 1]))[0].size == 0


def test_a_temperature_calibrates_what_is_too_sure() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 1)) * 2
    right = np.hstack([1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(logits))])
    truth = (rng.random(4000) > right[:, 0]).astype(np.int64)
    sure = soften(right, 1 / 3)
    assert temperature(sure, truth) == pytest.approx(3, rel=0.1)
    assert soften(sure, 3) == pytest.approx(right, abs=1e-6)
    assert temperature(right, truth) == pytest.approx(1, rel=0.1)


def test_training_stops_where_people_disagree_and_goes_on_where_that_is_accepted(
    make_workspace: Callable[..., Workspace],
) -> None:
    ws = make_workspace('[train]\nbackbone = "classic"\n')
    found = collect(ws, each=8)
    other = {"horse": "not-horse", "not-horse": "horse"}
    answer(ws, {image: label for image, (label, _) in found.items()}, ("ann",))
    answer(
        ws, {image: label if n % 3 else other[label] for n, (image, (label, _)) in enumerate(found.items())}, ("ben",)
    )
    settle(ws, *((image, label, {label: 2}) for image, (label, _) in found.items()))
    with pytest.raises(GateNotMet, match="people do not agree enough"):
        snapshot(ws, "horse")
    frozen = snapshot(ws, "horse", accept_ceiling=True)
    assert "human ceiling" in frozen.warnings[0]
    with pytest.raises(GateNotMet, match="people do not agree enough"):
        train_baseline(ws, frozen)
    run = train_baseline(ws, frozen, accept_ceiling=True)
    assert "human ceiling" in run.warnings[0]
    assert (run.human_ap, run.human_error) == (1.0, 0.0)


def test_predictions_of_the_pool_that_people_answered_are_out_of_sample_too(doubted: Doubted) -> None:
    ws, said, _, run = doubted
    done = models.experiment_of(ws.catalog, run.run)
    assert done is not None
    outcome = take_in(ws, stripes(0, 900), Sighting("made", "new", "https://made.example/new", BY, "horse", "horse"))
    assert isinstance(outcome, Kept)
    model = f"classic-{run.run[:8]}"
    models.put_model_run(ws.catalog, ModelRun(model, run.run, "classic", "w", "t"))
    seen = next(image for image, (_, split) in said.items() if split == "test")
    rows = [Prediction(image, "horse", 0.9, {"horse": 0.9, "not-horse": 0.1}) for image in (outcome.image, seen)]
    models.add_predictions(ws.catalog, model, "horse", rows)
    assert "pool" not in out_of_sample(ws, done).splits
    answer(ws, {outcome.image: "horse"}, ("ann",))
    judged = out_of_sample(ws, done)
    pooled = [image for image, split in zip(judged.images, judged.splits, strict=True) if split == "pool"]
    assert pooled == [outcome.image]
    assert judged.probabilities[-1].tolist() == [0.9, 0.1]
