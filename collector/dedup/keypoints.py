"""Points of stored images (collector/dedup/geometry.py), extracted once and kept on disk for ever.

They lie under `data/keypoints/<extraction>/`, about 28 kB for each image, in packs that are only appended to, one for
each run. A record is a header, places, descriptors and the small picture. What a run appends is durable before it
appends again, so only its last group can be torn: readers check that, skip what is damaged, and those images are
extracted again.
"""

from __future__ import annotations

import io
import mmap
import os
import struct
import uuid
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from collector import durable
from collector.catalog import images
from collector.decoding import FORMATS, upright_rgb
from collector.dedup.geometry import EXTRACTION, Match, Points, extract, small_size, verify
from collector.errors import CollectError
from collector.store import Preview
from collector.workspace import Workspace

HEADER = struct.Struct("<32s4I")  # image, width, height, points, checksum of the body; then the header's own checksum
CHECKSUM = struct.Struct("<I")
GROUP = 128  # pictures made durable together
POINT_BYTES = 8 + 32


class Record(NamedTuple):
    """Where the points of an image lie: a mapped pack, the offset of its places, their number, the picture's size."""

    pack: mmap.mmap
    offset: int
    points: int
    size: tuple[int, int]
    checksum: int

    def sound(self) -> bool:
        """Whether the body is what was written."""
        body = memoryview(self.pack)[self.offset : self.offset + _length(self.points, self.size)]
        return zlib.crc32(body) == self.checksum


class Keypoints(Mapping[str, Points]):
    """The points of images, by image id; read from disk when asked for."""

    def __init__(self, folder: Path) -> None:
        self._records: dict[str, Record] = {}
        for pack in sorted(folder.glob("*.points")):
            self.read(pack)

    def read(self, path: Path) -> None:
        """Take in what a pack holds, up to the first damage."""
        with durable.explained(path), open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return
            pack = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        found = list(_records(pack))
        first = max(0, len(found) - GROUP)
        bad = next((i for i in range(first, len(found)) if not found[i][1].sound()), len(found))
        self._records.update(found[:bad])

    def __getitem__(self, image: str) -> Points:
        pack, offset, k, size, _ = self._records[image]
        places = np.frombuffer(pack, "<f4", 2 * k, offset).reshape(-1, 2)
        descriptors = np.frombuffer(pack, np.uint8, 32 * k, offset + 8 * k).reshape(-1, 32)
        width, height = small_size(size)
        small = np.frombuffer(pack, np.uint8, width * height, offset + POINT_BYTES * k).reshape(height, width)
        return Points(places, descriptors, size, small)

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)


def _records(pack: mmap.mmap) -> Iterator[tuple[str, Record]]:
    body = 0
    while (body := body + HEADER.size + CHECKSUM.size) <= len(pack):
        at = body - HEADER.size - CHECKSUM.size
        image, width, height, k, checksum = HEADER.unpack_from(pack, at)
        own = CHECKSUM.unpack_from(pack, at + HEADER.size)[0]
        if own != zlib.crc32(pack[at : at + HEADER.size]):
            return
        length = _length(k, (width, height))
        if body + length > len(pack):
            return
        yield image.hex(), Record(pack, body, k, (width, height), checksum)
        body += length


def _length(points: int, size: tuple[int, int]) -> int:
    width, height = small_size(size)
    return POINT_BYTES * points + width * height


def _packed(image: str, points: Points) -> bytes:
    body = points.places.astype("<f4").tobytes() + points.descriptors.tobytes() + points.small.tobytes()
    header = HEADER.pack(bytes.fromhex(image), *points.size, len(points.places), zlib.crc32(body))
    return header + CHECKSUM.pack(zlib.crc32(header)) + body


