from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import pytest

from collector.catalog import openings
from collector.errors import Busy, GateNotMet, UsageError
from collector.workspace import Workspace
from labeling.errata import dismiss, open_erratum
from pipelines.evaluate import Measured, evaluate, human_agreement, no_width, votes_on
from pipelines.manifest import ManifestRow, find, read_manifest
from pipelines.predict import load_model
from pipelines.snapshot import snapshot
from pipelines.train import train_baseline
from tests.pipelines.labeled import collect, label_all, settle

Make = Callable[..., Workspace]


@pytest.fixture
def trained(ws: Workspace) -> Workspace:
    label_all(ws, collect(ws))
    snapshot(ws, "horse")
    return ws


def test_evaluate_on_validation_repeats_the_figures_of_training(trained: Workspace) -> None:
    run = train_baseline(trained, "horse", backbone="classic")
    found = evaluate(trained, "horse", run=run.run, split="validation")
    shared = set(Measured.__dataclass_fields__) - {"next", "warnings"}
    assert {key: asdict(found)[key] for key in shared} == {key: asdict(run)[key] for key in shared}
    assert found.openings == 0
    assert openings.opened(trained.catalog, "horse", run.protocol, "test") == []


def test_the_test_split_is_measured_with_the_threshold_of_validation(trained: Workspace) -> None:
    run = train_baseline(trained, "horse", backbone="classic")
    found = evaluate(trained)
    assert (found.run, found.split, found.images) == (run.run, "test", 8)
    assert found.threshold == run.threshold
    assert sum(map(sum, found.confusion)) == 8
    assert found.labels == ["horse", "not-horse"]


