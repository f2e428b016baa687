"""Import: a folder of pictures, under a stated license, once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collector.catalog import images
from collector.errors import UsageError
from collector.importing import import_folder
from collector.workspace import Workspace
from tests.conftest import SHARED, jpeg


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, one of them twice, in two folders; and what people have lying about beside them."""
    top = tmp_path / "pictures"
    (top / "more").mkdir(parents=True)
    (top / ".git").mkdir()
    (top / "a.jpg").write_bytes(jpeg(1))
    (top / "b.dat").write_bytes(jpeg(2))
    (top / "more" / "c.jpg").write_bytes(jpeg(3))
    (top / "more" / "again.jpg").write_bytes(jpeg(1))
    (top / "notes.txt").write_text("buy hay")
    (top / ".hidden").write_bytes(b"\0\1\2\3")
    (top / "empty.jpg").write_bytes(b"")
    (top / ".git" / "d.jpg").write_bytes(jpeg(4))
    return top


def test_every_file_is_accounted_for(ws: Workspace, folder: Path) -> None:
    summary = import_folder(ws, "horse", folder, license="by-4.0")
    assert (summary.seen, summary.kept, summary.repeats, summary.new) == (7, 3, 1, 3)
    assert summary.rejected == {"empty": 1, "not-an-image": 2}
    sightings = ws.catalog.frame("sightings")
    assert set(sightings["license"]) == {"by"}
    assert set(sightings["license_evidence"]) == {"stated at import: by-4.0"}
    assert set(sightings["label"]) == {"horse"}
    assert not [place for place in sightings["source_id"] if str(folder.parent) in place]


def test_importing_again_adds_nothing(ws: Workspace, folder: Path) -> None:
    first = import_folder(ws, "horse", folder, license="own")
    rows = len(ws.catalog.frame("sightings")), len(ws.catalog.frame("rejections"))
    again = import_folder(ws, "horse", folder, license="own")
    assert (again.kept, again.seen, again.rejected, again.repeats) == (
        first.kept,
        first.seen,
        first.rejected,
        first.repeats,
    )
    assert again.new == 0
    assert (len(ws.catalog.frame("sightings")), len(ws.catalog.frame("rejections"))) == rows


def test_a_changed_file_is_taken_in_though_size_and_time_are_the_same(ws: Workspace, folder: Path) -> None:
    path = folder / "a.jpg"
    (folder / "more" / "again.jpg").unlink()
    old, new = jpeg(1), jpeg(5)
    size = max(len(old), len(new))
    path.write_bytes(old.ljust(size, b"\0"))
    os.utime(path, (1, 1))
    import_folder(ws, "horse", folder, license="own")
    path.write_bytes(new.ljust(size, b"\0"))
    os.utime(path, (1, 1))
    assert import_folder(ws, "horse", folder, license="own").new == 1
    assert len(images.ids(ws.catalog)) == 4


def test_another_concept_shares_the_images(ws: Workspace, folder: Path) -> None:
    import_folder(ws, "horse", folder, license="own")
    assert import_folder(ws, "pony", folder, license="own").new == 3
    assert len(images.ids(ws.catalog)) == 3


def test_links_that_lead_out_of_the_folder_are_not_followed(ws: Workspace, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "x.jpg").write_bytes(jpeg(8))
    (folder / "out.jpg").symlink_to(tmp_path / "secret" / "x.jpg")
    (folder / "outer").symlink_to(tmp_path / "secret")
    (folder / "in.jpg").symlink_to(folder / "a.jpg")
    os.mkfifo(folder / "pipe.jpg")
    summary = import_folder(ws, "horse", folder, license="own")
    assert (summary.seen, summary.kept, summary.repeats) == (8, 3, 2)


def test_a_file_above_the_limit_is_refused_unread(make_workspace: object, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[intake]\nmax_bytes = 100000\n")
    with open(folder / "huge.jpg", "wb") as file:
        file.truncate(10**12)
    with Workspace.open(tmp_path / "config.toml", environ={}) as ws:
        assert import_folder(ws, "horse", folder, license="own").rejected["too-large"] == 1


def test_a_wrong_argument_is_explained(ws: Workspace, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="not a license code"):
        import_folder(ws, "horse", folder, license="free")
    with pytest.raises(UsageError, match="is not a folder"):
        import_folder(ws, "horse", tmp_path / "nowhere", license="own")
    with pytest.raises(UsageError, match="holds no files"):
        import_folder(ws, "horse", tmp_path / "empty", license="own")
    with pytest.raises(UsageError, match="did you mean `not-horse`"):
        import_folder(ws, "horse", folder, license="own", label="no-horse")


def test_a_folder_without_pictures_says_so(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.md").write_text("# no")
    summary = import_folder(ws, "horse", tmp_path / "texts", license="own", label="not-horse")
    assert summary.rejected == {"not-an-image": 1}
    assert "none of these files" in summary.warnings[0]


@pytest.mark.realdata
@pytest.mark.skipif(not (SHARED / "data/horses").is_dir(), reason="the real pictures in ../shared are not here")
def test_real_horses_are_all_kept(ws: Workspace) -> None:
    files = [path for path in (SHARED / "data/horses").rglob("*") if path.is_file()]
    summary = import_folder(ws, "horse", SHARED / "data/horses", license="unlicensed")
    assert (summary.seen, summary.rejected) == (len(files), {})
    assert summary.kept == len({path.read_bytes() for path in files})
