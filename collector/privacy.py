"""What a file tells of its owner besides the picture, and the same file without it.

Read and removed is metadata in JPEG (APPn, COM), PNG (text, eXIf), WebP and AVIF (EXIF, XMP) and GIF (comments, XMP).
Pixels are never coded again: `strip` copies the coded picture, its color profile and its animation byte for byte, and
leaves the rest out. Formats: ITU T.81 B.1.1.3, PNG 3rd edition 5.3, RFC 9649, GIF89a, collector/isobmff.py; tags: Exif
2.32.
"""

from __future__ import annotations

import binascii
import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image
from PIL.ExifTags import GPSTAGS, IFD, TAGS, Base

from collector import isobmff
from collector.errors import CollectError

NO_PLACE = {"GPSVersionID", "GPSTimeStamp", "GPSDateStamp", "GPSStatus", "GPSMeasureMode", "GPSDOP", "GPSMapDatum"}
OWNERS = (Base.CameraOwnerName, Base.BodySerialNumber, Base.LensSerialNumber, Base.XPAuthor, Base.HostComputer)
OLD_SERIALS = (0xC62F,)  # CameraSerialNumber of DNG
XMP_PLACES = re.compile(rb"exif:(GPS[A-Z]\w+)")
XMP_OWNERS = re.compile(
    rb"(?:aux|exifEX|tiff|MicrosoftPhoto):((?:Body|Lens|Camera)?SerialNumber|LensID|(?:Camera)?OwnerName)\b"
)
PNG = b"\x89PNG\r\n\x1a\n"
PNG_KEPT = {
    b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB", b"cICP", b"mDCV", b"cLLI",
    b"bKGD", b"hIST", b"pHYs", b"acTL", b"fcTL", b"fdAT",
}  # fmt: skip
WEBP_KEPT = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"}
NO_LENGTH = (0x01, *range(0xD0, 0xD9))  # TEM, RST0 to RST7, SOI


class Found(NamedTuple):
    """Names of tags, sorted: those that say where a picture was taken, and those that name an owner or a device."""

    places: list[str]
    owners: list[str]


def found(data: bytes) -> Found:
    """Which private tags the metadata of a file holds. A file that cannot be parsed holds none that we can name."""
    places: set[str] = set()
    owners: set[str] = set()
    try:
        for kind, payload in _metadata(data):
            if kind == "exif":
                _from_exif(payload, places, owners)
            elif kind == "xmp":
                places |= {f"xmp:{name.decode()}" for name in XMP_PLACES.findall(payload)}
                owners |= {f"xmp:{name.decode()}" for name in XMP_OWNERS.findall(payload)}
    except Exception:  # metadata that nobody can read says nothing to anybody; what was found so far counts
        pass
    return Found(sorted(place for place in places if place.removeprefix("xmp:") not in NO_PLACE), sorted(owners))


def strip(data: bytes) -> bytes:
    """The file without metadata, its coded pixels untouched; the same bytes where there is none.

    Kept: what decoding needs, the color profile (ICC), animation, and the orientation: where EXIF turns the picture, a
    new EXIF block is written that holds this one tag. What follows the picture in the file is cut off (a phone's second
    view, the film of a moving photograph). In AVIF, where everything is found by its offset, metadata is blanked and
    the file keeps its length.

    Raises:
        CollectError: it is none of these formats, or its structure is damaged.
    """
    try:
        if isobmff.is_avif(data):
            return isobmff.blanked(data)
        for begin, remove in ((b"\xff\xd8", _jpeg), (PNG, _png), (b"RIFF", _webp), (b"GIF8", _gif)):
            if data.startswith(begin):
                return remove(data)
    except (IndexError, RecursionError, struct.error, ValueError) as error:
        raise CollectError(f"metadata cannot be removed: the file is damaged ({error})") from error
    raise CollectError(
        f"metadata cannot be removed from a file that begins with {data[4:12]!r}",
        hint="only JPEG, PNG, WebP, GIF and AVIF are rewritten; export this image re-encoded",
    )


def _from_exif(payload: bytes, places: set[str], owners: set[str]) -> None:
    exif = Image.Exif()
    exif.load(payload)
    places |= {str(GPSTAGS.get(tag, tag)) for tag, value in exif.get_ifd(IFD.GPSInfo).items() if value not in ("", b"")}
    inner = {**exif, **exif.get_ifd(IFD.Exif)}
    owners |= {str(TAGS.get(tag, tag)) for tag in (*OWNERS, *OLD_SERIALS) if inner.get(tag)}


def _metadata(data: bytes) -> Iterator[tuple[str, bytes]]:
    """("exif" or "xmp", bytes) of every block."""
    if data.startswith(b"\xff\xd8"):
        blocks = (payload for marker, payload, _, _ in _segments(data) if marker == 0xE1)
        yield from (("exif" if payload.startswith(b"Exif") else "xmp", payload) for payload in blocks)
    elif data.startswith(PNG):
        for name, payload, _ in _png_chunks(data):
            if name == b"eXIf":
                yield "exif", payload
            elif name in (b"iTXt", b"tEXt", b"zTXt"):
                yield from _png_text(name, payload)
    elif data.startswith(b"RIFF"):
        kinds = {b"EXIF": "exif", b"XMP ": "xmp"}
        yield from ((kinds[name], payload) for name, payload, _ in _webp_chunks(data) if name in kinds)
    elif isobmff.is_avif(data):
        yield from ((each.kind, each.read(data)) for each in isobmff.blocks(data))
    elif b"XMP DataXMP" in data[:1_000_000]:
        yield "xmp", data


