"""`collect gc`: what nothing names goes, what anything names stays, and nothing goes without a yes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from collector.catalog import images
from collector.errors import Busy
from collector.intake import taking_in
from collector.workspace import Workspace
from pipelines.backbones import load_backbone
from pipelines.features import features
from pipelines.forget import forget
from pipelines.gc import gc
from pipelines.snapshot import snapshot
from pipelines.train import train_baseline
from pipelines.verify import verify_snapshot
from tests.conftest import jpeg
from tests.pipelines.labeled import collect, label_all
from tests.pipelines.test_forget import SIZE, keep, seen


def all_files(ws: Workspace) -> set[Path]:
    return {path for path in ws.data.rglob("*") if path.is_file() and "locks" not in path.parts}


@pytest.fixture
def trained(make_workspace: Callable[..., Workspace]) -> Workspace:
    ws = make_workspace('[train]\nbackbone = "classic"\nbootstrap = 100\n')
    label_all(ws, collect(ws, splits=("validation", "test", "calibration", "train", "train")))
    snapshot(ws, "horse")
    train_baseline(ws, "horse")
    return ws


def litter(ws: Workspace) -> set[Path]:
    """What killed processes leave."""
    left = {
        ws.data / "store" / "objects" / "ab" / "cd" / ("ab" * 32),
        ws.data / "store" / "previews" / "dead.pack",
        ws.data / "runs" / "x" / "head.safetensors.0123abcd.tmp",
        ws.data / "reports" / "horse" / ".draft-01234567" / "index.html",
        ws.data / "features" / "aaaa-bbbb" / "1.parquet",
    }
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1000)
    return left


def test_everything_that_a_run_needs_survives(trained: Workspace) -> None:
    needed = all_files(trained)
    row = trained.catalog.frame("snapshot")["digest"][0]
    run = next(path for path in (trained.data / "runs").iterdir())
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "1-abc.ckpt").write_bytes(b"x" * 500)
    left = litter(trained)
    said = gc(trained, features=True, checkpoints=True)
    assert (said.done, said.bytes) == (False, 5500)
    assert said.files == {"temporary": 2, "features": 1, "checkpoints": 1, "orphans": 2, "packs": 0}
    assert said.next == "collect gc --features --checkpoints --yes"
    assert all(path.exists() for path in left)
    done = gc(trained, features=True, checkpoints=True, yes=True)
    assert (done.kinds, done.files, done.bytes) == (said.kinds, said.files, said.bytes)
    assert all_files(trained) == needed
    assert verify_snapshot(trained, row, "horse").ok
    assert train_baseline(trained, "horse").reused
    assert gc(trained, features=True, checkpoints=True).bytes == 0


def test_features_and_checkpoints_stay_unless_asked_for(trained: Workspace) -> None:
    left = litter(trained)
    gc(trained, yes=True)
    assert {path.parent.name for path in left if path.exists()} == {"aaaa-bbbb"}


def test_the_room_of_forgotten_previews_is_given_back(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    kept = [keep(ws, jpeg(n, SIZE), seen(n, creator=f"c{n}")) for n in range(4)]
    places = images.previews(ws.catalog)
    before = {name: ws.store.get_preview(place) for name, place in places.items() if place}
    (pack,) = {place.pack for place in places.values() if place}
    forget(ws, kept[0], yes=True)
    said = gc(ws)
    assert said.kinds["packs"] == len(before.pop(kept[0]))
    gc(ws, yes=True)
    moved = images.previews(ws.catalog)
    assert {name: ws.store.get_preview(place) for name, place in moved.items() if place} == before
    assert not Path(ws.store.pack_path(pack)).exists()
    features(ws, kept[1:], load_backbone("classic"))
    assert gc(ws).bytes == 0


def test_a_kill_between_moving_previews_and_their_rows_loses_none(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws.concept("horse", create=True)
    kept = [keep(ws, jpeg(n, SIZE), seen(n, creator=f"c{n}")) for n in range(3)]
    before = {name: ws.store.get_preview(place) for name, place in images.previews(ws.catalog).items() if place}
    forget(ws, kept[0], yes=True)
    del before[kept[0]]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(images, "move_previews", killed)
        with pytest.raises(KeyboardInterrupt):
            gc(ws, yes=True)
    assert {n: ws.store.get_preview(place) for n, place in images.previews(ws.catalog).items() if place} == before
    with Workspace.open(ws.root / "config.toml", environ={}) as again:
        gc(again, yes=True)
        assert {n: again.store.get_preview(p) for n, p in images.previews(again.catalog).items() if p} == before
        assert gc(again).bytes == 0


def test_it_waits_for_nobody_and_says_who_is_at_work(ws: Workspace) -> None:
    with taking_in(ws), pytest.raises(Busy, match="intake"):
        gc(ws, yes=True)
    with ws.lock("train-abc"), pytest.raises(Busy, match="train-abc"):
        gc(ws, yes=True)
    assert gc(ws, yes=True).bytes == 0


def test_a_store_that_others_may_share_is_left_alone(make_workspace: Callable[..., Workspace], tmp_path: Path) -> None:
    ws = make_workspace(f'[workspace]\nstore = "{tmp_path / "shared"}"\n')
    theirs = tmp_path / "shared" / "objects" / "ab" / "cd" / ("ab" * 32)
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"x")
    assert gc(ws, yes=True).files == {"temporary": 0}
    assert theirs.exists()
