"""Parquet files that are either whole or absent."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collector import durable
from collector.errors import CollectError

if TYPE_CHECKING:
    import pyarrow as pa


VALIDATION = "validation.parquet"  # in a run folder: what the model says of images that it was not trained on
CROSS_VALIDATED = "train.parquet"  # what cross-validation said of those that it was


def save(path: Path, table: pa.Table, *, unique: Collection[str] = ()) -> None:
    """Put a table at `path`, replacing what was there; durable when this returns.

    Columns of `unique` values get no dictionary, which would cost time and save nothing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    coded = [name for name in table.column_names if name not in unique] if unique else True
    pq.write_table(table, buffer, compression="zstd", use_dictionary=coded)
    durable.save(path, buffer.getvalue())


def predictions(path: Path) -> list[dict[str, Any]]:
    """What a run said of each image: image, label, predicted, probabilities; empty where the file is gone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_table(path).to_pylist())
    except FileNotFoundError:
        return []
    except (OSError, pa.ArrowInvalid) as error:
        raise CollectError(f"{path} cannot be read: {error}", hint="restore it from a backup") from error


def columns(path: Path, names: list[str]) -> list[list[Any]] | None:
    """Some columns of a file, None where it is gone or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return [column.to_pylist() for column in pq.read_table(path, columns=names).columns]
    except (OSError, pa.ArrowInvalid):
        return None
