from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.catalog import images
from collector.catalog.forgotten import REASON
from collector.catalog.tables import tombstone
from collector.errors import CollectError, UsageError
from collector.workspace import Workspace
from pipelines.export import export
from pipelines.export.records import Options
from pipelines.folder_sums import RECORD, SUMS
from pipelines.manifest import find, read_manifest
from pipelines.verify import verify_export, verify_snapshot
from tests.conftest import jpeg
from tests.pipelines.exported import LICENSES, copied, found, world

__all__ = ["world"]


@pytest.fixture
def mine(world: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of `world` that a test may damage."""
    with copied(world, tmp_path / "ws") as ws:
        yield ws


@pytest.fixture
def folder(world: Workspace, tmp_path: Path) -> Path:
    """An export that a test may damage."""
    export(world, tmp_path / "out", Options("imagefolder", ()))
    return tmp_path / "out"


def path_of(ws: Workspace, n: int) -> tuple[str, Path]:
    image = read_manifest(ws, find(ws, "horse")).rows[n].image
    return image, Path(ws.store.path(image))


def test_a_whole_snapshot_is_read_to_the_last_byte(world: Workspace) -> None:
    made = verify_snapshot(world)
    rows = read_manifest(world, find(world, "horse")).rows
    assert made.ok
    assert made.verdict == "the snapshot is whole"
    assert made.files == len(rows)
    assert made.bytes == sum(len(world.store.get(row.image)) for row in rows)
    assert made.snapshot == find(world, "horse").digest
    assert verify_snapshot(world, made.snapshot[:12]).ok


def test_bytes_that_changed_or_are_gone_are_named(mine: Workspace) -> None:
    (changed, at), (missing, away) = path_of(mine, 3), path_of(mine, 4)
    at.write_bytes(at.read_bytes()[:-1] + b"x")
    away.unlink()
    made = verify_snapshot(mine)
    assert (made.changed, made.missing, made.ok) == ((changed,), (missing,), False)
    assert made.verdict == "the snapshot is not whole: 1 missing, 1 changed"


def test_a_preview_that_cannot_be_decoded_is_named(mine: Workspace) -> None:
    image = found(mine, jpeg(1, (900, 700)), 5000, "horse", LICENSES[0])
    preview = images.previews(mine.catalog, [image])[image]
    assert preview is not None
    from pipelines.verify import _look

    assert _look(mine.store, image, {image: preview})[2]
    pack = Path(mine.store.root) / "previews" / f"{preview.pack}.pack"
    whole = pack.read_bytes()
    pack.write_bytes(whole[: preview.offset + 20] + bytes(200) + whole[preview.offset + 220 :])
    assert not _look(mine.store, image, {image: preview})[2]
    pack.unlink()
    assert not _look(mine.store, image, {image: preview})[2]


def test_a_forgotten_picture_is_no_damage(mine: Workspace) -> None:
    image, path = path_of(mine, 2)
    path.unlink()
    row = {"sha256": image, "phash": "", "reason": REASON, "buried_at": "2026-01-01"}
    with mine.catalog.write() as connection:
        connection.execute(tombstone.insert(), [row])
    made = verify_snapshot(mine)
    assert made.ok
    assert made.forgotten == 1


def test_a_changed_manifest_is_an_error(mine: Workspace) -> None:
    row = find(mine, "horse")
    path = mine.data / row.path
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CollectError, match="cannot be read"):
        verify_snapshot(mine)


def test_what_is_neither_snapshot_nor_folder_is_said(world: Workspace) -> None:
    with pytest.raises(UsageError, match="neither a snapshot"):
        verify_snapshot(world, "abcdef")


def test_a_whole_export_needs_no_workspace(folder: Path) -> None:
    made = verify_export(folder)
    assert made.ok
    assert made.bytes == sum(
        path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name not in (RECORD, SUMS)
    )


def test_missing_changed_and_extra_files_of_an_export_are_named(folder: Path) -> None:
    pictures = sorted(path for path in (folder / "train" / "horse").iterdir())
    pictures[0].unlink()
    pictures[1].write_bytes(b"other")
    (folder / "train" / "horse" / "new.jpg").write_bytes(jpeg(1))
    shutil.rmtree(folder / "validation" / "NA")
    made = verify_export(folder)
    assert str(pictures[0].relative_to(folder)) in made.missing
    assert made.changed == (str(pictures[1].relative_to(folder)),)
    assert made.extra == ("train/horse/new.jpg",)
    assert any(name.startswith("validation/NA/") for name in made.missing)
    assert not made.ok


def test_a_list_of_files_that_was_changed_proves_nothing(folder: Path) -> None:
    (folder / SUMS).write_text("", encoding="utf-8")
    with pytest.raises(CollectError, match="was changed since the export"):
        verify_export(folder)
    (folder / SUMS).unlink()
    with pytest.raises(CollectError, match="cannot be read"):
        verify_export(folder)
    (folder / RECORD).write_text("{}", encoding="utf-8")
    with pytest.raises(CollectError, match="cannot be read"):
        verify_export(folder)
    (folder / RECORD).unlink()
    with pytest.raises(UsageError, match="is no export"):
        verify_export(folder)


def test_the_list_is_one_that_sha256sum_reads(folder: Path) -> None:
    import subprocess

    done = subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
