"""Going on with a download that broke: which answers continue it, and what a killed crawl leaves on disk.

A file is continued only as the very version that was begun, which `If-Range` asks for (RFC 9110 13.1.5) and the answer
has to confirm. What has arrived of a large file is kept in steps, each durable before the next is noted:

    partial/NAME.part   the bytes
    partial/NAME.json   which version, how many bytes it has in all, and how many of the .part to trust

NAME is a hash of the address. The .part is locked while a process works at it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

from scrapy.http import Headers

from collector import durable

RANGE = re.compile(rb"bytes (\d+)-(\d+)/(\d+)")
KEPT_S = 7 * 86_400  # seconds after which what was left on disk is thrown away


class Version(NamedTuple):
    """One version of a file: its ETag or date, as `If-Range` wants it, and how many bytes it has."""

    validator: str
    size: int


def version_of(headers: Headers) -> Version | None:
    """The version that a whole file's headers state; None when its server could not continue that very version.

    A weak ETag may stand for different bytes, and so may a date that is as young as the answer (RFC 9110 8.8.2.2).
    """
    size = headers.get("Content-Length") or b""
    if (headers.get("Accept-Ranges") or b"").strip().lower() != b"bytes" or not size.isdigit():
        return None
    etag = (headers.get("ETag") or b"").decode("latin-1").strip()
    if etag:
        return Version(etag, int(size)) if etag.startswith('"') else None
    changed = (headers.get("Last-Modified") or b"").decode("latin-1").strip()
    with suppress(TypeError, ValueError):
        answered = parsedate_to_datetime((headers.get("Date") or b"").decode("latin-1"))
        if (answered - parsedate_to_datetime(changed)).total_seconds() >= 1:
            return Version(changed, int(size))
    return None


def continues(headers: Headers, version: Version, have: int) -> bool:
    """Whether a 206 answer is all that is missing of `version` after its first `have` bytes."""
    part = RANGE.fullmatch((headers.get("Content-Range") or b"").strip())
    etag = (headers.get("ETag") or b"").decode("latin-1").strip()
    if etag and version.validator.startswith('"') and etag != version.validator:
        return False
    return part is not None and [int(each) for each in part.groups()] == [have, version.size - 1, version.size]


class Partials:
    """The folder with what killed crawls left of large files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: set[str] = set()
        before = time.time() - KEPT_S
        for path in folder.iterdir() if folder.is_dir() else ():
            with suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()
                elif path.suffix == ".json":
                    self._names.add(path.stem)

    def left_of(self, url: str) -> Partial | None:
        """What is there of a file, from an earlier try; None when there is nothing, or another process is at it."""
        if not self._names or (name := _name(url)) not in self._names:
            return None
        partial = Partial.open(self.folder / f"{name}.part", os.O_RDWR)
        if partial is not None and partial.version is None:
            partial.close()
            return None
        return partial

    def begin(self, url: str) -> Partial | None:
        """A place for what will arrive of a file; None when another process has it."""
        durable.make_folder(self.folder)
        partial = Partial.open(self.folder / f"{_name(url)}.part", os.O_RDWR | os.O_CREAT)
        if partial is not None:
            partial.version, partial.size = None, 0
            self._names.add(_name(url))
        return partial


class Partial:
    """What has arrived of one file: `size` bytes of `version`, locked. Nothing has while `version` is None."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path = path
        self._handle = handle
        self._busy = threading.Lock()  # a thread may write while its download is given up
        self.version: Version | None = None
        self.size = 0
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(path.with_suffix(".json").read_bytes())
            version, size = Version(str(told["validator"]), int(told["bytes"])), int(told["kept"])
            if 0 < size < version.size and size <= os.fstat(handle).st_size:
                self.version, self.size = version, size

    @classmethod
    def open(cls, path: Path, flags: int) -> Partial | None:
        """Lock the file; None when another process holds it, or when it is missing."""
        try:
            handle = os.open(path, flags, 0o600)
        except FileNotFoundError:
            return None
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_nlink:  # else its last holder has just removed it
                return cls(path, handle)
        os.close(handle)
        return None

    def read(self) -> bytes:
        """The bytes that are kept."""
        return os.pread(self._handle, self.size, 0)

    def add(self, data: bytes, version: Version) -> None:
        """Keep the next bytes of `version`, durably. Raises OSError."""
        with self._busy:
            if self._handle < 0:
                return
            at, rest = self.size, memoryview(data)
            while rest:
                written = os.pwrite(self._handle, rest, at)
                at, rest = at + written, rest[written:]
            os.fsync(self._handle)
            told = {"validator": version.validator, "bytes": version.size, "kept": at}
            durable.write(self._path.with_suffix(".json"), json.dumps(told).encode())
            self.version, self.size = version, at

    def remove(self) -> None:
        """Take it from the disk: the file has arrived, or has changed."""
        with self._busy:
            for path in (self._path.with_suffix(".json"), self._path):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let another process have it."""
        with self._busy:
            if self._handle >= 0:
                os.close(self._handle)
                self._handle = -1


def discard(folder: Path, urls: Iterable[str]) -> None:
    """Remove what is left of some files."""
    for url in urls:
        for ending in ("json", "part"):
            (folder / f"{_name(url)}.{ending}").unlink(missing_ok=True)


def _name(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:32]