def keypoints(ws: Workspace, wanted: Iterable[str], *, mirrored: bool = False) -> Keypoints:
    """The points of these images, or of their mirror images, from the cache; extracted where missing.

    An image whose bytes are gone or cannot be read any more has none, and is not in the answer.
    """
    folder = ws.data / "keypoints" / (EXTRACTION.replace("/", "-") + ("-mirrored" if mirrored else ""))
    found = Keypoints(folder)
    missing = sorted(set(wanted) - set(found))
    if not missing:
        return found
    previews = images.previews(ws.catalog, missing)
    pack = folder / f"{uuid.uuid4().hex}.points"
    with durable.explained(folder), _threads() as pool:
        durable.make_folder(folder)
        for start in range(0, len(missing), GROUP):
            group = [name for name in missing[start : start + GROUP] if name in previews]
            packed = b"".join(pool.map(lambda name: _extracted(ws, name, previews[name], mirrored), group))
            if packed:
                durable.append(pack, packed)
            ws.progress("finding points", min(start + GROUP, len(missing)), len(missing))
    if pack.exists():
        found.read(pack)
    return found


def erase(ws: Workspace, images: Collection[str]) -> int:
    """Write zeros over the points of images, in every pack; returns how many records there were.

    The body goes first and the name last, so that what a kill leaves half done is found again.
    """
    names, erased = set(images), 0
    for path in sorted((ws.data / "keypoints").glob("*/*.points")):
        with durable.explained(path), open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                continue
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pack:
                mine = [(record.offset, record.points, record.size) for name, record in _records(pack) if name in names]
        for offset, points, size in mine:
            body = bytes(_length(points, size))
            durable.overwrite(path, offset, body)
            header = HEADER.pack(bytes(32), *size, points, zlib.crc32(body))
            durable.overwrite(path, offset - HEADER.size - CHECKSUM.size, header + CHECKSUM.pack(zlib.crc32(header)))
        erased += len(mine)
    return erased


def _threads() -> ThreadPoolExecutor:
    cv2.setNumThreads(1)  # each of our threads works on a picture of its own
    return ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="points")


def _extracted(ws: Workspace, image: str, preview: Preview | None, mirrored: bool) -> bytes:
    try:
        with Image.open(io.BytesIO(_bytes(ws, image, preview)), formats=FORMATS) as file:
            gray = np.asarray(upright_rgb(file).convert("L"))
    except Exception:  # a store that lost or damaged it; what a decoder raises then is nearly anything
        return b""
    return _packed(image, extract(np.ascontiguousarray(gray[:, ::-1]) if mirrored else gray))


def _bytes(ws: Workspace, image: str, preview: Preview | None) -> bytes:
    if preview is not None:
        with suppress(CollectError):  # a lost preview; the original is as good
            return ws.store.get_preview(preview)
    return ws.store.get(image)


def compare(ws: Workspace, pairs: Sequence[tuple[str, str]]) -> list[Match | None]:
    """Verify each pair of images, upright first and mirrored where that fails; None where one cannot be read."""
    points = keypoints(ws, {image for pair in pairs for image in pair})
    found: list[Match | None] = [None] * len(pairs)
    there = [i for i, (first, second) in enumerate(pairs) if first in points and second in points]
    upright = verified(ws, [(points[pairs[i][0]], points[pairs[i][1]]) for i in there])
    for i, match in zip(there, upright, strict=True):
        found[i] = match
    again = [i for i in there if (seen := found[i]) and not seen.same]
    flipped = keypoints(ws, {pairs[i][1] for i in again}, mirrored=True)
    again = [i for i in again if pairs[i][1] in flipped]
    turned = verified(ws, [(points[pairs[i][0]], flipped[pairs[i][1]]) for i in again])
    for i, other in zip(again, turned, strict=True):
        if other.same:
            found[i] = other._replace(mirrored=True)
    return found


def verified(ws: Workspace, pairs: Sequence[tuple[Points, Points]]) -> Iterator[Match]:
    """Each pair as it stands, upright, on several threads."""
    with _threads() as pool:
        for done, match in enumerate(pool.map(lambda pair: verify(*pair), pairs), 1):
            if done % GROUP == 0:
                ws.progress("comparing points", done, len(pairs))
            yield match
