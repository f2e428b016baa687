from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from collector.catalog import labels
from collector.errors import GateNotMet, ServiceDown
from collector.workspace import Workspace
from labeling import lifecycle
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
        again = prelabel(ws, "horse")
        assert (again.predicted, again.fresh, again.proposed) == (8, 0, 8)
        assert again.labels == {"horse": 4, "not-horse": 4}
    finally:
        lifecycle.stop(ws)
    tasks = labels.tasks(ws.catalog, "horse")
    assert {task.image for task in tasks} == set(left)
    assert {task.model_run for task in tasks} == {first.model_run}
