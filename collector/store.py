"""Original bytes under their sha256, previews in packs; a reader never sees half a file.

Layout under the store's root, on a disk or in a bucket (fsspec):

    objects/ab/cd/<sha256>      original bytes, never re-encoded
    previews/<pack>.pack        JPEGs one after another; the catalog holds pack, offset and length

On a local disk the order is file, fsync, rename, fsync of the folder; only then may the caller write the catalog row.
`sweep` removes what a killed process left: temporary files, and objects that never got their row.
"""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import fsspec

from collector.errors import CollectError, DiskFull

PACK_BYTES = 256_000_000


class Preview(NamedTuple):
    """Where a preview lies: pack name, offset and length in bytes."""

    pack: str
    offset: int
    size: int


class Store:
    """The image store at a local path or an fsspec URL."""

    def __init__(self, url: str) -> None:
        self.fs, self.root = fsspec.core.url_to_fs(url)
        self.local = self.fs.protocol == "file" or "file" in self.fs.protocol
        self._pack: str | None = None
        self._pack_end = 0

    def path(self, image: str) -> str:
        """The path of an image's original bytes."""
        return f"{self.root}/objects/{image[:2]}/{image[2:4]}/{image}"

    def put(self, data: bytes) -> str:
        """Store bytes durably and return their sha256, in hex."""
        image = hashlib.sha256(data).hexdigest()
        path = self.path(image)
        if not self.local:
            if not self.fs.exists(path):
                self.fs.pipe_file(path, data)  # object stores replace whole objects atomically
            return image
        with _explained(self.root):
            if not (os.path.exists(path) and os.path.getsize(path) == len(data)):
                _write_durably(Path(path), data)
            else:
                # A killed process may have renamed without the folder's fsync: make the name durable before the row.
                _fsync_folders(Path(path).parent, Path(self.root))
        return image

    def get(self, image: str) -> bytes:
        """The original bytes of an image; a `CollectError` if they are gone."""
        try:
            return bytes(self.fs.cat_file(self.path(image)))
        except FileNotFoundError:
            raise CollectError(
                f"the bytes of image {image[:12]} are not in the store {self.root}",
                hint="restore the store from a backup, or crawl again",
            ) from None

    def put_preview(self, jpeg: bytes) -> Preview:
        """Append a preview to this process's pack, durably."""
        if not self.local:
            pack = uuid.uuid4().hex
            self.fs.pipe_file(f"{self.root}/previews/{pack}.pack", jpeg)
            return Preview(pack, 0, len(jpeg))
        with _explained(self.root):
            if self._pack is None or self._pack_end > PACK_BYTES:
                # One pack for each process: two writers never share a file, a reader reads committed ranges only.
                self._pack, self._pack_end = uuid.uuid4().hex, 0
            path = Path(self.root, "previews", f"{self._pack}.pack")
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "ab") as file:
                offset = file.tell()
                file.write(jpeg)
                file.flush()
                os.fsync(file.fileno())
            if offset == 0:
                _fsync_folders(path.parent, Path(self.root))
            self._pack_end = offset + len(jpeg)
            return Preview(self._pack, offset, len(jpeg))

    def get_preview(self, preview: Preview) -> bytes:
        """The JPEG bytes of a preview."""
        path = f"{self.root}/previews/{preview.pack}.pack"
        return bytes(self.fs.cat_file(path, start=preview.offset, end=preview.offset + preview.size))

    def images(self) -> Iterator[str]:
        """The names of all objects in the store."""
        for path in self.fs.glob(f"{self.root}/objects/*/*/*"):
            name = str(path).rsplit("/", 1)[-1]
            if len(name) == 64 and "." not in name:
                yield name

    def sweep(self, known: set[str]) -> int:
        """Remove temporary files and the objects that are not in `known`; returns how many.

        Call it only while no other process takes images in: a fresh object has no row for a moment.
        """
        removed = 0
        for path in self.fs.glob(f"{self.root}/objects/*/*/*"):
            if str(path).rsplit("/", 1)[-1] not in known:
                self.fs.rm_file(path)
                removed += 1
        return removed


def _write_durably(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    # The folders above may be new too; their names must survive a power cut as well.
    _fsync_folders(path.parent, path.parents[3])


def _fsync_folders(folder: Path, top: Path) -> None:
    for each in (folder, *folder.parents):
        handle = os.open(each, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        if each == top:
            return


@contextmanager
def _explained(root: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"the disk that holds {root} is full", hint="free some space, then run the same command again"
            ) from error
        raise CollectError(f"cannot write to the store {root}: {error.strerror}", hint="check the folder") from error
