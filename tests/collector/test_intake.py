"""Whatever a stranger's file holds, intake answers with one outcome and one row."""

from __future__ import annotations

import hashlib
import io
import random
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from collector.catalog import images
from collector.config import IntakeConfig
from collector.decoding import MOST_FRAMES, ORIENTATION, UPRIGHT, Decoded, decode
from collector.errors import CollectError
from collector.fingerprints import PHASH, Fingerprint, algorithms, fingerprints, thumb
from collector.intake import take_in, taking_in
from collector.records import Kept, Known, License, Outcome, Rejected, Sighting
from collector.workspace import Workspace
from tests.conftest import jpeg, picture

CONFIG = IntakeConfig()


def saved(image: Image.Image, format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def png_of(width: int, height: int, depth: int, color: int, rows: bytes) -> bytes:
    """A PNG put together by hand, for what Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def gif_of(*frames: tuple[int, int]) -> bytes:
    """A GIF of 200 x 200 pixels with frames of any claimed size, each of which holds one pixel."""
    header = b"GIF89a" + struct.pack("<HH", 200, 200) + b"\xf0\0\0" + b"\0\0\0\xff\xff\xff"
    return header + b"".join(b"," + struct.pack("<HHHH", 0, 0, *f) + b"\0\x02\x02\x44\x01\0" for f in frames) + b";"


def with_orientation(kind: int, count: int, value: bytes) -> bytes:
    """A JPEG with a hand-made orientation entry of any TIFF type."""
    tiff = b"II*\0" + struct.pack("<IHHHI", 8, 1, ORIENTATION, kind, count) + value.ljust(4, b"\0") + bytes(4)
    return jpeg(8)[:2] + b"\xff\xe1" + struct.pack(">H", 2 + 6 + len(tiff)) + b"Exif\0\0" + tiff + jpeg(8)[2:]


BOMB = png_of(20_000, 20_000, 1, 0, bytes(2501) * 20_000)
REFUSED: dict[str, tuple[bytes, str]] = {
    "no bytes": (b"", "empty"),
    "text": (b"this is a letter to nobody", "not-an-image"),
    "a web page named .jpg": (b"\xef\xbb\xbf <!DOCTYPE html><html>404</html>", "not-an-image"),
    "SVG": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "not-an-image"),
    "a PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "not-an-image"),
    "the start of a JPEG": (jpeg(1)[:10], "broken"),
    "the start of an AVIF": (saved(picture(1), "AVIF")[:40], "broken"),
    "a truncated JPEG": (jpeg(1)[:5000], "broken"),
    "a truncated PNG": (saved(picture(1), "PNG")[:5000], "broken"),
    "a truncated WebP": (saved(picture(1), "WEBP")[:2000], "broken"),
    "a truncated GIF": (saved(picture(1), "GIF")[:5000], "broken"),
    "a truncated AVIF": (saved(picture(1), "AVIF")[:1000], "broken"),
    "a bomb of 400 million pixels": (BOMB, "too-many-pixels"),
    "more pixels than the setting allows": (png_of(8000, 8000, 1, 0, bytes(1001) * 8000), "too-many-pixels"),
    "a GIF whose frame is larger than its screen": (gif_of((60_000, 60_000)), "too-many-pixels"),
    "an icon": (saved(picture(1, (CONFIG.min_side - 1, 400)), "PNG"), "too-small"),
    "too many bytes": (jpeg(1) + bytes(CONFIG.max_bytes), "too-large"),
    "TIFF": (saved(picture(1), "TIFF"), "not-an-image"),
    "BMP": (saved(picture(1), "BMP"), "not-an-image"),
    "EPS": (saved(picture(1), "EPS"), "not-an-image"),
    "JPEG 2000": (saved(picture(1), "JPEG2000"), "not-an-image"),
    "PSD": (b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 200, 200, 8, 3) + bytes(14 + 120_000), "not-an-image"),
}


@pytest.fixture
def concept(ws: Workspace) -> str:
    return ws.concept("horse", create=True).name


@pytest.fixture
def take(ws: Workspace, concept: str) -> Callable[[bytes, str], Outcome]:
    """Takes bytes in under a name, as a step would."""

    def take(data: bytes, name: str = "a.jpg") -> Outcome:
        with taking_in(ws):
            return take_in(ws, data, Sighting("folder", name, name, License("own"), concept=concept))

    return take


def kept(data: bytes) -> Decoded:
    decoded = decode(data, CONFIG)
    assert isinstance(decoded, Decoded), decoded
    return decoded


@pytest.mark.parametrize("what", REFUSED)
def test_a_refused_file_is_one_row_with_its_reason(
    ws: Workspace, take: Callable[[bytes, str], Outcome], what: str
) -> None:
    data, reason = REFUSED[what]
    outcome = take(data, "picture.jpg")
    assert isinstance(outcome, Rejected)
    assert outcome.reason == reason, outcome.detail
    assert outcome.detail
    assert take(data, "picture.jpg") == outcome
    rows = ws.catalog.frame("rejection")
    assert list(rows["reason"]) == [reason]
    assert list(rows["source_id"]) == ["picture.jpg"]
    assert ws.catalog.frame("image").empty
    assert list(ws.store.images()) == []


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    assert len(BOMB) < 60_000
    started = time.perf_counter()
    assert isinstance(decode(BOMB, CONFIG), Rejected)
    assert time.perf_counter() - started < 0.2
    allowed = IntakeConfig(max_pixels=10**9)
    assert isinstance(decode(BOMB, allowed), Rejected)  # Pillow's own limit stands behind ours


def test_a_gif_of_many_giant_frames_costs_one_frame_and_is_not_counted_to_its_end() -> None:
    few, many = (gif_of((1, 1), *[(60_000, 60_000)] * count) for count in (600, 200_000))
    started = time.perf_counter()
    assert kept(few).frames == 601
    assert kept(many).frames == MOST_FRAMES
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
def test_every_format_of_the_allow_list_is_kept_whatever_its_name_says(
    ws: Workspace, take: Callable[[bytes, str], Outcome], format_: str
) -> None:
    data = saved(picture(2), format_)
    assert take(data, "wrong.tiff") == Kept(hashlib.sha256(data).hexdigest())
    row = ws.catalog.frame("image").iloc[0]
    assert (row["format"], row["width"], row["height"], row["frames"]) == (format_, 320, 240, 1)
    assert (row["bytes"], row["orientation"]) == (len(data), 1)
    assert ws.store.get(row["id"]) == data
    assert set(ws.catalog.frame("fingerprint")["algorithm"]) == set(algorithms())


def test_the_same_bytes_add_a_sighting_not_an_image(ws: Workspace, take: Callable[[bytes, str], Outcome]) -> None:
    first = take(jpeg(1), "a.jpg")
    assert isinstance(first, Kept)
    assert take(jpeg(1), "b.jpg") == Known(first.image)
    assert take(jpeg(1), "b.jpg") == Known(first.image)
    assert len(ws.catalog.frame("image")) == 1
    assert sorted(ws.catalog.frame("sighting")["source_id"]) == ["a.jpg", "b.jpg"]


def test_a_known_image_that_the_store_has_lost_is_healed(ws: Workspace, take: Callable[[bytes, str], Outcome]) -> None:
    outcome = take(jpeg(1), "a.jpg")
    assert isinstance(outcome, Kept)
    Path(ws.store.path(outcome.image)).unlink()
    with pytest.raises(CollectError, match="are not in the store"):
        ws.store.get(outcome.image)
    assert take(jpeg(1), "a.jpg") == Known(outcome.image)
    assert ws.store.get(outcome.image) == jpeg(1)


def test_bytes_behind_the_end_of_a_jpeg_do_no_harm() -> None:
    plain, longer = kept(jpeg(1)), kept(jpeg(1) + b"PK\x03\x04" * 1000)
    assert plain.fingerprints == longer.fingerprints


def test_a_cmyk_jpeg_looks_like_its_rgb_twin() -> None:
    cmyk = kept(saved(picture(3).convert("CMYK"), "JPEG", quality=95))
    assert cmyk.mode == "CMYK"
    assert distance(cmyk, kept(jpeg(3, quality=95))) <= 4


@pytest.mark.parametrize("dark", [1, 100, 256])
def test_a_16_bit_gray_png_keeps_its_brightness(dark: int) -> None:
    gray = np.asarray(picture(4).convert("L"), dtype=np.uint16) // dark
    deep = kept(saved(Image.fromarray((gray * 257).astype(np.uint16)), "PNG"))
    shallow = kept(saved(Image.fromarray(gray.astype(np.uint8)), "PNG"))
    assert deep.mode == "I;16"
    assert deep.fingerprints == shallow.fingerprints


def test_a_16_bit_color_png_is_its_8_bit_twin() -> None:
    pixels = np.asarray(picture(5))
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in pixels.astype(np.uint16))
    assert kept(png_of(320, 240, 16, 2, rows)).fingerprints == kept(saved(picture(5), "PNG")).fingerprints


def test_transparent_pixels_are_white_in_every_mode() -> None:
    holes = picture(6).convert("RGBA")
    holes.paste((0, 0, 0, 0), (0, 0, 160, 240))
    flat = Image.alpha_composite(Image.new("RGBA", holes.size, "white"), holes).convert("RGB")
    assert kept(saved(holes, "PNG")).fingerprints == kept(saved(flat, "PNG")).fingerprints
    palette = flat.quantize(64)
    index = palette.getpixel((0, 0))
    opaque = palette.convert("RGB")
    assert (
        kept(saved(palette, "PNG", transparency=index)).fingerprints[0]
        == prints_of(
            Image.fromarray(np.where(np.asarray(palette)[..., None] == index, 255, np.asarray(opaque)).astype(np.uint8))
        )[0]
    )


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "AVIF"])
def test_an_animation_is_its_first_frame(format_: str) -> None:
    frames = [picture(seed) for seed in range(3)]
    moving = kept(saved(frames[0], format_, save_all=True, append_images=frames[1:], duration=50))
    assert moving.frames == 3
    assert distance(moving, kept(saved(frames[0], format_))) <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
def test_all_eight_orientations_give_the_same_upright_picture(format_: str, orientation: int) -> None:
    upright = picture(7, (320, 240))
    back = UPRIGHT.get({6: 8, 8: 6}.get(orientation, orientation))
    stored = upright if back is None else upright.transpose(back)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    turned = kept(saved(stored, format_, exif=exif, quality=100, subsampling=0, lossless=True))
    assert (turned.width, turned.height, turned.orientation) == (320, 240, orientation)
    if format_ == "JPEG":
        assert distance(turned, kept(jpeg(7, quality=100))) <= 2
    else:
        assert turned.fingerprints == prints_of(upright)


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@pytest.mark.parametrize(
    "entry",
    [
        (3, 1, b"\0\0"),
        (3, 1, b"\x09\0"),
        (3, 1, b"\xff\xff"),
        (2, 4, b"top\0"),
        (3, 2, b"\1\0\6\0"),
        (1, 1, b"\6"),
        (99, 1, b""),
    ],
)
def test_an_impossible_orientation_is_ignored(entry: tuple[int, int, bytes]) -> None:
    decoded = kept(with_orientation(*entry))
    assert (decoded.width, decoded.height, decoded.orientation) == (320, 240, 1)


def test_exif_that_nobody_can_read_says_nothing_against_the_pixels() -> None:
    data = jpeg(9)
    broken = data[:2] + b"\xff\xe1" + struct.pack(">H", 2 + 6 + 20) + b"Exif\0\0" + b"XX nonsense" + bytes(9) + data[2:]
    assert kept(broken).fingerprints == kept(data).fingerprints


def test_a_phones_picture_with_a_second_view_is_a_plain_jpeg() -> None:
    two_views = saved(picture(1), "MPO", save_all=True, append_images=[picture(2)])
    decoded = kept(two_views)
    assert (decoded.format, decoded.frames) == ("JPEG", 1)


@pytest.mark.parametrize(
    ("size", "preview"),
    [
        ((431, 431), None),
        ((432, 432), (288, 288)),
        ((864, 1728), (288, 576)),
        ((5000, 431), None),
        ((3000, 500), (1728, 288)),
    ],
)
def test_a_preview_has_a_shorter_side_of_288_and_exists_where_it_saves_something(
    size: tuple[int, int], preview: tuple[int, int] | None
) -> None:
    made = kept(jpeg(1, size)).preview
    if preview is None:
        assert made is None
    else:
        assert made is not None
        with Image.open(io.BytesIO(made)) as small:
            assert (small.format, small.size) == ("JPEG", preview)


def test_a_preview_reads_back_from_its_pack(ws: Workspace, take: Callable[[bytes, str], Outcome]) -> None:
    taken = [take(jpeg(seed, (500, 450)), f"{seed}.jpg") for seed in range(3)]
    packs = images.previews(ws.catalog)
    for seed, outcome in enumerate(taken):
        assert isinstance(outcome, Kept)
        where = packs[outcome.image]
        assert where is not None
        assert ws.store.get_preview(where) == kept(jpeg(seed, (500, 450))).preview


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
def test_flipped_bytes_give_one_outcome_and_never_an_exception(format_: str) -> None:
    config = IntakeConfig(min_side=16)
    original = saved(picture(1, (48, 40)), format_)
    draw = random.Random(format_)
    seen = {"kept": 0, "refused": 0}
    for _ in range(2000):
        data = bytearray(original)
        for _ in range(draw.choice([1, 1, 2, 8])):
            data[draw.randrange(len(data))] = draw.randrange(256)
        if draw.random() < 0.1:
            del data[draw.randrange(len(data)) :]
        outcome = decode(bytes(data), config)
        seen["refused" if isinstance(outcome, Rejected) else "kept"] += 1
    assert min(seen.values()) > 0, seen


def test_damaged_files_leave_exactly_one_row_each(ws: Workspace, concept: str) -> None:
    draw = random.Random(1)
    originals = [saved(picture(2, (120, 100)), format_) for format_ in ("JPEG", "PNG", "WEBP", "GIF", "AVIF")]
    with taking_in(ws):
        for number in range(100):
            data = bytearray(originals[number % len(originals)])
            for _ in range(4):
                data[draw.randrange(len(data))] = draw.randrange(256)
            take_in(ws, bytes(data), Sighting("folder", str(number), "", License("own"), concept=concept))
    rows = [*ws.catalog.frame("sighting")["source_id"], *ws.catalog.frame("rejection")["source_id"]]
    assert sorted(rows) == sorted(str(number) for number in range(100))


def prints_of(small: Image.Image) -> list[Fingerprint]:
    return fingerprints([thumb(small.convert("L"))])[0]


def distance(one: Decoded, other: Decoded) -> int:
    """Bits between two perceptual hashes."""
    values = [next(int(p.value, 16) for p in each.fingerprints if p.algorithm == PHASH) for each in (one, other)]
    return (values[0] ^ values[1]).bit_count()
