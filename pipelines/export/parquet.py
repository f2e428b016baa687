"""Parquet as Hugging Face `datasets` writes it: a picture as bytes with its name, a label as a number with its names.

The features stand in the schema (key `huggingface`) for who loads the files, and in README.md for who loads the folder.
Row groups are small, as the Hub wants them for pictures: https://huggingface.co/docs/hub/datasets-image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.export.loose import entry
from pipelines.export.records import About, Entry, Format, Made, Part
from pipelines.export.shards import digest, whole
from pipelines.export.table import COLUMNS, record

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 100
GROUP_BYTES = 32_000_000
_NUMBERS = {"width": "int32", "height": "int32", "annotators": "int32", "confidence": "float64"}
_LOAD = """\
import os

from datasets import load_dataset

data = load_dataset(os.getcwd())
first = data["{split}"][0]
print(data, first["image"].size, data["{split}"].features["label"].int2str(first["label"]))"""


def features(labels: tuple[str, ...], names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The columns as `datasets.Features.from_dict` takes them."""
    columns: dict[str, dict[str, Any]] = {
        "image": {"_type": "Image"},
        "label": {"names": list(labels), "_type": "ClassLabel"},
    }
    return columns | {name: {"dtype": _NUMBERS.get(name, "string"), "_type": "Value"} for name in names}


def columns() -> list[str]:
    """The names of the columns beside `image` and `label`."""
    return [name for name in COLUMNS if name not in ("path", "label")]


def _schema(about: About) -> pa.Schema:
    import pyarrow as pa

    kinds = {"string": pa.string(), "int32": pa.int32(), "float64": pa.float64()}
    told = {"info": {"features": features(about.labels, columns())}}
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [pa.field("image", picture), pa.field("label", pa.int64())]
    fields += [pa.field(name, kinds[_NUMBERS.get(name, "string")]) for name in columns()]
    return pa.schema(fields, metadata={"huggingface": json.dumps(told)})


def _write(
    folder: Path, part: Part, pictures: Iterable[Made], about: About
) -> tuple[dict[str, tuple[str, int]], list[Entry]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = f"data/{part.name}-of-{part.parts:05d}.parquet"
    numbers = {label: number for number, label in enumerate(about.labels)}
    schema, rows, size = _schema(about), list[dict[str, Any]](), 0
    entries = []
    with whole(folder / name) as file, pq.ParquetWriter(file, schema, use_dictionary=columns()) as made_file:
        for made in pictures:
            told = entry(made, name)
            entries.append(told)
            picture = {"bytes": made.data, "path": made.name}
            rows.append({**record(made.row, told), "image": picture, "label": numbers[made.row.label]})
            size += len(made.data)
            if len(rows) >= ROWS or size >= GROUP_BYTES:
                made_file.write_table(pa.Table.from_pylist(rows, schema=schema))
                rows, size = [], 0
        if rows:
            made_file.write_table(pa.Table.from_pylist(rows, schema=schema))
    return {name: digest(folder / name)}, entries


PARQUET = Format(
    reads=frozenset({"JPEG", "PNG", "WEBP", "GIF"}),
    write=_write,
    load=lambda about: _LOAD.format(split=about.options.splits[0]),
    library="Hugging Face datasets",
    configs="data/{split}-*.parquet",
)