def test_the_test_split_is_opened_once_and_then_read_from_the_record(
    trained: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train_baseline(trained, "horse", backbone="classic")
    first = evaluate(trained)
    assert (first.openings, first.stored) == (1, False)
    monkeypatch.setattr("pipelines.evaluate.figures", lambda *_, **__: pytest.fail("measured again"))
    again = evaluate(trained)
    assert (again.openings, again.stored) == (1, True)
    assert asdict(again) | {"stored": False} == asdict(first)
    rows = openings.opened(trained.catalog, "horse", run.protocol, "test")
    assert [(row.run, row.snapshot, row.split) for row in rows] == [(run.run, run.snapshot, "test")]
    assert rows[0].metrics["ap"] == first.ap


def test_another_run_of_the_protocol_opens_the_test_split_on_purpose_only(trained: Workspace) -> None:
    first = train_baseline(trained, "horse", backbone="classic")
    evaluate(trained)
    second = train_baseline(trained, "horse", backbone="classic", replicate=1)
    assert second.openings == 1
    with pytest.raises(GateNotMet, match=f"opened once already, last with run {first.run}") as caught:
        evaluate(trained)
    assert "--again" in caught.value.hint
    assert caught.value.exit_code == 4
    found = evaluate(trained, again=True)
    assert (found.run, found.openings) == (second.run, 2)
    assert any("was opened 2 times" in told for told in found.warnings)
    reused = train_baseline(trained, "horse", backbone="classic")
    assert (reused.reused, reused.openings) == (True, 2)
    assert any("was opened 2 times" in told for told in reused.warnings)
    assert evaluate(trained, run=first.run).stored


def test_two_processes_cannot_open_the_test_split_at_once(trained: Workspace) -> None:
    train_baseline(trained, "horse", backbone="classic")
    with trained.lock("test-horse"), pytest.raises(Busy):
        evaluate(trained)
    assert evaluate(trained).openings == 1


def test_a_look_that_was_interrupted_is_no_opening(trained: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    train_baseline(trained, "horse", backbone="classic")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pipelines.evaluate.slices", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate(trained)
    found = evaluate(trained)
    assert (found.openings, found.stored) == (1, False)


def test_precision_is_told_for_where_the_model_will_work_without_a_look_more(make_workspace: Make) -> None:
    ws = make_workspace("[evaluate]\nprevalence = 0.5\n")
    label_all(ws, collect(ws))
    snapshot(ws, "horse")
    train_baseline(ws, "horse", backbone="classic")
    assert evaluate(ws).prevalence == 0.5
    rare = evaluate(ws, prevalence=0.001)
    assert rare.stored
    assert rare.precision_at_prevalence is not None
    assert rare.precision_at_prevalence_low is not None
    assert rare.precision_at_prevalence_low < 0.1  # four negatives prove nothing about one in a thousand
    assert "precision at 1 in 1,000" in rare.for_people()


def test_open_errata_of_the_split_are_told_until_they_are_resolved(trained: Workspace) -> None:
    train_baseline(trained, "horse", backbone="classic")
    before = evaluate(trained, split="validation")
    image = next(row.image for row in load_rows(trained, "validation") if row.label == "horse")
    open_erratum(trained, image, should_be="not-horse", why="a cow")
    found = evaluate(trained, split="validation")
    assert (before.open_errata, found.open_errata, evaluate(trained).open_errata) == (0, 1, 0)
    assert any("1 errata are open in validation" in told for told in found.warnings)
    assert train_baseline(trained, "horse", backbone="classic").open_errata == 1
    dismiss(trained, [1], why="a horse after all")
    assert evaluate(trained, split="validation").open_errata == 0


def load_rows(ws: Workspace, split: str) -> list[ManifestRow]:
    return list(read_manifest(ws, find(ws, "horse")).split(split))


def test_the_temperature_of_the_calibration_split_is_in_the_head_and_in_the_figures(ws: Workspace) -> None:
    label_all(ws, collect(ws, each=70, splits=("validation", "test", "calibration", "train", "train")))
    snapshot(ws, "horse")
    run = train_baseline(ws, "horse", backbone="classic")
    found = evaluate(ws)
    assert found.temperature == run.temperature == load_model(ws, "horse").head.temperature
    told = any("as they were learned" in warning for warning in run.warnings)
    assert told == (run.temperature == 1)
    assert set(run.uncalibrated) == {"ece", "classwise_ece", "brier", "nll"}
    assert run.forecast


def test_without_a_calibration_split_the_summary_says_so(trained: Workspace) -> None:
    run = train_baseline(trained, "horse", backbone="classic")
    assert run.temperature == 1
    assert any("no calibration split" in told for told in run.warnings)


def test_people_see_the_worst_slices_and_no_large_table(make_workspace: Make) -> None:
    labels = [f"kind {k}" for k in range(3)]
    ws = make_workspace(f"[concepts.horse]\nlabels = {labels}\n[train]\nbackbone = 'classic'")
    label_all(ws, collect(ws, each=12))
    train_baseline(ws, snapshot(ws, "horse"))
    found = evaluate(ws)
    shown = found.for_people()
    assert shown["confusion"] == found.confusion
    assert "uncalibrated" not in shown
    assert set(found.ap_by_label) == set(labels)
    assert {row["by"] for row in found.slices} >= {"label"}


def test_a_figure_below_the_gate_exits_with_4(trained: Workspace) -> None:
    train_baseline(trained, "horse", backbone="classic")
    ap = evaluate(trained).ap
    assert ap is not None
    assert evaluate(trained, fail_under=ap).ap == ap
    with pytest.raises(GateNotMet, match="AP on test is") as caught:
        evaluate(trained, fail_under=ap + 0.001)
    assert caught.value.exit_code == 4


def test_without_a_run_the_hint_names_the_command(trained: Workspace) -> None:
    with pytest.raises(GateNotMet) as caught:
        evaluate(trained)
    assert "collect train-baseline" in caught.value.hint
    with pytest.raises(UsageError, match="no finished run `abc`"):
        evaluate(trained, run="abc")
    with pytest.raises(UsageError, match="not a split"):
        evaluate(trained, split="train")


def test_ties_count_in_the_agreement_of_people(ws: Workspace) -> None:
    found = collect(ws)
    held = [image for image, (_, split) in found.items() if split == "validation"]
    assert human_agreement(votes_on(ws, "horse", "validation")) is None
    settle(ws, *((image, "horse", {"horse": 2}) for image in held[:3]), (held[3], None, {"horse": 1, "not-horse": 1}))
    assert human_agreement(votes_on(ws, "horse", "validation")) == 0.75
    assert human_agreement(votes_on(ws, "horse", "test")) is None


def test_a_perfect_score_is_told_with_what_it_cannot_rule_out() -> None:
    perfect = {"ap_low": 1.0, "labels": ["horse", "not-horse"], "confusion": [[30, 0], [0, 60]]}
    assert "up to 10%" in no_width(perfect)[0]
    assert no_width(perfect | {"ap_low": 0.98}) == ()
    assert no_width(perfect | {"ap_low": None}) == ()
