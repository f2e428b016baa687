"""What a file tells beside its pixels: size, compression, camera, source. A model may learn that, not the subject.

Only headers are read. `Header` is what lies in the file, `Metadata` is that with where and when the picture was seen.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from collector import looks
from collector.catalog.sightings import Seen
from collector.decoding import FORMATS, ORIENTATION, SIDEWAYS
from collector.errors import CollectError
from collector.workspace import Workspace

SAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
GRAY = ("1", "L", "LA", "I;16", "I;16B", "I")
READERS = 8  # threads: a store may be a bucket


class Header(NamedTuple):
    """What lies in a file beside its pixels.

    `width` and `height` are upright, in pixels; `quality` is the setting of libjpeg, 1 to 100, whose tables are nearest
    (None: not a JPEG); `tables` is a digest of the quantization tables; `taken` is when the camera says so, ISO 8601.
    """

    width: int
    height: int
    bytes: int
    format: str
    gray: bool
    exif: bool
    icc: bool
    taken: str = ""
    quality: int | None = None
    tables: str = ""
    chroma: str = ""
    progressive: bool = False

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.width / self.height

    @property
    def long_side(self) -> int:
        """In pixels."""
        return max(self.width, self.height)

    @property
    def bytes_per_pixel(self) -> float:
        """How much the file spends on a pixel."""
        return self.bytes / (self.width * self.height)


@dataclass(frozen=True, slots=True)
class Metadata:
    """A file's header with the source and the host that showed it, and the day when it was seen (ISO 8601)."""

    header: Header
    source: str
    host: str
    seen: str


def read(data: bytes) -> Header | None:
    """The header of a file; None when nothing can be read."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as file:
            return _header(file, len(data))
    except Exception:  # a damaged file raises nearly anything, and tells nothing
        return None


def metadata(ws: Workspace, images: Iterable[str], origins: Mapping[str, Seen]) -> dict[str, Metadata]:
    """Image -> its metadata; `origins` says which sighting speaks for it. Images whose bytes are gone are left out."""
    wanted = list(images)
    found = {}
    with ThreadPoolExecutor(READERS, thread_name_prefix="headers") as readers:
        headers = readers.map(lambda image: _stored(ws, image), wanted)
        for done, (image, header) in enumerate(zip(wanted, headers, strict=True), 1):
            if header is not None:
                found[image] = _placed(header, origins.get(image))
            ws.progress("reading headers", done, len(wanted))
    return found


@cache
def libjpeg_tables() -> NDArray[np.int64]:
    """The luminance table of libjpeg for each quality: (100, 64), the first row for quality 1."""
    return np.array([_table(quality) for quality in range(1, 101)], dtype=np.int64)


def quality_of(table: Iterable[int]) -> int:
    """The quality of libjpeg, 1 to 100, whose luminance table (64 steps, row by row) is nearest in all."""
    return 1 + int(np.abs(libjpeg_tables() - np.array(list(table))).sum(axis=1).argmin())


def _table(quality: int) -> list[int]:
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as file:
        assert isinstance(file, JpegImageFile)
        return list(file.quantization[0])


def _header(file: Image.Image, size: int) -> Header:
    width, height = file.size
    exif = bool(file.info.get("exif"))
    tags = file.getexif() if exif else Image.Exif()
    if tags.get(ORIENTATION) in SIDEWAYS:
        width, height = height, width
    plain = Header(
        width=width,
        height=height,
        bytes=size,
        format=str(file.format),
        gray=file.mode in GRAY,
        exif=exif,
        icc=bool(file.info.get("icc_profile")),
        taken=looks.taken(tags),
    )
    if not isinstance(file, JpegImageFile) or not file.quantization:
        return plain
    tables = sorted(file.quantization.items())
    return plain._replace(
        format="JPEG",  # a phone's second view (MPO) is no other format
        quality=quality_of(tables[0][1]),
        tables=hashlib.sha256(repr([(name, list(table)) for name, table in tables]).encode()).hexdigest()[:8],
        chroma=SAMPLING.get(get_sampling(file), "gray" if plain.gray else "other"),
        progressive=bool(file.info.get("progressive")),
    )


def _stored(ws: Workspace, image: str) -> Header | None:
    try:
        return read(ws.store.get(image))
    except CollectError:
        return None


def _placed(header: Header, seen: Seen | None) -> Metadata:
    if seen is None:
        return Metadata(header, "", "", "")
    try:
        host = urlsplit(seen.found.final_url or seen.found.url).hostname or ""
    except ValueError:
        host = ""
    return Metadata(header, seen.found.source, host, seen.seen_at[:10])
