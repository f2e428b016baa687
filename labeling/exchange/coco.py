"""COCO: pictures, categories, and annotations that join them; boxes in it count as the class of the whole picture.

COCO has no place for people. The annotator, the seconds and the note of an annotation are its `attributes`, as CVAT
writes them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from collector.errors import UsageError
from labeling.exchange.lines import About, Line, joined, moment, number, parsed, parts, save


def read(path: Path) -> list[Line]:
    """The categories of all annotated pictures; raises `UsageError`."""
    data = parsed(path)
    try:
        categories = {row["id"]: str(row["name"]) for row in data["categories"]}
        images = {row["id"]: _name(row) for row in data["images"]}
        rows = data["annotations"]
        for row in rows:
            for key, known in (("image_id", images), ("category_id", categories)):
                if row[key] not in known:
                    raise UsageError(
                        f"{path}: annotation {row.get('id')} has {key} {row[key]!r}, which the file does not describe",
                        hint="export it again; half a file cannot be imported",
                    )
        return joined(_line(images[row["image_id"]], categories[row["category_id"]], row, path) for row in rows)
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is no COCO file: {type(error).__name__} at {error}",
            hint="it needs `images` (id, file_name), `categories` (id, name) and `annotations` (image_id, category_id)",
        ) from None


def _name(row: dict[str, Any]) -> str:
    return str(row.get("sha256") or row.get("file_name") or row.get("coco_url") or row["flickr_url"])


def _line(image: str, label: str, row: dict[str, Any], path: Path) -> Line:
    told = {**row, **(row.get("attributes") or {})}
    who, note = str(told.get("annotator") or "").strip(), str(told.get("note") or "")
    return Line(image, who, label, note, number(told.get("seconds"), path), moment(told.get("at"), path))


def write(answers: Sequence[Line], path: Path, about: About) -> None:
    """Write one annotation for each label of each answer; skips have no place in it."""
    used = {label for line in answers for label in parts(line.label, about.labels)}
    labels = [*about.labels, *sorted(used - set(about.labels))]
    category = {label: number for number, label in enumerate(labels, start=1)}
    image = {name: number for number, name in enumerate(dict.fromkeys(line.image for line in answers), start=1)}
    annotations: list[dict[str, Any]] = []
    for line in answers:
        told = {"annotator": line.annotator, "seconds": line.seconds, "note": line.note, "at": line.at}
        stated = {key: value for key, value in told.items() if value not in (None, "")}
        for label in parts(line.label, about.labels):
            row = {"id": len(annotations) + 1, "image_id": image[line.image], "category_id": category[label]}
            annotations.append({**row, "attributes": stated})
    pictures = [(number, name, about.pictures[name]) for name, number in image.items()]
    document = {
        "info": {"description": about.concept},
        "images": [
            {"id": number, "file_name": shown.name, "width": shown.width, "height": shown.height, "sha256": name}
            for number, name, shown in pictures
        ],
        "categories": [{"id": number, "name": label} for label, number in category.items()],
        "annotations": annotations,
    }
    save(path, json.dumps(document, indent=1))
