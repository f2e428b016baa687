"""Files that are written piece by piece, and stand under their name only when they are whole and durable."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from collector import durable


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes its name when the block ends well, and is gone when it does not."""
    durable.make_folder(path.parent)
    draft = path.with_name(f"{path.name}.tmp")
    try:
        with open(draft, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    durable.sync_folder(path.parent)


def digest(path: Path) -> tuple[str, int]:
    """sha256 of a file, and its bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size
