"""The files of an export against its SHA256SUMS, by threads: what is missing, changed, or was put there by others.

`SHA256SUMS` is the list that `sha256sum -c` reads; export.json holds its own sha256.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collector.errors import CollectError, UsageError

RECORD, SUMS = "export.json", "SHA256SUMS"
THREADS = min(16, 2 * (os.cpu_count() or 1))
AT_ONCE = 512

Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of `files` listed files of `bytes` bytes that were read."""

    files: int
    bytes: int
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not (self.missing or self.changed or self.extra)

    def told(self) -> str:
        """`2 changed, 1 extra`."""
        parts = {"missing": self.missing, "changed": self.changed, "extra": self.extra}
        return ", ".join(f"{len(some)} {name}" for name, some in parts.items() if some) or "nothing"


def read_record(folder: Path) -> dict[str, Any]:
    """export.json of a folder.

    Raises:
        UsageError: there is none.
        CollectError: it cannot be read.
    """
    try:
        told = json.loads((folder / RECORD).read_bytes())
        told["plan"]["snapshot"], told["sums"], told["counts"]
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{folder} is no export: it has no {RECORD}", hint="name a folder that `collect export` wrote"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CollectError(f"{folder / RECORD} cannot be read: {error}", hint="export again") from error
    return dict(told)


def line(path: str, digest: str) -> str:
    """A line of SHA256SUMS; names with a line break or a backslash cannot stand in it, and are never given."""
    return f"{digest}  {path}\n"


def check(folder: Path, progress: Progress = lambda text, done, total: None) -> Checked:
    """Hash every file of an export anew.

    Raises:
        UsageError: the folder is no export.
        CollectError: its list of files is gone, or is not the one that was written.
    """
    record = read_record(folder)
    try:
        listed = (folder / SUMS).read_bytes()
    except OSError as error:
        raise CollectError(f"{folder / SUMS} cannot be read: {error.strerror}", hint="export again") from error
    if hashlib.sha256(listed).hexdigest() != record["sums"]:
        raise CollectError(f"{folder / SUMS} was changed since the export", hint="remove the folder and export again")
    pairs = (each.partition("  ") for each in listed.decode("utf-8").splitlines())
    wanted = {name: digest for digest, _, name in pairs}
    missing, changed, size = [], [], 0
    names = list(wanted)
    with ThreadPoolExecutor(THREADS, "verify") as pool:
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            for name, found in zip(some, pool.map(lambda each: _digest(folder / each), some), strict=True):
                if found is None:
                    missing.append(name)
                    continue
                size += found[1]
                if found[0] != wanted[name]:
                    changed.append(name)
            progress("hashing files", start + len(some), len(names))
    extra = sorted(set(_walk(folder)) - wanted.keys() - {RECORD, SUMS})
    return Checked(len(names), size, tuple(missing), tuple(changed), tuple(extra))


def _digest(path: Path) -> tuple[str, int] | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _walk(folder: Path) -> Iterator[str]:
    for above, _, names in os.walk(folder):
        yield from (os.path.relpath(os.path.join(above, name), folder) for name in names)
