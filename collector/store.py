"""Original bytes under their sha256, previews in packs; a reader never sees half a file.

Layout under the store's root, on a disk or in a bucket (fsspec):

    objects/ab/cd/<sha256>      original bytes, never re-encoded
    previews/<pack>.pack        JPEGs one after another; the catalog holds pack, offset and length

On a local disk the order is file, fsync, rename, fsync of the folder; only then may the caller write the catalog row.
`sweep` removes what a killed process left: temporary files, and objects and packs that never got their row.
"""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import fsspec

from collector import durable
from collector.errors import CollectError, UsageError

PACK_BYTES = 256_000_000
MOST_ORPHANS = 1000  # a group of pictures for each of several processes that were killed


class Preview(NamedTuple):
    """Where a preview lies: pack name, offset and length in bytes."""

    pack: str
    offset: int
    size: int


class Store:
    """The image store at a local path or an fsspec URL."""

    def __init__(self, url: str) -> None:
        plain = url.removeprefix("file://")
        self.local = "://" not in plain
        try:
            # A plain path is not parsed as a URL: a folder may be called `a::b`.
            fs_and_root = (fsspec.filesystem("file"), os.path.abspath(plain)) if self.local else fsspec.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"the store `{url}` cannot be opened: {error}",
                hint="`workspace.store` is a folder or an fsspec URL; s3:// needs `pip install collect-dataset[scale]`",
            ) from None
        self.fs = fs_and_root[0]
        self.root = str(fs_and_root[1])
        self._pack: str | None = None
        self._pack_end = 0
        self._packing = threading.Lock()  # the threads of a crawl share this process's pack
        self._folders: set[str] = set()  # those whose names are durable

    def path(self, image: str) -> str:
        """The path of an image's original bytes."""
        return f"{self.root}/objects/{image[:2]}/{image[2:4]}/{image}"

    def put(self, data: bytes) -> str:
        """Store bytes durably and return their sha256, in hex."""
        image = hashlib.sha256(data).hexdigest()
        self.put_all({image: data})
        return image

    def put_all(self, files: Mapping[str, bytes]) -> None:
        """Store several files, sha256 -> bytes, durably; that costs little more than storing one."""
        if self.local:
            with durable.explained(self.root):
                durable.write_all({self.path(image): data for image, data in files.items()}, self._folders)
            return
        for image, data in files.items():
            if not self.fs.exists(self.path(image)):
                self.fs.pipe_file(self.path(image), data)  # object stores replace whole objects atomically

    def get(self, image: str) -> bytes:
        """The original bytes of an image; a `CollectError` if they are gone."""
        try:
            with durable.explained(self.root):
                return bytes(self.fs.cat_file(self.path(image)))
        except CollectError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise CollectError(
                f"the bytes of image {image[:12]} are not in the store {self.root}",
                hint="restore the store from a backup, or crawl again",
            ) from None

    def put_preview(self, jpeg: bytes) -> Preview:
        """Append a preview to this process's pack, durably."""
        return self.put_previews([jpeg])[0]

    def put_previews(self, jpegs: Sequence[bytes]) -> list[Preview]:
        """Append several previews to this process's pack, durably."""
        if not jpegs:
            return []
        ends = list(accumulate(map(len, jpegs)))
        with self._packing:
            if self._pack is None or self._pack_end > PACK_BYTES or not self.local:
                # One pack for each process: two writers never share a file, a reader reads committed ranges only.
                self._pack = uuid.uuid4().hex
            begin = self._append(self._pack, b"".join(jpegs))
            self._pack_end = begin + ends[-1]
            pack = self._pack
        return [Preview(pack, begin + end - len(jpeg), len(jpeg)) for jpeg, end in zip(jpegs, ends, strict=True)]

    def end_pack(self) -> None:
        """Append nothing more to this process's pack: the next preview begins another."""
        with self._packing:
            self._pack = None

    def _append(self, pack: str, data: bytes) -> int:
        path = self.pack_path(pack)
        if not self.local:
            self.fs.pipe_file(path, data)
            return 0
        with durable.explained(self.root):
            durable.make_folder(Path(path).parent, self._folders)
            return durable.append(Path(path), data)

    def get_preview(self, preview: Preview) -> bytes:
        """The JPEG bytes of a preview."""
        path = self.pack_path(preview.pack)
        with durable.explained(path):
            jpeg = bytes(self.fs.cat_file(path, start=preview.offset, end=preview.offset + preview.size))
        if len(jpeg) != preview.size:
            raise CollectError(f"the preview pack {path} is cut short", hint="restore the store from a backup")
        return jpeg

    def erase(self, image: str) -> int:
        """Remove an image's original, durably, and what is shown of it elsewhere; returns the bytes of the files."""
        begin = f"{self.root}/shown/{image[:2]}/{image[2:4]}"  # where people look at it (labeling/projects.py)
        paths = [self.path(image)] + ([str(path) for path in Path(begin).glob(f"{image}.*")] if self.local else [])
        freed = 0
        with durable.explained(self.root):
            for path in paths:
                if self.fs.exists(path):
                    freed += self.fs.size(path)
                    self.fs.rm_file(path)
                    if self.local:
                        durable.sync_folder(Path(path).parent)
        return freed

    def erase_preview(self, preview: Preview) -> None:
        """Write zeros over a preview, durably; its neighbors in the pack stay where they are."""
        path = self.pack_path(preview.pack)
        with durable.explained(path):
            if not self.fs.exists(path):
                return
            if self.local:
                durable.overwrite(Path(path), preview.offset, bytes(preview.size))
                return
            pack = bytearray(self.fs.cat_file(path))
            pack[preview.offset : preview.offset + preview.size] = bytes(preview.size)
            self.fs.pipe_file(path, bytes(pack))

    def images(self) -> Iterator[str]:
        """The names of all objects in the store."""
        for path in self._files("objects"):
            name = path.rsplit("/", 1)[-1]
            if len(name) == 64:
                yield name

    def sweep(self, images: set[str], packs: set[str]) -> int:
        """Remove temporary files, and the objects and packs that no row names; returns how many.

        Call it only while no other process takes images in: a fresh object has no row for a moment.
        """
        swept = self.unnamed(images, packs)
        for path in swept:
            self.fs.rm_file(path)
        return len(swept)

    def unnamed(self, images: set[str], packs: set[str]) -> list[str]:
        """The paths of temporary files, and of the objects and packs that no row names.

        A killed intake leaves a group of them. Where there are many more than that, the catalog is not this store's (an
        old backup, say), and they are all left alone.
        """
        known = images | {f"{pack}.pack" for pack in packs}
        unknown = [
            path
            for folder in ("objects", "previews")
            for path in self._files(folder)
            if path.rsplit("/", 1)[-1] not in known
        ]
        drafts = [path for path in unknown if path.endswith(".tmp")]
        orphans = [path for path in unknown if not path.endswith(".tmp")]
        return drafts + (orphans if len(orphans) <= MOST_ORPHANS else [])

    def pack_path(self, pack: str) -> str:
        """The path of a pack of previews."""
        return f"{self.root}/previews/{pack}.pack"

    def _files(self, folder: str) -> Iterator[str]:
        if not self.local:
            yield from map(str, self.fs.find(f"{self.root}/{folder}"))
            return
        for path, _, names in os.walk(f"{self.root}/{folder}"):  # three times as fast as fsspec
            yield from (f"{path}/{name}" for name in names)
