"""Where metadata lies in an AVIF file: the items of its `meta` boxes, ISO/IEC 14496-12 8.11 and 23008-12 annex A.

Coded pictures and metadata are found by their offsets in the file, so metadata is blanked where it lies: nothing moves.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

NESTED = (b"moov", b"trak")  # boxes of an animation that hold further boxes
LOOSE = {b"udta": "other", b"uuid": "xmp"}  # boxes that are metadata as a whole
ITEMS = {b"Exif": "exif", b"mime": "xmp"}
EXIF = b"\0\0\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"  # offset of the TIFF header; a TIFF without a tag
BLANK = {"exif": (EXIF, b"\0"), "xmp": (b"", b" "), "other": (b"", b"\0")}


class Block(NamedTuple):
    """One block of metadata, kind `exif`, `xmp` or `other`, in pieces: (begin, end) in the file."""

    kind: str
    pieces: tuple[tuple[int, int], ...]

    def read(self, data: bytes) -> bytes:
        """Its bytes, without what EXIF has before its TIFF header."""
        found = b"".join(data[begin:end] for begin, end in self.pieces)
        return found[4 + int.from_bytes(found[:4], "big") :] if self.kind == "exif" else found


def is_avif(data: bytes) -> bool:
    """Whether a file is built of such boxes."""
    return data[4:8] == b"ftyp"


def blocks(data: bytes) -> Iterator[Block]:
    """All metadata of a file.

    Raises:
        ValueError, struct.error: the boxes are damaged.
    """
    yield from _within(data, 0, len(data))


def blanked(data: bytes) -> bytes:
    """The file with nothing in its metadata, as long as before; turning and mirroring are properties of the picture."""
    made = bytearray(data)
    for kind, pieces in blocks(data):
        first, rest = BLANK[kind]
        for begin, end in pieces:
            made[begin:end] = first[: end - begin].ljust(end - begin, rest)
            first = b""
    return bytes(made)


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, begin of the content, its end)."""
    while at + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, at)
        begin = at + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, begin)
            begin += 8
        until = at + size if size else end
        if not begin <= until <= end:
            raise ValueError(f"a box of {size} bytes at byte {at}")
        yield name, begin, until
        at = until


def _within(data: bytes, begin: int, end: int) -> Iterator[Block]:
    for name, at, until in _boxes(data, begin, end):
        if name in NESTED:
            yield from _within(data, at, until)
        elif name in LOOSE:
            yield Block(LOOSE[name], ((at + 16 if name == b"uuid" else at, until),))
        elif name == b"meta":
            yield from _items(data, {kind: place for kind, *place in _boxes(data, at + 4, until)})


def _items(data: bytes, boxes: dict[bytes, list[int]]) -> Iterator[Block]:
    if b"iinf" not in boxes or b"iloc" not in boxes:
        return
    at, end = boxes[b"iinf"]
    places = _places(data, boxes[b"iloc"][0], boxes.get(b"idat", [0])[0])
    for name, begin, _ in _boxes(data, at + (6 if data[at] == 0 else 8), end):
        if name == b"infe" and data[begin] >= 2:
            wide = data[begin] > 2
            item, _, kind = struct.unpack_from(">IH4s" if wide else ">HH4s", data, begin + 4)
            if kind in ITEMS and item in places:
                yield Block(ITEMS[kind], places[item])


def _places(data: bytes, at: int, idat: int) -> dict[int, tuple[tuple[int, int], ...]]:
    """Item -> where its bytes lie, from an `iloc` box."""
    version, wide = data[at], data[at] == 2
    offset_size, length_size = data[at + 4] >> 4, data[at + 4] & 15
    base_size, index_size = data[at + 5] >> 4, data[at + 5] & 15 if version else 0
    at += 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(data):
            raise ValueError("its table of items ends early")
        return int.from_bytes(data[at - size : at], "big")

    found = {}
    for _ in range(number(4 if wide else 2)):
        item = number(4 if wide else 2)
        inside = version > 0 and number(2) & 15 == 1
        number(2)
        base = number(base_size) + (idat if inside else 0)
        pieces = []
        for _ in range(number(2)):
            number(index_size)
            begin = base + number(offset_size)
            end = begin + number(length_size)
            if not begin < end <= len(data):
                raise ValueError(f"an item from byte {begin} to {end} of {len(data)}")
            pieces.append((begin, end))
        found[item] = tuple(pieces)
    return found
