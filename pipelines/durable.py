"""Files that are either whole or absent: written beside their place, synced, renamed."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from collector.errors import DiskFull

if TYPE_CHECKING:
    import pyarrow as pa


def write(path: Path, data: bytes) -> None:
    """Put `data` at `path`, replacing what was there; durable when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(draft, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(
            f"the disk that holds {path.parent} is full", hint="free some space, then run the same command again"
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def write_parquet(path: Path, table: pa.Table) -> None:
    """Put a table at `path` as Parquet, the same way."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    write(path, buffer.getvalue())
