"""Files and folders that survive a power cut, and one sentence when the disk refuses.

A file is durable after its own fsync, its name only after the fsync of the folder; so a new folder needs the fsync of
the folder above it (`tests/crash` replays what happens otherwise).
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from collector.errors import CollectError, DiskFull

MANY = 8


def _find_syncfs() -> Any:
    """Linux's `syncfs`, None where there is none, or one that does not tell of errors (Linux before 5.8)."""
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if sys.platform != "linux" or release is None or (int(release[1]), int(release[2])) < (5, 8):
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)


SYNCFS = _find_syncfs()


def make_folder(path: Path, known: set[str] | None = None) -> None:
    """Create a folder and those above it, durably; `known` remembers for one process which need no second look."""
    known = set() if known is None else known
    fresh = _make_folders([str(path)], known)
    _sync({os.path.dirname(each) for each in fresh})
    known |= fresh


def _make_folders(paths: Iterable[str], known: set[str]) -> set[str]:
    """Create folders and those above them; returns the ones whose names are not known to be durable.

    A folder that exists may come from a process that was killed before its fsync, so its name is synced once as well.
    """
    fresh: set[str] = set()
    for path in paths:
        each = path
        while each not in known and each not in fresh:
            fresh.add(each)
            if os.path.isdir(each):
                break
            each = os.path.dirname(each)
    for each in sorted(fresh):
        with suppress(FileExistsError):
            os.mkdir(each)
    return fresh


def write(path: Path, data: bytes) -> None:
    """Put `data` at `path`, in a folder that exists: whole or not at all, and durable when this returns."""
    draft = _draft(path)
    try:
        with open(draft, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)
        raise
    sync_folder(path.parent)


def write_all(files: Mapping[str, bytes], known: set[str]) -> None:
    """Put several files at their paths, as `write` does with one, and make their folders (`known` as above).

    A file that is there already, with as many bytes, is left alone.
    """
    folders = {os.path.dirname(path) for path in files}
    drafts: dict[str, str] = {}
    try:
        fresh = _make_folders(folders, known)
        for path, data in files.items():
            if _size(path) != len(data):
                drafts[path] = _draft(path)
                with open(drafts[path], "xb") as file:
                    file.write(data)
        _sync(drafts.values())
        for path, draft in drafts.items():
            os.replace(draft, path)
    except BaseException:
        for draft in drafts.values():
            with suppress(OSError):
                os.unlink(draft)
        raise
    # The folder of a file that was there, too: a killed process may have renamed without a sync.
    _sync(folders | {os.path.dirname(each) for each in fresh})
    known |= fresh


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


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Write over a part of a file that exists, durable when this returns; it is never made longer."""
    with open(path, "r+b") as file:
        file.seek(0, os.SEEK_END)
        data = data[: max(0, file.tell() - offset)]
        file.seek(offset)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _draft(path: str | Path) -> str:
    return f"{path}.{os.urandom(4).hex()}.tmp"


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return None


def _sync(paths: Collection[str]) -> None:
    """Make the data of files, and the names in folders, durable.

    Many at once are left to one `syncfs` of their disk, which costs as much as a few fsyncs.
    """
    if SYNCFS is not None and len(paths) >= MANY:
        for path in {os.stat(path).st_dev: path for path in paths}.values():
            _on_handle(path, _syncfs)
        return
    for path in paths:
        with suppress(PermissionError):  # somebody else's folder above ours, which we may enter but not read
            _on_handle(path, os.fsync)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    _on_handle(path, os.fsync)


def _on_handle(path: str | Path, sync: Callable[[int], None]) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        sync(handle)
    finally:
        os.close(handle)


def _syncfs(handle: int) -> None:
    if SYNCFS(handle) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


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
