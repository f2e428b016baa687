from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from collector.catalog import models, pools
from collector.errors import GateNotMet, UsageError
from collector.intake import take_in
from collector.records import Kept, License, Sighting
from collector.workspace import Workspace
from pipelines.head import Examples, refit
from pipelines.manifest import find, read_manifest
from pipelines.predict import Head, load_model
from pipelines.snapshot import snapshot
from pipelines.train import RunSummary, one_sided, train_baseline
from tests.conftest import SHARED
from tests.pipelines.labeled import collect, label_all, settle

Make = Callable[..., Workspace]
HORSE = "n02374451"
WEIGHTS = SHARED / "models" / "squeezenet1_1-imagenet.pth"


@pytest.fixture(scope="module")
def trained_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunSummary]:
    """A workspace with a run; tests work on copies of it."""
    root = tmp_path_factory.mktemp("trained")
    (root / "config.toml").touch()
    with Workspace.open(root / "config.toml", environ={}) as ws:
        label_all(ws, collect(ws))
        return root, train_baseline(ws, snapshot(ws, "horse"), backbone="classic")


@pytest.fixture
def trained(
    trained_folder: tuple[Path, RunSummary], make_workspace: Make, tmp_path: Path
) -> tuple[Workspace, RunSummary]:
    """A workspace of the test's own, and the run in it."""
    root, run = trained_folder
    shutil.copytree(root, tmp_path / "ws")
    return make_workspace(), replace(run, path=run.path.replace(str(root), str(tmp_path / "ws")))


def test_a_run_learns_what_can_be_told_apart(trained: tuple[Workspace, RunSummary]) -> None:
    _, run = trained
    assert run.ap == 1.0
    assert (run.train, run.validation, run.images) == (16, 8, 8)
    assert run.error == 0
    assert run.majority_error == 0.5
    assert run.human_agreement == 1.0
    assert any("weak" in warning for warning in run.warnings)


def test_a_finished_run_is_reused_with_the_same_figures(trained: tuple[Workspace, RunSummary]) -> None:
    ws, first = trained
    head = Path(first.path) / "head.safetensors"
    written = head.stat().st_mtime_ns
    again = train_baseline(ws, "horse", backbone="classic")
    assert again.reused
    assert replace(again, reused=False) == first
    assert head.stat().st_mtime_ns == written


def test_a_replicate_another_setting_or_another_snapshot_is_another_run(make_workspace: Make) -> None:
    ws = make_workspace()
    found = collect(ws)
    label_all(ws, found)
    snapshot(ws, "horse")
    first = train_baseline(ws, "horse", backbone="classic")
    runs = {first.run, train_baseline(ws, "horse", backbone="classic", replicate=1).run}
    other = make_workspace("[train]\nbackbone = 'classic'\nbalanced = true")
    runs.add(train_baseline(other, "horse").run)
    image = next(image for image, place in found.items() if place == ("horse", "train"))
    settle(ws, (image, None, {"horse": 1, "not-horse": 1}))
    snapshot(ws, "horse")
    runs.add(train_baseline(ws, "horse", backbone="classic").run)
    assert len(runs) == 4
    old = train_baseline(ws, "horse", snapshot=first.snapshot[:12], backbone="classic")
    assert (old.run, old.reused) == (first.run, True)


