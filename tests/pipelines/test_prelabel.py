from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray

from collector.catalog import labels, models
from collector.catalog.models import Prediction
from collector.errors import GateNotMet, ServiceDown, UsageError
from collector.workspace import Workspace
from labeling import lifecycle
from labeling.push import Band
from pipelines import features
from pipelines.backbones import BACKBONES, Classic
from pipelines.machine import LABEL_STUDIO
from pipelines.prelabel import prelabel
from pipelines.snapshot import snapshot
from pipelines.train import train_baseline
from tests.conftest import need
from tests.pipelines.labeled import answer, collect, label_all

Make = Callable[..., Workspace]


def half_labeled(ws: Workspace) -> dict[str, tuple[str, str]]:
    """Train on half of the train split; returns the other half, image -> (label, split)."""
    found = collect(ws)
    train = [image for image, (_, split) in found.items() if split == "train"]
    left = {image: found[image] for image in train[::2]}
    label_all(ws, {image: place for image, place in found.items() if image not in left})
    train_baseline(ws, snapshot(ws, "horse"), backbone="classic")
    return left


def test_without_label_studio_the_predictions_are_saved_and_pushed_later(ws: Workspace) -> None:
    left = half_labeled(ws)
    for _ in range(2):
        with pytest.raises(ServiceDown, match="8 predictions are saved") as caught:
            prelabel(ws, "horse")
        assert "collect label start" in caught.value.hint
    frame = ws.catalog.frame("predictions")
    assert sorted(frame["image"]) == sorted(left)
    assert [left[image][0] for image in frame["image"]] == frame["label"].tolist()
    assert frame["model_run"].str.match(r"classic-[0-9a-f]{8}$").all()


def test_held_out_and_answered_images_are_never_predicted(ws: Workspace) -> None:
    left = half_labeled(ws)
    unsure = next(iter(left))
    answer(ws, {unsure: None}, ("ann",))
    with pytest.raises(ServiceDown):
        prelabel(ws, "horse")
    predicted = set(ws.catalog.frame("predictions")["image"])
    assert predicted == set(left) - {unsure}
    assert not predicted & {row.image for row in labels.current(ws.catalog, "horse")}


def test_a_prediction_can_not_be_changed(ws: Workspace) -> None:
    half_labeled(ws)
    with pytest.raises(ServiceDown):
        prelabel(ws, "horse")
    with pytest.raises(sa.exc.DatabaseError, match="never changed"), ws.catalog.write() as connection:
        connection.exec_driver_sql("update prediction set label = 'horse'")


def test_before_training_the_hint_names_the_command(ws: Workspace) -> None:
    collect(ws)
    with pytest.raises(GateNotMet) as caught:
        prelabel(ws, "horse")
    assert "collect train-baseline" in caught.value.hint


class Logged(Classic):
    """`classic`, writing down each picture that it embeds, so that what a killed process did is known."""

    log = -1

    def embed(self, batch: NDArray[Any], *, fill: bool = True) -> NDArray[np.float32]:
        os.write(self.log, b"." * len(batch))
        return super().embed(batch)


