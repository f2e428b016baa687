"""CSV: original pictures in `images/`, and `images.csv` with one row for each, which every other export has as well.

Read it with `keep_default_na=False`: else a label `NA`, and every empty cell, is taken for a missing value.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from collector.credits import no_formula, plain, web_link
from pipelines.export.loose import writer
from pipelines.export.pictures import EVERY
from pipelines.export.records import Entry, Format
from pipelines.manifest import ManifestRow

PATH = "images.csv"
COLUMNS = (
    "path", "file_name", "sha256", "split", "label", "width", "height", "confidence", "annotators", "tier", "source",
    "url", "page", "title", "creator", "creator_url", "license", "license_url", "changes",
)  # fmt: skip
_LOAD = """\
import pandas
from PIL import Image, ImageOps

table = pandas.read_csv("images.csv", keep_default_na=False)
train = table[table["split"] == "{split}"]
image = ImageOps.exif_transpose(Image.open(train["path"].iloc[0])).convert("RGB")
print(len(train), "pictures;", image.size, train["label"].iloc[0])"""


def record(row: ManifestRow, entry: Entry) -> dict[str, Any]:
    """What stands beside a picture in every format: plain values, strangers' text on one line."""
    return {
        "file_name": entry.name,
        "sha256": row.image,
        "split": row.split,
        "label": row.label,
        "width": entry.width,
        "height": entry.height,
        "confidence": row.confidence,
        "annotators": row.annotators,
        "tier": row.tier,
        "source": plain(row.source),
        "url": web_link(row.url),
        "page": web_link(row.page),
        "title": plain(row.title),
        "creator": plain(row.creator),
        "creator_url": web_link(row.creator_url),
        "license": "-".join(filter(None, (row.license, row.license_version))),
        "license_url": web_link(row.license_url),
        "changes": entry.done,
    }


_STRANGERS = ("source", "title", "creator")  # text that a spreadsheet must not run


def lines(pairs: Iterable[tuple[ManifestRow, Entry]]) -> Iterator[str]:
    """The text of images.csv, piece by piece."""
    text = io.StringIO()
    writer_ = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer_.writeheader()
    for row, entry in pairs:
        told = record(row, entry)
        told |= {name: no_formula(told[name]) for name in _STRANGERS}
        writer_.writerow({"path": entry.path, **told})
        if text.tell() > 1_000_000:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


CSV = Format(
    reads=EVERY,
    write=writer(lambda made, about: f"images/{made.stem[:2]}/{made.name}"),
    load=lambda about: _LOAD.format(split=about.options.splits[0]),
    library="pandas",
)