def test_an_interrupted_run_is_finished_by_the_same_command(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    label_all(ws, collect(ws))
    snapshot(ws, "horse")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(models, "finish_experiment", killed)
        with pytest.raises(KeyboardInterrupt):
            train_baseline(ws, "horse", backbone="classic")
    states = ws.catalog.frame("experiments")["state"].tolist()
    assert states == ["running"]
    with pytest.raises(GateNotMet, match="nothing was trained"):
        load_model(ws, "horse")
    assert not train_baseline(ws, "horse", backbone="classic").reused
    assert ws.catalog.frame("experiments")["state"].tolist() == ["finished"]


def test_the_run_folder_holds_what_the_catalog_says(trained: tuple[Workspace, RunSummary]) -> None:
    ws, run = trained
    folder = Path(run.path)
    row = models.experiment_of(ws.catalog, run.run)
    assert row is not None
    assert json.loads((folder / "metrics.json").read_text()) == row.metrics
    assert json.loads((folder / "config.json").read_text()) == row.config
    manifest = read_manifest(ws, find(ws, "horse"))
    table = pq.read_table(folder / "validation.parquet")
    assert table["image"].to_pylist() == [each.image for each in manifest.split("validation")]
    model = load_model(ws, "horse", run.run[:6])
    found = model.probabilities(ws, table["image"].to_pylist())
    np.testing.assert_allclose(found, np.array(table["probabilities"].to_pylist()), rtol=1e-12)
    assert model.version == f"classic-{run.run[:8]}"
    assert list(folder.glob("events.out.tfevents.*"))


def test_without_a_frozen_validation_set_nothing_is_trained(ws: Workspace) -> None:
    label_all(ws, collect(ws))
    with pytest.raises(GateNotMet, match="no frozen validation set") as caught:
        train_baseline(ws, "horse", backbone="classic")
    assert "collect snapshot" in caught.value.hint
    assert caught.value.exit_code == 4


def test_a_train_split_without_a_label_is_refused(ws: Workspace) -> None:
    found = collect(ws)
    label_all(ws, {image: place for image, place in found.items() if place != ("not-horse", "train")})
    snapshot(ws, "horse")
    with pytest.raises(GateNotMet, match="the train split holds no image of `not-horse`"):
        train_baseline(ws, "horse", backbone="classic")
    assert ws.catalog.frame("experiments").empty


def test_several_labels_work_unchanged(make_workspace: Make) -> None:
    ws = make_workspace("[concepts.horse]\nlabels = ['horse', 'donkey', 'none']\n[train]\nbackbone = 'classic'")
    label_all(ws, collect(ws, each=12))
    run = train_baseline(ws, snapshot(ws, "horse"))
    metrics = json.loads((Path(run.path) / "metrics.json").read_text())
    assert list(metrics["ap_by_label"]) == ["horse", "donkey", "none"]
    assert run.ap == pytest.approx(np.mean(list(metrics["ap_by_label"].values())))
    assert run.ap is not None
    assert run.ap > 0.9
    assert np.shape(metrics["confusion"]) == (3, 3)


def test_unknown_backbones_and_snapshots_are_usage_errors(trained: tuple[Workspace, RunSummary]) -> None:
    ws, _ = trained
    with pytest.raises(UsageError, match="did you mean `classic`"):
        train_baseline(ws, "horse", backbone="clasic")
    with pytest.raises(UsageError, match="no snapshot `zz`"):
        train_baseline(ws, "horse", snapshot="zz", backbone="classic")


def test_weights_that_changed_since_the_run_are_refused(
    trained: tuple[Workspace, RunSummary], monkeypatch: pytest.MonkeyPatch
) -> None:
    ws, run = trained
    with ws.catalog.write() as connection:
        connection.exec_driver_sql("update experiment set config = json_set(config, '$.weights_digest', 'f00')")
    with pytest.raises(UsageError, match=f"other weights than run {run.run}"):
        load_model(ws, "horse")


@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c")])
def test_a_head_survives_saving_bit_for_bit_and_its_probabilities_add_up(
    labels: tuple[str, ...], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(60) % len(labels)
    matrix = rng.normal(truth[:, None], 1.0, (60, 5)).astype(np.float32)
    given = Examples(matrix, truth, [str(n) for n in range(60)], labels)
    head = replace(refit(given, 0.1, balanced=True), temperature=1.25)
    head.save(tmp_path / "head.safetensors")
    again = Head.load(tmp_path / "head.safetensors")
    assert (again.labels, again.temperature) == (labels, 1.25)
    assert (again.probabilities(matrix) == head.probabilities(matrix)).all()
    assert head.probabilities(matrix).sum(axis=1) == pytest.approx(np.ones(60))
    assert (head.probabilities(matrix).argmax(axis=1) == truth).mean() > 0.5


def test_soft_labels_are_the_shares_of_the_votes(labeled: Workspace) -> None:
    ws = labeled
    manifest = read_manifest(ws, find(ws, "horse"))
    row = manifest.split("train")[0]
    votes = ('{"horse": 3, "not-horse": 1}', '{"horse": 0, "elsewhere": 2}', "{}")
    found = manifest.vote_shares([row._replace(label="horse", votes=each) for each in votes])
    np.testing.assert_array_equal(found, [[0.75, 0.25], [1, 0], [1, 0]])
    hard = train_baseline(ws, "horse", backbone="classic")
    image = next(each.image for each in manifest.split("train") if each.label == "horse")
    settle(ws, (image, "horse", {"horse": 3, "not-horse": 2}))
    snapshot(ws, "horse")
    soft = train_baseline(ws, "horse", backbone="classic", soft=True)
    sure = train_baseline(ws, "horse", backbone="classic")
    assert len({hard.run, soft.run, sure.run}) == 3
    heads = [Head.load(Path(run.path) / "head.safetensors") for run in (soft, sure)]
    assert (heads[0].weights != heads[1].weights).any()


def test_what_a_train_split_cannot_teach_is_told(labeled: Workspace) -> None:
    manifest = read_manifest(labeled, find(labeled, "horse"))
    assert one_sided(manifest) == ("all training images come from `made`: how it does on others is not known",)


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.is_file(), reason="the shared pictures and weights are not on this machine")
def test_horses_are_told_from_other_photographs(ws: Workspace) -> None:
    concept = ws.concept("horse", create=True)
    truth = {}
    for folder, label in (("horses", "horse"), ("imagen", "not-horse")):
        for path in sorted((SHARED / "data" / folder).glob("*.jpg"))[::2]:
            seen = Sighting(folder, path.name, path.name, License("unlicensed"), "horse", label)
            outcome = take_in(ws, path.read_bytes(), seen)
            if isinstance(outcome, Kept) and not path.name.startswith(HORSE):
                truth[outcome.image] = label
    rows = [pools.PoolRow(image, label, "positive", "given", "real", {}) for image, label in truth.items()]
    pools.add(ws.catalog, "horse", rows)
    from collector.dedup import dedup
    from collector.splits import draw

    dedup(ws)
    draw(ws, concept)
    label_all(ws, {image: (label, "") for image, label in truth.items()})
    frozen = snapshot(ws, "horse", accept_shortcut=True)  # two collections: they differ in more than horses
    run = train_baseline(ws, frozen, backbone="squeezenet1_1", weights=WEIGHTS)
    assert run.ap is not None
    assert run.ap_low is not None
    assert run.ap_high is not None
    assert run.ap >= 0.97
    assert run.ap_low <= run.ap <= run.ap_high
