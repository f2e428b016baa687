"""Parquet files that are either whole or absent."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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


class Predicted(NamedTuple):
    """What a run said: image, true label, label that was said, and the probabilities (images x labels)."""

    images: list[str]
    labels: list[str]
    predicted: list[str]
    probabilities: NDArray[np.float64]


def save_predictions(path: Path, said: Predicted, names: Sequence[str]) -> None:
    """Put down what a run said; `names` are the labels, in the order of the probabilities."""
    import pyarrow as pa

    rows, size = said.probabilities.shape
    starts = np.arange(rows + 1, dtype=np.int32) * np.int32(size)
    columns = {
        "image": said.images,
        "label": said.labels,
        "predicted": said.predicted,
        "probabilities": pa.ListArray.from_arrays(starts, said.probabilities.reshape(-1)),
    }
    about = {"labels": json.dumps(names)}
    save(path, pa.table(columns).replace_schema_metadata(about), unique=("image", "probabilities"))


def predictions(path: Path) -> Predicted:
    """What `save_predictions` put down; empty where the file is gone.

    Raises:
        CollectError: the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=list(_PREDICTED))
        images, labels, predicted = (table[name].to_pylist() for name in _PREDICTED[:3])
        flat = table["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return Predicted(images, labels, predicted, flat.reshape(len(images), -1 if len(images) else 0))
    except FileNotFoundError:
        return Predicted([], [], [], np.zeros((0, 0)))
    except (OSError, pa.ArrowInvalid, KeyError, ValueError) as error:
        raise CollectError(f"{path} cannot be read: {error}", hint="restore it from a backup") from error


_PREDICTED = ("image", "label", "predicted", "probabilities")


def columns(path: Path, names: list[str]) -> list[list[Any]] | None:
    """Some columns of a file, None where it is gone or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return [column.to_pylist() for column in pq.read_table(path, columns=names).columns]
    except (OSError, pa.ArrowInvalid):
        return None
