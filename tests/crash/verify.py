"""What must be true of a workspace at any moment, asked without a line of the code under test."""

from __future__ import annotations

import hashlib
import io
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from PIL import Image

from tests.crash.driver import SOURCE

CATALOG = Path(".collect", "catalog.sqlite")
STORE = Path(".collect", "store")


def faults(workspace: Path, acks: Sequence[str]) -> list[str]:
    """One sentence for each broken promise; `acks` are the lines that the outside world has read."""
    found = list(_lying_files(workspace))
    try:
        with closing(sqlite3.connect(workspace / CATALOG) if (workspace / CATALOG).exists() else _empty()) as catalog:
            found += _of_catalog(catalog, workspace, acks)
    except sqlite3.DatabaseError as error:
        found.append(f"the catalog cannot be read: {error}")
    return found


def content(workspace: Path) -> dict[str, list[tuple[object, ...]]]:
    """What the catalog says, without times and row numbers: equal for a killed and repeated run and an unkilled one."""
    queries = {
        "images": "select id, bytes, width, height, format, mode, frames, orientation, preview_bytes from image",
        "sightings": "select image, concept, source, source_id, license from sighting",
        "rejections": "select concept, source, source_id, reason, detail from rejection",
        "fingerprints": "select image, algorithm, value, quality from fingerprint",
        "concepts": "select name, labels from concept",
    }
    with closing(sqlite3.connect(workspace / CATALOG)) as catalog:
        return {name: sorted(catalog.execute(query)) for name, query in queries.items()}


def leftovers(workspace: Path) -> list[str]:
    """Files of the store that no row names: temporary files, objects, preview packs."""
    with closing(sqlite3.connect(workspace / CATALOG)) as catalog:
        known = {name for (name,) in catalog.execute("select id from image")}
        known |= {f"{pack}.pack" for (pack,) in catalog.execute("select preview_pack from image")}
    return sorted(path.name for path in (workspace / STORE).rglob("*") if path.is_file() and path.name not in known)


def _empty() -> sqlite3.Connection:
    return sqlite3.connect(":memory:")


def _lying_files(workspace: Path) -> Iterator[str]:
    for path in (workspace / STORE / "objects").glob("*/*/*"):
        if not path.name.endswith(".tmp") and hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            yield f"a file does not hash to its name: {path.name[:12]}"


def _of_catalog(catalog: sqlite3.Connection, workspace: Path, acks: Sequence[str]) -> Iterator[str]:
    catalog.execute("pragma synchronous=off")  # the recovery of a copy needs no durability, and fsync is slow
    for (answer,) in catalog.execute("pragma integrity_check"):
        if answer != "ok":
            yield f"integrity_check: {answer}"
    if list(catalog.execute("pragma foreign_key_check")):
        yield "a foreign key points nowhere"
    if not catalog.execute("select 1 from sqlite_master where name = 'image'").fetchone():
        yield from (f"a lost acknowledgement: {line}" for line in acks)
        return
    for image, *preview in catalog.execute("select id, preview_pack, preview_offset, preview_bytes from image"):
        yield from (f"{fault}: {image[:12]}" for fault in _of_image(workspace / STORE, image, preview))
        if catalog.execute("select count(*) from fingerprint where image = ?", [image]).fetchone() != (4,):
            yield f"an image without its fingerprints: {image[:12]}"
        if not catalog.execute("select 1 from sighting where image = ?", [image]).fetchone():
            yield f"an image without a sighting: {image[:12]}"
    for line in acks:
        if not _kept(catalog, *line.split(" ")):
            yield f"a lost acknowledgement: {line}"


def _of_image(store: Path, image: str, preview: list[Any]) -> Iterator[str]:
    path = store / "objects" / image[:2] / image[2:4] / image
    if not path.is_file():
        yield "a row without its file"
    elif hashlib.sha256(path.read_bytes()).hexdigest() != image:
        yield "a row whose file lies"
    if preview[0] and not _is_jpeg(store / "previews" / f"{preview[0]}.pack", *preview[1:]):
        yield "a row without its preview"


def _is_jpeg(pack: Path, offset: int, size: int) -> bool:
    try:
        with open(pack, "rb") as file:
            file.seek(offset)
            data = file.read(size)
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            picture.load()
            return len(data) == size and min(picture.size) == 288
    except OSError:
        return False


def _kept(catalog: sqlite3.Connection, name: str, outcome: str, what: str) -> bool:
    table, column = ("rejection", "reason") if outcome == "Rejected" else ("sighting", "image")
    query = f"select 1 from {table} where source = ? and source_id = ? and {column} = ?"
    return catalog.execute(query, [SOURCE, name, what]).fetchone() is not None
