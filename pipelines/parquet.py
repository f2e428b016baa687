"""Parquet files that are either whole or absent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from collector import durable

if TYPE_CHECKING:
    import pyarrow as pa


def save(path: Path, table: pa.Table) -> None:
    """Put a table at `path`, replacing what was there; durable when this returns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    durable.save(path, buffer.getvalue())
