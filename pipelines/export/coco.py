"""COCO: `images/train/`, and `annotations/train.json` with one category for each whole picture; there are no boxes.

Format: https://cocodataset.org/#format-data. Licenses are a block of their own, and each picture names its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from collector.credits import web_link
from collector.licenses import title
from pipelines.export.loose import writer
from pipelines.export.records import About, Entry, Format, Pairs
from pipelines.export.table import record
from pipelines.export.tally import license_of
from pipelines.manifest import ManifestRow

_LOAD = """\
from pycocotools.coco import COCO

train = COCO("annotations/{split}.json")
first = train.loadImgs(train.getImgIds())[0]
labels = [each["category_id"] for each in train.imgToAnns[first["id"]]]
print(first["file_name"], "in images/{split}:", [each["name"] for each in train.loadCats(labels)])"""


def _index(split: str, pairs: Pairs, about: About) -> Iterator[str]:
    """The JSON of one split, piece by piece; the pictures are gone through once for each block."""
    licenses = {key: n for n, key in enumerate(sorted({_license(row) for row, _ in pairs()}), start=1)}
    head = {
        "description": f"{about.concept}, {split}, snapshot {about.snapshot}",
        "version": about.snapshot[:16],
        "date_created": about.made_at,
    }
    blocks = [{"id": n, "name": name, "url": url} for (name, url), n in licenses.items()]
    category = {label: n for n, label in enumerate(about.labels, start=1)}
    categories = [{"id": n, "name": label, "supercategory": about.concept} for label, n in category.items()]
    yield f'{{"info": {_json(head)},\n"licenses": {_json(blocks)},\n"categories": {_json(categories)},\n"images": [\n'
    yield from _joined({"id": n, **_image(row, entry, licenses)} for n, (row, entry) in enumerate(pairs(), start=1))
    yield '\n],\n"annotations": [\n'
    yield from _joined(
        {"id": n, "image_id": n, "category_id": category[row.label]} for n, (row, _) in enumerate(pairs(), start=1)
    )
    yield "\n]}\n"


def _image(row: ManifestRow, entry: Entry, licenses: dict[tuple[str, str], int]) -> dict[str, Any]:
    told = record(row, entry)
    told = {name: told[name] for name in ("file_name", "width", "height", "sha256", "title", "creator", "changes")}
    return {**told, "license": licenses[_license(row)], "coco_url": web_link(row.url), "page": web_link(row.page)}


def _license(row: ManifestRow) -> tuple[str, str]:
    license = license_of(row)
    return title(license), web_link(license.url)


def _joined(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    for n, row in enumerate(rows):
        yield f",\n{_json(row)}" if n else _json(row)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


COCO = Format(
    reads=frozenset({"JPEG", "PNG", "WEBP"}),
    write=writer(lambda made, about: f"images/{made.row.split}/{made.name}"),
    load=lambda about: _LOAD.format(split=about.options.splits[0]),
    library="pycocotools",
    index=_index,
    index_path="annotations/{split}.json",
)
