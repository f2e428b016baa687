"""Open Images V7: nine million pictures of Flickr with labels that people have verified, from its public CSV files.

Files and columns: https://storage.googleapis.com/openimages/web/download_v7.html . Of the validation part they are 40
MB, of the train part 5 GB. They are fetched once into <data>/cache/openimages; what a class has there is picked out
row by row into two small lists, pictures that show it and pictures of which people said that they do not.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any

from collector import licenses
from collector.records import Rejected, Sighting
from collector.spiders.asking import SchemaDrift
from collector.spiders.base import ImageSpider, NothingToAsk, Page
from collector.spiders.bigfiles import fetched
from collector.spiders.config import OpenImagesConfig
from collector.spiders.reading import mentions, number, same_name, stated, text, wrong_digest

CLASSES = "v7/oidv7-class-descriptions.csv"
LABELS = {
    "validation": "v7/oidv7-val-annotations-human-imagelabels.csv",
    "test": "v7/oidv7-test-annotations-human-imagelabels.csv",
    "train": "v7/oidv7-train-annotations-human-imagelabels.csv",
}
IMAGES = {
    "validation": "2018_04/validation/validation-images-with-rotation.csv",
    "test": "2018_04/test/test-images-with-rotation.csv",
    "train": "v6/oidv6-train-images-with-labels-with-rotation.csv",
}
MEGABYTES = {"validation": 40, "test": 130, "train": 5400}
IMAGE_COLUMNS = ("ImageID", "OriginalURL", "OriginalLandingURL", "License", "Author", "Title", "OriginalMD5")
ROWS = 100  # in a page, half of them negative for as long as there are any


class OpenImages(ImageSpider):
    """Pictures with a human-verified label, and as many of which people said that it is wrong."""

    name = "openimages"
    gives = "photographs of Flickr whose labels people have verified, and verified negatives, labeled as such"
    terms = "CC BY 2.0 each, as Flickr said in 2016; name author and license; the labels are CC BY 4.0 of Google"
    limits = "only words that are one of its 20,931 classes; its CSV files are fetched first"
    config: OpenImagesConfig

    async def page(self, words: str, cursor: Any) -> Page:
        """The next 50 positives, each followed by a negative; the cursor is [class, place in either list].

        Raises:
            NothingToAsk: no class is called so.
        """
        subset, folder = self.config.subset, self.job.ws.data / "cache" / "openimages"
        label, *places = cursor or (await self._class(words, folder), 0, 0)
        lists = [folder / f"{subset}{label.replace('/', '-')}-{kind}.jsonl" for kind in ("positive", "negative")]
        if not all(each.exists() for each in lists):
            if self.job.dry_run:
                self.note(f"a crawl first fetches the lists of the {subset} part, {MEGABYTES[subset]} MB")
                return Page([])
            labels = await fetched(self, LABELS[subset], folder)
            images = await fetched(self, IMAGES[subset], folder)
            await asyncio.to_thread(pick_out, label, labels, images, lists)
        (positives, there), (negatives, then) = [_rows(path, at) for path, at in zip(lists, places, strict=True)]
        pairs = zip_longest(
            (read_row(row, "positive") for row in positives),
            (read_row(row, "negative", self.job.concept.negative) for row in negatives[: len(positives)]),
        )
        found = [each for pair in pairs for each in pair if each is not None]
        return Page(found, [label, there, then] if len(positives) == ROWS // 2 else None)

    def verify(self, found: Sighting, data: bytes) -> Rejected | None:
        """The md5 of the original of 2016 must be that of the bytes."""
        return wrong_digest(found, data)

    async def _class(self, words: str, folder: Path) -> str:
        path = await fetched(self, CLASSES, folder)
        classes = read_classes(path.read_text(encoding="utf-8-sig").splitlines())
        named = class_named(words, classes)
        if not named:
            near = [name for name in classes.values() if mentions(words, name)][:3]
            raise NothingToAsk(f"it has no class {words}" + (f"; it has {', '.join(near)}" if near else ""))
        self.note(f"{words} is class {named} {classes[named]}")
        return named


def read_classes(lines: Iterable[str]) -> dict[str, str]:
    """Class id -> name; older editions of the file have no header."""
    return {row[0]: row[1] for row in csv.reader(lines) if len(row) == 2 and row[0] != "LabelName"}


def class_named(words: str, classes: Mapping[str, str]) -> str:
    """The id of the class that is called so, exactly rather than in the plural; empty if there is none."""
    named = [key for key, name in classes.items() if same_name(words, name)]
    return min(named, key=lambda key: (classes[key].casefold() != words.casefold(), key), default="")


def pick_out(label: str, labels: Path, images: Path, lists: Sequence[Path]) -> None:
    """Write the rows of all pictures that people verified for a class: positives and negatives, one JSON a line.

    Raises:
        SchemaDrift: a file lacks a column.
    """
    verified = read_labels(label, labels)
    drafts = [path.with_suffix(".tmp") for path in lists]
    with (
        drafts[0].open("w") as positives,
        drafts[1].open("w") as negatives,
        images.open(encoding="utf-8-sig", newline="") as file,
    ):
        rows = csv.reader(file)  # titles are quoted and may have line breaks
        names = _header(",".join(next(rows, [])), images, IMAGE_COLUMNS)
        at = names.index("ImageID")
        for row in rows:
            if len(row) == len(names) and (shows := verified.get(row[at])) is not None:
                line = json.dumps(dict(zip(names, row, strict=True)))
                (positives if shows else negatives).write(line + "\n")
    for draft, path in zip(reversed(drafts), reversed(lists), strict=True):
        os.replace(draft, path)  # a power cut costs the picking out, nothing else


def read_labels(label: str, path: Path) -> dict[str, bool]:
    """Picture -> whether people said that it shows the class; those on which they disagree are left out."""
    verified: dict[str, bool | None] = {}
    wanted = f",{label},".encode()
    with path.open("rb") as file:
        columns = _header(file.readline().decode("utf-8-sig"), path, ("ImageID", "LabelName", "Confidence"))
        at, confidence = columns.index("ImageID"), columns.index("Confidence")
        for line in file:
            if wanted not in line:  # the file has no quoted fields, so most rows need not be taken apart
                continue
            row = line.decode().strip().split(",")
            shows = {"1": True, "1.0": True, "0": False, "0.0": False}.get(row[confidence])
            if shows is not None:
                verified[row[at]] = shows if verified.get(row[at], shows) is shows else None
    return {image: shows for image, shows in verified.items() if shows is not None}


def read_row(row: Mapping[str, str], verified: str, label: str = "") -> Sighting:
    """A row of the file of pictures as a sighting; `verified` is `positive` or `negative`."""
    md5 = ""
    with suppress(binascii.Error):
        md5 = base64.b64decode(row.get("OriginalMD5") or "", validate=True).hex()
    address = text(row.get("License"))
    rotation = text(row.get("Rotation")).removesuffix(".0")
    return Sighting(
        source=OpenImages.name,
        source_id=row["ImageID"],
        url=text(row.get("OriginalURL")),
        license=licenses.from_code("", url=address, evidence=f"License={address!r}"),
        label=label,
        page=text(row.get("OriginalLandingURL")),
        title=text(row.get("Title")),
        creator=text(row.get("Author")),
        creator_url=text(row.get("AuthorProfileURL")),
        facts=stated(
            bytes=number(row.get("OriginalSize")),
            md5=md5,
            verified=verified,
            rotation=number(rotation),  # degrees, counterclockwise, by which people turned it
        ),
    )


def _rows(path: Path, begin: int) -> tuple[list[dict[str, str]], int]:
    """Half a page of rows of a list from a byte on, and the byte at which the next one begins."""
    with path.open("rb") as file:
        file.seek(begin)
        rows = [json.loads(line) for _, line in zip(range(ROWS // 2), file, strict=False)]  # takes no line too many
        return rows, file.tell()


def _header(line: str, path: Path, columns: Sequence[str]) -> list[str]:
    names = line.strip().split(",")
    for name in columns:
        if name not in names:
            raise SchemaDrift(
                f"openimages has changed its files: {path.name} has no column `{name}`; the file is kept in {path}, "
                "compare collector/spiders/samples/openimages.json"
            )
    return names
