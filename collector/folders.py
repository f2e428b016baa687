"""Folders of pictures that a person names: which files are in them, and their bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from collector.config import IntakeConfig
from collector.errors import UsageError
from collector.records import Rejected


def files(folder: str | Path) -> list[Path]:
    """Every file in `folder` and below, sorted; hidden folders and links that lead out of it are left alone.

    Raises:
        UsageError: it is no folder, or nothing is in it.
    """
    top = Path(folder).resolve()
    if not top.is_dir():
        raise UsageError(f"{folder} is not a folder", hint="name a folder of pictures")
    found = list(_walk(top))
    if not found:
        raise UsageError(f"{folder} holds no files", hint="name a folder of pictures")
    return found


def _walk(top: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(folder, name) for name in sorted(names)):
            if path.is_file() and path.resolve().is_relative_to(top):
                yield path


def identity(top: Path) -> str:
    """The same for the same folder; a hash, because a path may name its owner."""
    return hashlib.sha256(os.fsencode(top.resolve())).hexdigest()[:12]


def inside(path: Path, top: Path) -> str:
    """The path of a file within its folder, as text that can be written down."""
    return os.fsencode(path.relative_to(top.resolve())).decode("utf-8", "replace")


def read(path: Path, config: IntakeConfig) -> bytes | Rejected:
    """The bytes of a file, unless it cannot be read or is larger than `intake.max_bytes`."""
    try:
        size = path.stat().st_size
        if size > config.max_bytes:
            return Rejected("too-large", f"{size} bytes, more than intake.max_bytes")
        return path.read_bytes()
    except OSError as error:
        return Rejected("unreadable", str(error.strerror))