def _png_text(name: bytes, payload: bytes) -> Iterator[tuple[str, bytes]]:
    word, _, rest = payload.partition(b"\0")
    if name == b"zTXt":
        rest = zlib.decompressobj().decompress(rest[1:], 1_000_000)
    if word.startswith(b"Raw profile type") and word.endswith((b"exif", b"APP1")):
        yield "exif", binascii.unhexlify(b"".join(rest.split()[2:]))
    else:
        yield "xmp", rest


def _turned(data: bytes) -> bytes:
    """An EXIF block that holds the orientation and nothing else; empty for upright pictures."""
    for kind, payload in _metadata(data):
        if kind == "exif":
            exif = Image.Exif()
            try:
                exif.load(payload)
                value = exif.get(Base.Orientation, 1)
            except Exception:  # nobody turns a picture for what cannot be read
                continue
            if isinstance(value, int) and 2 <= value <= 8:
                only = Image.Exif()
                only[Base.Orientation] = value
                return only.tobytes()
    return b""


# -- JPEG -------------------------------------------------------------------------------------------------------------


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int, int]]:
    """(marker, payload, begin, end) of each segment up to the first scan; the end of a scan's header is its end."""
    at = 2
    while True:
        while data[at] == 0xFF and data[at + 1] == 0xFF:
            at += 1
        if data[at] != 0xFF:
            raise ValueError(f"no JPEG marker at byte {at}")
        marker = data[at + 1]
        if marker in NO_LENGTH or marker == 0xD9:
            yield marker, b"", at, at + 2
            at += 2
            if marker == 0xD9:
                return
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + max(2, length)
        yield marker, data[at + 4 : end], at, end
        if marker == 0xDA:
            return
        at = end


def _jpeg(data: bytes) -> bytes:
    kept = [b"\xff\xd8"]
    turned = _turned(data)
    for marker, payload, begin, end in _segments(data):
        picture = marker < 0xE0 or (marker > 0xEF and marker != 0xFE)
        profile = marker == 0xE2 and payload.startswith(b"ICC_PROFILE\0")
        adobe = marker == 0xEE and payload.startswith(b"Adobe")  # says how the colors are coded
        if picture and turned:
            kept.append(b"\xff\xe1" + struct.pack(">H", len(turned) + 2) + turned)
            turned = b""
        if marker == 0xE0 and payload.startswith(b"JFIF\0") and len(payload) >= 14:
            kept.append(b"\xff\xe0\x00\x10" + payload[:12] + b"\0\0")  # without its thumbnail
        elif marker == 0xDA:
            kept.append(data[begin : _end_of_jpeg(data, end)])
        elif picture or profile or adobe:
            kept.append(data[begin:end])
    return b"".join(kept)


def _end_of_jpeg(data: bytes, at: int) -> int:
    """Where the picture ends: after the first end marker that is not coded data; the end of a file that has none."""
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        marker = data[at + 1]
        if marker == 0xD9:
            return at + 2
        if marker in (0x00, 0xFF) or marker in NO_LENGTH:
            at += 1 if marker == 0xFF else 2
        else:  # tables between the scans of a progressive picture
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return len(data)


# -- PNG, WebP, GIF ---------------------------------------------------------------------------------------------------


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """(name, payload, whole chunk)."""
    at = len(PNG)
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        yield name, data[at + 8 : at + 8 + length], data[at : at + 12 + length]
        if name == b"IEND":
            return
        at += 12 + length


def _png(data: bytes) -> bytes:
    kept = [PNG]
    turned = _turned(data).removeprefix(b"Exif\0\0")
    for name, _, chunk in _png_chunks(data):
        if name in PNG_KEPT:
            kept.append(chunk)
        if name == b"IHDR" and turned:
            kept.append(struct.pack(">I", len(turned)) + b"eXIf" + turned)
            kept.append(struct.pack(">I", zlib.crc32(b"eXIf" + turned)))
    return b"".join(kept)


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    at, end = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while at + 8 <= end:
        name, length = struct.unpack_from("<4sI", data, at)
        yield name, data[at + 8 : at + 8 + length], data[at : at + 8 + length + length % 2]
        at += 8 + length + length % 2


def _webp(data: bytes) -> bytes:
    turned = _turned(data).removeprefix(b"Exif\0\0")
    kept = []
    for name, payload, chunk in _webp_chunks(data):
        if name == b"VP8X":
            flags = (payload[0] & ~0x0C) | (0x08 if turned else 0)
            kept.append(chunk[:8] + bytes([flags]) + chunk[9:])
        elif name in WEBP_KEPT:
            kept.append(chunk)
    if turned:
        kept.append(b"EXIF" + struct.pack("<I", len(turned)) + turned + b"\0" * (len(turned) % 2))
    body = b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _gif(data: bytes) -> bytes:
    at = 13 + _gif_colors(data[10])
    kept = [data[:at]]
    while data[at] != 0x3B:
        begin = at
        if data[at] == 0x2C:
            at = _gif_blocks(data, at + 11 + _gif_colors(data[at + 9]))
            keep = True
        elif data[at] == 0x21:
            keep = data[at + 1] == 0xF9 or data[at + 3 : at + 14] in (b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012")
            at = _gif_blocks(data, at + 2)
        else:
            raise ValueError(f"no GIF block at byte {at}")
        if keep:
            kept.append(data[begin:at])
    return b"".join([*kept, b";"])


def _gif_colors(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _gif_blocks(data: bytes, at: int) -> int:
    while data[at]:
        at += data[at] + 1
    return at + 1