def prelabel_in_a_process(ws: Workspace, log: int) -> int:
    """Start `prelabel` in a process of its own that nobody warns before it is killed; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        Logged.log = log
        features.SHARD = 2  # batches of eight
        with Workspace.open(ws.root / "config.toml", environ={}) as mine:
            prelabel(mine, "horse")
    except ServiceDown:
        os._exit(0)
    finally:
        os._exit(1)


def test_a_killed_run_repeats_at_most_one_batch(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = collect(ws, each=70)
    train = [image for image, (_, split) in found.items() if split == "train"]
    left = set(train[::20]) ^ set(train)
    label_all(ws, {image: place for image, place in found.items() if image not in left})
    train_baseline(ws, snapshot(ws, "horse"), backbone="classic")
    for shard in features.folder_of(ws, Classic()).glob("*.parquet"):
        shard.unlink()
    monkeypatch.setitem(BACKBONES._items, "classic", Logged)
    rng = np.random.default_rng()
    kills, log = 0, os.open(tmp_path / "log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    while True:
        before = os.fstat(log).st_size
        pid = prelabel_in_a_process(ws, log)
        goal = before + int(rng.integers(1, 30))
        while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
            if os.fstat(log).st_size >= goal and kills < 4:
                time.sleep(rng.uniform(0, 0.02))
                os.kill(pid, signal.SIGKILL)
                kills += 1
                ended = os.waitpid(pid, 0)
                break
            time.sleep(0.001)
        if os.waitstatus_to_exitcode(ended[1]) != -signal.SIGKILL:
            break
    os.close(log)
    assert os.waitstatus_to_exitcode(ended[1]) == 0
    repeated = (tmp_path / "log").stat().st_size - len(left)
    assert 0 <= repeated <= kills * 16
    frame = ws.catalog.frame("predictions")
    assert set(frame["image"]) == left
    assert frame["image"].is_unique
    assert kills > 1


def test_a_score_decides_which_proposals_are_wanted(ws: Workspace) -> None:
    half_labeled(ws)
    with pytest.raises(UsageError, match=r"no score is above 0\.9 and below 0\.2"):
        prelabel(ws, "horse", above=0.9, below=0.2)
    assert [Band(0.2, 0.9).holds(score) for score in (0.1, 0.2, 0.5, 0.9, 0.95)] == [False, True, True, True, False]
    with pytest.raises(ServiceDown):
        prelabel(ws, "horse", above=0.9)
    assert len(ws.catalog.frame("predictions")) == 8  # what is not proposed is predicted all the same


def test_what_a_model_said_before_is_left_alone(ws: Workspace) -> None:
    half_labeled(ws)
    with pytest.raises(ServiceDown):
        prelabel(ws, "horse")
    model, image = ws.catalog.frame("predictions")[["model_run", "image"]].iloc[0]
    other = Prediction(image, "not-horse", 0.1, {"horse": 0.9, "not-horse": 0.1})
    new = Prediction(next(iter(ws.catalog.frame("images")["id"])), "horse", 0.7, {"horse": 0.7, "not-horse": 0.3})
    before = {name: (label, score) for name, label, score in models.said(ws.catalog, model, "horse")}
    assert models.add_predictions(ws.catalog, model, "horse", [other]) == 0
    assert {name: (label, score) for name, label, score in models.said(ws.catalog, model, "horse")} == before
    assert models.add_predictions(ws.catalog, model, "horse", [other, new]) == (new.image not in before)
    assert models.add_predictions(ws.catalog, model, "horse", []) == 0


@pytest.mark.studio
@pytest.mark.slow
def test_proposals_reach_label_studio_once_and_only_for_the_pool(make_workspace: Make) -> None:
    need(LABEL_STUDIO)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ws = make_workspace(f"[label]\nport = {port}\nno_proposal_share = 0.0")
    left = half_labeled(ws)
    lifecycle.start(ws)
    try:
        first = prelabel(ws, "horse", limit=3)
        assert (first.predicted, first.fresh, first.proposed) == (8, 8, 3)
        sure = prelabel(ws, "horse", below=0.01)  # of two labels the likelier has half at least
        assert (sure.predicted, sure.wanted, sure.proposed) == (8, 0, 3)
        assert any("not calibrated" in warning for warning in sure.warnings) != sure.calibrated
        again = prelabel(ws, "horse")
        assert (again.predicted, again.fresh, again.proposed) == (8, 0, 8)
        assert again.labels == {"horse": 4, "not-horse": 4}
    finally:
        lifecycle.stop(ws)
    tasks = labels.tasks(ws.catalog, "horse")
    assert {task.image for task in tasks} == set(left)
    assert {task.model_run for task in tasks} == {first.model_run}
