from __future__ import annotations

from dataclasses import asdict

import pytest

from collector.errors import GateNotMet, UsageError
from collector.workspace import Workspace
from pipelines.evaluate import Measured, evaluate, human_agreement, no_width, votes_on
from pipelines.snapshot import snapshot
from pipelines.train import train_baseline
from tests.pipelines.labeled import collect, label_all, settle


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


def test_the_test_split_is_measured_with_the_threshold_of_validation(trained: Workspace) -> None:
    run = train_baseline(trained, "horse", backbone="classic")
    found = evaluate(trained)
    assert (found.run, found.split, found.images) == (run.run, "test", 8)
    assert found.threshold == run.threshold
    assert sum(map(sum, found.confusion)) == 8
    assert found.labels == ["horse", "not-horse"]


def test_a_figure_below_the_gate_exits_with_4(trained: Workspace) -> None:
    train_baseline(trained, "horse", backbone="classic")
    ap = evaluate(trained).ap
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
    perfect = {"ap_low": 1.0, "confusion": [[30, 0], [0, 60]]}
    assert "up to 10%" in no_width(perfect)[0]
    assert no_width(perfect | {"ap_low": 0.98}) == ()
