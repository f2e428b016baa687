from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from collector.catalog import models
from collector.errors import CollectError, GateNotMet
from collector.workspace import Workspace
from pipelines import sweep as module
from pipelines.cli.main import cli
from pipelines.snapshot import snapshot
from pipelines.sweep import sweep
from pipelines.train import run, train_baseline
from tests.pipelines import finetuned
from tests.pipelines.labeled import collect, label_all

Make = Callable[..., Workspace]
CLASSIC = "[train]\nbackbone = 'classic'\nbootstrap = 100\n"


@pytest.fixture
def frozen(make_workspace: Make) -> Workspace:
    ws = make_workspace(CLASSIC)
    label_all(ws, collect(ws))
    snapshot(ws, "horse")
    return ws


def runs(ws: Workspace) -> list[str]:
    return [each.run for each in models.experiments(ws.catalog, "horse")]


def test_a_killed_sweep_goes_on_and_the_same_sweep_again_is_free(
    frozen: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = 0

    def dying(*given: object) -> object:
        nonlocal done
        if done == 1:
            raise KeyboardInterrupt
        done += 1
        return run(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(module, "run", dying)
        with pytest.raises(KeyboardInterrupt):
            sweep(frozen, "horse", trials=3)
    assert len(runs(frozen)) == 1
    first = sweep(frozen, "horse", trials=3)
    assert (first.trials, first.fresh, first.reused, first.failed) == (3, 2, 1, {})
    assert set(first.table) == set(runs(frozen))
    assert len({str(row["settings"]) for row in first.table.values()}) == 3
    assert first.score == first.table[first.best]["score"] == max(row["score"] for row in first.table.values())
    assert first.ranked_by == "ap, cross-validated on train"
    again = sweep(frozen, "horse", trials=3)
    assert (again.fresh, again.reused) == (0, 3)
    assert replace(again, seconds=0, fresh=2, reused=1) == replace(first, seconds=0)


def test_a_run_that_train_baseline_made_is_shared(frozen: Workspace, make_workspace: Make) -> None:
    found = sweep(frozen, "horse", trials=1)
    settings = found.settings
    told = CLASSIC + f"c_grid = [{settings['c']}]\nbalanced = {str(settings['balanced']).lower()}\n"
    again = train_baseline(make_workspace(told), "horse")
    assert (again.run, again.reused) == (found.best, True)


def test_a_failing_trial_is_told_and_the_others_go_on(frozen: Workspace) -> None:
    found = sweep(frozen, "horse", trials=4, backbones=["classic", "resnet0"])
    assert found.failed
    assert all("resnet0" in settings for settings in found.failed)
    assert found.trials == len(found.failed) + found.fresh
    assert found.settings["backbone"] == "classic"
    with pytest.raises(CollectError, match=r"no trial came to an end: .*resnet0"):
        sweep(frozen, "horse", trials=2, backbones=["resnet0"])


def test_no_trial_begins_after_the_timeout(frozen: Workspace) -> None:
    with pytest.raises(CollectError, match="time was up before the first trial"):
        sweep(frozen, "horse", trials=3, timeout=1e-9)


def test_every_combination_is_tried_once_when_there_are_few(frozen: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD", {"c": (0.01, 0.1), "balanced": (False,)})
    found = sweep(frozen, "horse", trials=50)
    assert (found.trials, found.fresh) == (2, 2)
    assert {row["settings"]["c"] for row in found.table.values()} == {0.01, 0.1}


def test_without_a_snapshot_nothing_is_tried(ws: Workspace) -> None:
    collect(ws)
    with pytest.raises(GateNotMet):
        sweep(ws, "horse", trials=2)


FINETUNE = "[finetune]\nepochs = 2\nbatch = 8\ncheckpoint_every = 100\n"


@pytest.mark.slow
def test_a_sweep_of_fine_tuning_makes_runs_that_a_second_one_and_train_baseline_share(make_workspace: Make) -> None:
    ws = make_workspace("[train]\nbackbone = 'tiny'\nweights = 'tiny.safetensors'\nbootstrap = 100\n" + FINETUNE)
    finetuned.prepare(ws, each=16)
    first = sweep(ws, "horse", trials=2, finetune=True)
    assert (first.trials, first.fresh, first.reused, first.failed) == (2, 2, 0, {})
    assert (first.ranked_by, first.score) == ("ap on validation", first.ap)
    assert any("the best of 2 runs on validation" in said for said in first.warnings)
    tuned = {each.run: each.config["finetune"] for each in models.experiments(ws.catalog, "horse")}
    assert set(tuned) == set(first.table)
    for name, row in first.table.items():
        wanted = {key: value for key, value in row["settings"].items() if key != "balanced"}
        assert wanted.items() <= tuned[name].items()
    one, other = (load_file(ws.data / "runs" / name / "backbone.safetensors") for name in tuned)
    assert any((one[name] != other[name]).any() for name in one)

    more = sweep(ws, "horse", trials=3, finetune=True)
    assert (more.fresh, more.reused) == (1, 2)
    assert set(first.table) < set(more.table)
    again = CliRunner().invoke(
        cli, ["sweep", "horse", "--finetune", "--trials", "3", "--config", str(ws.root / "config.toml")]
    )
    assert again.exit_code == 0, again.output
    assert f"learning_rate {more.settings['learning_rate']}," in again.output

    settings = dict(more.settings)
    balanced = str(settings.pop("balanced")).lower()
    told = f"[train]\nbackbone = 'tiny'\nweights = 'tiny.safetensors'\nbootstrap = 100\nbalanced = {balanced}\n"
    by_hand = make_workspace(told + FINETUNE + "".join(f"{name} = {value}\n" for name, value in settings.items()))
    found = train_baseline(by_hand, "horse", finetune=True)
    assert (found.run, found.reused) == (more.best, True)
