"""Bytes go in whole or not at all, and come out as they went in."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector import durable
from collector.catalog import images
from collector.errors import CollectError, UsageError
from collector.intake import take_in, taking_in
from collector.records import Kept, License, Sighting
from collector.store import MOST_ORPHANS, Preview, Store
from collector.workspace import Workspace
from tests.conftest import jpeg


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@given(contents=st.lists(st.binary(max_size=2000), max_size=8))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_come_back_as_they_went_in_under_their_sha256(store: Store, contents: list[bytes]) -> None:
    names = [store.put(data) for data in contents]
    assert names == [hashlib.sha256(data).hexdigest() for data in contents]
    assert [store.get(name) for name in names] == contents
    assert set(store.images()) >= set(names)


def test_an_object_lies_where_the_design_says(store: Store, tmp_path: Path) -> None:
    name = store.put(b"horse")
    assert (tmp_path / "store" / "objects" / name[:2] / name[2:4] / name).read_bytes() == b"horse"


@pytest.mark.parametrize("folder", ["a b", "[old] * ?", "a::b", "per%20cent#", "Jünger 馬"])
def test_any_folder_name_will_do(tmp_path: Path, folder: str) -> None:
    store = Store(str(tmp_path / folder))
    name = store.put(b"horse")
    where = store.put_preview(b"small horse")
    assert (store.get(name), store.get_preview(where)) == (b"horse", b"small horse")
    assert list(store.images()) == [name]
    assert store.sweep(set(), set()) == 2


@pytest.mark.parametrize("folder", ["a b", "[old] * ?", "a::b", "per%20cent#", "Jünger 馬"])
def test_a_workspace_may_have_any_name(make_workspace: Callable[..., Workspace], folder: str) -> None:
    ws = make_workspace(name=folder)
    ws.concept("horse", create=True)
    with taking_in(ws):
        assert isinstance(take_in(ws, jpeg(1), Sighting("folder", "1", "", License("own"), concept="horse")), Kept)
    assert (ws.root / ".collect" / "catalog.sqlite").is_file()


def test_a_store_in_a_bucket_keeps_the_same_layout() -> None:
    store = Store("memory://bucket/horses")
    name = store.put(b"horse")
    assert store.put(b"horse") == name
    where = store.put_preview(b"small horse")
    assert (store.get(name), store.get_preview(where)) == (b"horse", b"small horse")
    assert store.path(name).endswith(f"horses/objects/{name[:2]}/{name[2:4]}/{name}")
    assert list(store.images()) == [name]


@pytest.mark.parametrize("url", ["nonsense://bucket", "s9://bucket/x"])
def test_a_url_of_no_known_kind_is_refused_in_words(url: str) -> None:
    with pytest.raises(UsageError, match="cannot be opened") as refused:
        Store(url)
    assert "workspace.store" in refused.value.hint


def test_previews_of_one_process_share_a_pack(store: Store) -> None:
    places = [store.put_preview(bytes([n]) * (n + 1)) for n in range(5)]
    assert len({place.pack for place in places}) == 1
    assert [store.get_preview(place) for place in places] == [bytes([n]) * (n + 1) for n in range(5)]


def test_a_pack_that_is_cut_short_is_named(store: Store) -> None:
    where = store.put_preview(bytes(100))
    pack = Path(store.root, "previews", f"{where.pack}.pack")
    os.truncate(pack, 50)
    with pytest.raises(CollectError, match=r"\.pack is cut short"):
        store.get_preview(where)
    pack.unlink()
    with pytest.raises(CollectError, match=where.pack):
        store.get_preview(where)


def test_the_sweep_removes_what_a_killed_intake_leaves_and_nothing_else(store: Store) -> None:
    kept, orphan = store.put(b"kept"), store.put(b"orphan")
    draft = Path(store.path(kept) + ".0123abcd.tmp")
    draft.write_bytes(b"ha")
    preview = store.put_preview(b"kept")
    lost = Store(store.root).put_preview(b"lost")
    assert store.sweep({kept}, {preview.pack}) == 3
    assert store.get(kept) == b"kept"
    assert store.get_preview(preview) == b"kept"
    assert not draft.exists()
    with pytest.raises(CollectError):
        store.get(orphan)
    with pytest.raises(CollectError):
        store.get_preview(lost)


def test_the_sweep_leaves_the_pictures_of_a_catalog_that_is_not_this_one(store: Store) -> None:
    files = {hashlib.sha256(data).hexdigest(): data for data in map(str.encode, map(str, range(MOST_ORPHANS + 1)))}
    store.put_all(files)
    assert store.sweep(set(), set()) == 0
    assert set(store.images()) == files.keys()


def test_a_store_that_the_settings_share_between_workspaces_is_never_swept(
    make_workspace: Callable[..., Workspace], tmp_path: Path
) -> None:
    one, other = (make_workspace(f'[workspace]\nstore = "{tmp_path}/shared"', name) for name in ("one", "other"))
    taken = []
    for number, ws in enumerate([one, other, one]):
        ws.concept("horse", create=True)
        with taking_in(ws):
            taken.append(
                take_in(ws, jpeg(number), Sighting("folder", str(number), "", License("own"), concept="horse"))
            )
    assert sorted(one.store.images()) == sorted(outcome.image for outcome in taken if isinstance(outcome, Kept))
    assert len(images.ids(one.catalog)) == 2


def test_what_the_workspace_keeps_is_nobody_elses_to_read(tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()
    code = """if True:
        import os, sys
        os.umask(0)
        from tests.crash.driver import import_pictures
        from pathlib import Path
        import_pictures(Path(sys.argv[1]), Path(sys.argv[2]), print)
    """
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.jpg").write_bytes(jpeg(1, (500, 500)))
    subprocess.run([sys.executable, "-c", code, str(tmp_path), str(tmp_path / "pictures")], check=True)
    modes: dict[int, set[str]] = {}
    for path in [tmp_path / ".collect", *(tmp_path / ".collect").rglob("*")]:
        modes.setdefault(stat.S_IMODE(path.stat().st_mode), set()).add(path.name)
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert modes[0o600] > {"catalog.sqlite", "intake.lock"}


def test_a_store_that_cannot_be_written_says_so_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where a folder should be")
    store = Store(str(tmp_path / "store"))
    with pytest.raises(CollectError, match=r"cannot use .*store: ") as refused:
        store.put(b"horse")
    assert refused.value.hint
    with pytest.raises(CollectError, match="cannot use"):
        store.put_preview(b"horse")
    with pytest.raises(CollectError, match="cannot use"):
        store.get_preview(Preview("pack", 0, 1))


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "manifest"
    durable.write(target, b"old")

    def failing(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output"):
        durable.write(target, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["manifest"]
    assert target.read_bytes() == b"old"


def test_folders_are_made_to_any_depth_and_twice(tmp_path: Path) -> None:
    known: set[str] = set()
    durable.make_folder(tmp_path / "a" / "b" / "c", known)
    durable.make_folder(tmp_path / "a" / "b" / "c", known)
    durable.make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    assert str(tmp_path / "a") in known
