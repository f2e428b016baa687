"""Files and folders that survive a power cut, and one sentence when the disk refuses.

A file is durable after its own fsync, its name only after the fsync of the folder; so a new folder needs the fsync of
the folder above it (`tests/crash` replays what happens otherwise).
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from collector.errors import CollectError, DiskFull


def make_folder(path: Path, known: set[Path] | None = None) -> None:
    """Create a folder and those above it, durably; `known` remembers for one process which need no second look.

    A folder that exists may come from a process that was killed before its fsync, so its name is synced once as well.
    """
    known = set() if known is None else known
    if path in known:
        return
    if not path.is_dir():
        make_folder(path.parent, known)
        path.mkdir(exist_ok=True)
    with suppress(PermissionError):  # somebody else's folder above ours, which we may enter but not read
        sync_folder(path.parent)
    known.add(path)


def write(path: Path, data: bytes) -> None:
    """Put `data` at `path`, in a folder that exists: whole or not at all, and durable when this returns."""
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(draft, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def save(path: Path, data: bytes) -> None:
    """`write` for a file whose folder may be missing; a full disk is told in one sentence."""
    with explained(path.parent):
        make_folder(path.parent)
        write(path, data)


def append(path: Path, data: bytes) -> int:
    """Add `data` at the end of the file, in a folder that exists; returns its offset, durable when this returns."""
    with open(path, "ab") as file:
        offset = file.tell()
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if offset == 0:
        sync_folder(path.parent)
    return offset


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def explained(place: object) -> Iterator[None]:
    """Turn an `OSError` of the block into a `DiskFull` or a `CollectError` that names `place`."""
    try:
        yield
    except OSError as error:
        raise explanation(place, error.errno, error.strerror or str(error)) from error


def explanation(place: object, number: int | None, said: str) -> CollectError:
    """The error to raise when the disk under `place` refused with this errno."""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"the disk that holds {place} is full", hint="free some space, then run the same command again")
    return CollectError(f"cannot use {place}: {said}", hint="check the disk and the folder's permissions")
