from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.catalog import models
from collector.errors import Busy
from collector.workspace import Workspace
from pipelines import runs
from pipelines.compare import compare, history_of
from pipelines.config import FinetuneConfig, TrainConfig
from pipelines.manifest import find, read_manifest
from pipelines.predict import load_model
from pipelines.protocols import find_protocol
from pipelines.runs import METHODS, Asked, run_id, source_digest, stored
from pipelines.train import run, train_baseline
from tests.pipelines import finetuned


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of our source tree that may be edited."""
    for name, folder in runs.PACKAGES.items():
        shutil.copytree(folder, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(runs, "PACKAGES", {name: tmp_path / name for name in runs.PACKAGES})
    source_digest.cache_clear()
    yield tmp_path
    source_digest.cache_clear()


def digest(*, finetune: bool = False) -> str:
    source_digest.cache_clear()
    return source_digest(*METHODS[finetune], *runs.MEASURES)


def test_only_what_makes_a_result_counts_as_its_source(sources: Path) -> None:
    def edit(*names: str) -> None:
        for name in names:
            with open(sources / name, "a") as file:
                file.write("\n# another line\n")

    head, tuned = digest(), digest(finetune=True)
    assert head != tuned
    edit("collector/spiders/flickr.py", "pipelines/reports/charts.py", "pipelines/cli/main.py", "labeling/push.py")
    edit("pipelines/config.py")  # the settings themselves are in the plan
    assert (digest(), digest(finetune=True)) == (head, tuned)
    edit("pipelines/finetune/fit.py")
    assert digest() == head
    assert digest(finetune=True) != tuned
    seen = {head}
    for name in ("pipelines/head.py", "pipelines/train.py", "collector/decoding.py", "labeling/ceiling.py"):
        edit(name)
        assert digest() not in seen, name
        seen.add(digest())


def asked(ws: Workspace, **changes: object) -> Asked:
    given: dict[str, object] = {
        "backbone": "classic",
        "weights": None,
        "config": TrainConfig(),
        "tuning": FinetuneConfig(),
        "protocol": find_protocol(ws, read_manifest(ws, find(ws, "horse"))),
    }
    return Asked(**(given | changes))  # type: ignore[arg-type]


def test_what_decides_the_result_makes_another_run_and_nothing_else_does(labeled: Workspace) -> None:
    ws = labeled
    frozen = find(ws, "horse")
    first, reused = run(ws, frozen, asked(ws))
    assert not reused
    same: list[dict[str, object]] = [
        {"device": "cpu"},
        {"config": TrainConfig(device="cpu", weights="elsewhere")},
        {"tuning": FinetuneConfig(epochs=99)},
        {"protocol": asked(ws).protocol._replace(name="another name for it")},
    ]
    for changes in same:
        assert run(ws, frozen, asked(ws, **changes)) == (first, True), changes
    others: list[dict[str, object]] = [
        {"soft": True},
        {"seed": 1},
        {"replicate": 1},
        {"config": TrainConfig(balanced=True)},
        {"config": TrainConfig(folds=3)},
    ]
    found = [run(ws, frozen, asked(ws, **changes)) for changes in others]
    assert not any(again for _, again in found)
    assert len({first.run, *(each.run for each, _ in found)}) == 6


def test_the_id_is_a_hash_of_the_plan_without_the_name_of_the_protocol() -> None:
    plan = {"protocol": {"name": "a", "digest": "d"}, "seed": 0}
    assert run_id(plan) == run_id({"seed": 0, "protocol": {"digest": "d", "name": "b"}})
    assert run_id(plan) != run_id({**plan, "seed": 1})
    assert len(run_id(plan)) == 16


def test_where_it_ran_is_recorded(labeled: Workspace) -> None:
    ws = labeled
    done = train_baseline(ws, "horse", backbone="classic")
    row = models.experiment_of(ws.catalog, done.run)
    assert row is not None
    assert row.metrics is not None
    assert row.metrics["machine"]["versions"]["numpy"]
    assert row.metrics["seconds"] > 0
    assert "machine" not in row.config


def test_a_run_that_another_process_is_at_is_not_begun_twice(labeled: Workspace) -> None:
    ws = labeled
    done = train_baseline(ws, "horse", backbone="classic")
    with ws.catalog.write() as connection:
        connection.exec_driver_sql("update experiment set state = 'running', metrics = null, finished_at = null")
    with ws.lock(f"train-{done.run}"), pytest.raises(Busy, match=f"another process is at `train-{done.run}`"):
        train_baseline(ws, "horse", backbone="classic")
    again = train_baseline(ws, "horse", backbone="classic")
    assert (again.run, again.reused) == (done.run, False)
    assert again.ap == done.ap


def test_a_workspace_that_moved_finds_the_weights_inside_it(labeled: Workspace, tmp_path: Path) -> None:
    ws = labeled
    assert stored(ws, None) is None
    assert stored(ws, ws.data / "runs" / "abc" / "backbone.safetensors") == "runs/abc/backbone.safetensors"
    outside = tmp_path / "weights.pth"
    assert stored(ws, outside) == str(outside.resolve())
    train_baseline(ws, "horse", backbone="classic")
    assert load_model(ws, "horse").backbone.name == "classic"


def test_a_fine_tuned_run_is_a_run_like_any_other_also_where_its_workspace_moved(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "config.toml").write_text("[finetune]\nepochs = 2\nbatch = 8\n")
    with Workspace.open(tmp_path / "here" / "config.toml", environ={}) as ws:
        weights = finetuned.prepare(ws).weights
        done = train_baseline(ws, "horse", backbone="tiny", weights=weights, finetune=True)
        assert (done.finetuned, done.c, done.reused) == (True, None, False)
        assert done.binds
        assert train_baseline(ws, "horse", backbone="tiny", weights=weights, finetune=True).reused
        row = models.experiment_of(ws.catalog, done.run)
        assert row is not None
        assert [each["epoch"] for each in history_of(ws, row)] == [1, 2]
        probed = train_baseline(ws, "horse", backbone="tiny", weights=weights)
        assert probed.run != done.run
        assert compare(ws, "horse", [done.run, probed.run], html=tmp_path / "both.html").differences
        assert (tmp_path / "both.html").read_text().count("data:image/svg+xml") == 3
    (tmp_path / "here").rename(tmp_path / "there")
    with Workspace.open(tmp_path / "there" / "config.toml", environ={}) as ws:
        model = load_model(ws, "horse", done.run)
        assert model.backbone.weights == ws.data / "runs" / done.run / "backbone.safetensors"
        manifest = read_manifest(ws, find(ws, "horse"))
        again = model.probabilities(ws, [row.image for row in manifest.split("validation")])
        assert (again.argmax(axis=1) >= 0).all()
