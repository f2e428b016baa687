from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.workspace import Workspace
from pipelines import probe as module
from pipelines.manifest import find, read_manifest
from pipelines.probe import Probe, choose, front, reason
from pipelines.snapshot import snapshot
from pipelines.train import train_baseline
from tests.pipelines.labeled import collect, label_all

SLOW = Probe("slow", None, 0.91, 0.02, 10)
MIDDLE = Probe("middle", None, 0.90, 0.02, 50)
FAST = Probe("fast", None, 0.70, 0.03, 400)
BEATEN = Probe("beaten", None, 0.69, 0.03, 40)
ALL = [FAST, BEATEN, SLOW, MIDDLE]


def test_the_fastest_that_is_no_worse_than_the_best_is_taken() -> None:
    assert choose(ALL) is MIDDLE
    assert choose([SLOW, FAST]) is SLOW
    assert choose([BEATEN]) is BEATEN


def test_one_that_another_beats_in_ap_and_pace_is_not_in_front() -> None:
    assert front(ALL) == [SLOW, MIDDLE, FAST]
    assert front([SLOW, SLOW]) == [SLOW, SLOW]


def test_of_a_thousand_labels_some_are_tried_with_several_pictures_each(
    make_workspace: Callable[..., Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing was fetched"))
    monkeypatch.setattr(module, "LABELS", 2)
    ws = make_workspace('[train]\nbootstrap = 100\n[concepts.horse]\nlabels = ["horse", "zebra", "not-horse"]\n')
    found = collect(ws)
    third = {image: ("zebra", split) for k, (image, (_, split)) in enumerate(found.items()) if k % 3 == 0}
    label_all(ws, found | third)
    manifest = read_manifest(ws, find(ws, "horse", snapshot(ws, "horse").digest))
    taken, _ = module.probe(ws, manifest)
    assert taken.backbone == "classic"
    assert 0 < taken.ap <= 1


def test_the_reason_has_the_table() -> None:
    said = reason(ALL, MIDDLE)
    assert "beaten AP 0.690 at 40 img/s (beaten in both)" in said
    assert "Taken: middle, it is the fastest within one standard error (0.020) of slow" in said
    assert "Taken: slow, it is the best" in reason([SLOW, FAST], SLOW)


def test_auto_tries_what_is_on_this_machine_and_downloads_nothing(
    make_workspace: Callable[..., Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing was fetched"))
    ws = make_workspace("[train]\nbootstrap = 100\n")
    label_all(ws, collect(ws))
    snapshot(ws, "horse")
    assert module.at_hand(ws) == {"classic": None}
    run = train_baseline(ws, "horse", backbone="auto")
    assert run.backbone == "classic"
    assert any("Taken: classic, it is the best" in said for said in run.warnings)
    (kept,) = (ws.data / "probes").glob("*.json")
    (row,) = json.loads(kept.read_bytes())
    assert row["backbone"] == "classic"
    assert 0 < row["ap"] <= 1
    assert row["images_per_second"] > 0


def test_weights_that_were_given_or_fetched_are_at_hand(
    make_workspace: Callable[..., Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    fetched = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    fetched.parent.mkdir(parents=True)
    fetched.write_bytes(b"weights")
    ws = make_workspace("[train]\nbackbone = 'squeezenet1_1'\nweights = 'mine.pth'\n")
    mine = str(ws.root / "mine.pth")
    assert module.at_hand(ws) == {"classic": None, "resnet18": str(fetched), "squeezenet1_1": mine}
