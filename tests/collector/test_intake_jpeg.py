"""Large JPEGs are decoded at a fraction of their size; damage, colors, orientation and copies are found as before."""

from __future__ import annotations

import io
import random
from collections import Counter
from functools import cache

import numpy as np
import pytest
from PIL import Image

from collector.config import IntakeConfig
from collector.decoding import ORIENTATION, PREVIEW_SIDE, UPRIGHT, Decoded, decode
from collector.fingerprints import PHASH
from tests.conftest import picture

CONFIG = IntakeConfig()
SIZE = (640, 600)


@cache
def noisy(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A picture with a grain, as photographs have: its file has no long stretches that mean nothing."""
    grain = np.random.default_rng(seed).normal(0, 6, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(picture(seed, size)) + grain).clip(0, 255).astype(np.uint8))


def saved(image: Image.Image, format_: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


KINDS = {
    "4:2:0": saved(noisy(1), quality=60),
    "4:2:2": saved(noisy(1), quality=60, subsampling=1),
    "4:4:4": saved(noisy(1), quality=60, subsampling=0),
    "progressive": saved(noisy(1), quality=60, progressive=True),
    "progressive 4:4:4": saved(noisy(1), quality=60, progressive=True, subsampling=0),
    "gray": saved(noisy(1).convert("L"), quality=60),
    "progressive gray": saved(noisy(1).convert("L"), quality=60, progressive=True),
    "CMYK": saved(noisy(1).convert("CMYK"), quality=60),
    "restart markers": saved(noisy(1), quality=60, restart_marker_blocks=10),
    "own Huffman tables": saved(noisy(1), quality=60, optimize=True),
    "an eighth of its size": saved(noisy(1, (2304, 2304)), quality=20),
    "progressive, an eighth": saved(noisy(1, (2304, 2304)), quality=20, progressive=True),
}


def kept(data: bytes) -> Decoded:
    decoded = decode(data, CONFIG)
    assert isinstance(decoded, Decoded), decoded
    return decoded


def distance(one: Decoded, other: Decoded) -> int:
    """Bits between two perceptual hashes."""
    values = [next(int(p.value, 16) for p in each.fingerprints if p.algorithm == PHASH) for each in (one, other)]
    return (values[0] ^ values[1]).bit_count()


HARMS = ("cut", "bit", "bytes", "hole", "zeros", "repeat", "marker")


def damaged(data: bytes, harm: str, draw: random.Random) -> bytes:
    """The file after one of the harms that happen to files."""
    harmed, place = bytearray(data), draw.randrange(len(data) - 2)
    match harm:
        case "cut":
            del harmed[place:]
        case "bit":
            harmed[place] ^= 1 << draw.randrange(8)
        case "bytes":
            for _ in range(draw.choice([2, 8, 32])):
                harmed[draw.randrange(len(harmed))] = draw.randrange(256)
        case "hole":
            del harmed[place : place + draw.choice([1, 10, 1000])]
        case "zeros":
            harmed[place : place + 500] = bytes(len(harmed[place : place + 500]))
        case "repeat":
            harmed[place:place] = harmed[place : place + 100]
        case "marker":
            harmed[place : place + 2] = b"\xff" + draw.choice([b"\xd9", b"\xd8", b"\xda", b"\xd0", b"\xc4", b"\xdd"])
    return bytes(harmed)


def full_decode_succeeds(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as file:
            file.load()
    except Exception:
        return False
    return True


@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_refused_just_when_a_full_decode_refuses_it(kind: str) -> None:
    draw = random.Random(kind)
    verdicts: Counter[tuple[bool, bool]] = Counter()
    for harm in HARMS * (3 if "eighth" in kind else 6):
        data = damaged(KINDS[kind], harm, draw)
        with_reduction = decode(data, IntakeConfig(min_side=1))
        # A flipped bit in the header may claim a giant: that is refused for its size, before any decoder runs.
        if not (isinstance(with_reduction, Decoded) or with_reduction.reason == "broken"):
            continue
        verdicts[full_decode_succeeds(data), isinstance(with_reduction, Decoded)] += 1
    assert verdicts[True, True] > 2, "the damage is so large that nothing is accepted"
    assert verdicts[False, False] > 2, "the damage is so small that nothing is refused"
    assert verdicts[True, False] == verdicts[False, True] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_preview_shows_the_picture_in_its_colors(kind: str) -> None:
    decoded = kept(KINDS[kind])
    assert decoded.preview is not None
    with Image.open(io.BytesIO(KINDS[kind])) as file:
        assert (decoded.width, decoded.height) == file.size
        assert decoded.mode == file.mode
        whole = file.convert("RGB")
    with Image.open(io.BytesIO(decoded.preview)) as small:
        exact = whole.resize(small.size, Image.Resampling.LANCZOS)
        apart = np.abs(np.asarray(small, dtype=np.int16) - np.asarray(exact, dtype=np.int16)).mean()
    assert apart < 4


@pytest.mark.parametrize(
    ("size", "preview"),
    [
        ((800, 600), (400, 300)),
        ((1600, 1200), (400, 300)),
        ((1024, 683), (512, 342)),
        ((1000, 1000), (288, 288)),
        ((2304, 2304), (288, 288)),
        ((575, 575), (288, 288)),
    ],
)
def test_a_preview_is_as_the_decoder_scales_it_where_that_is_near_288(
    size: tuple[int, int], preview: tuple[int, int]
) -> None:
    decoded = kept(saved(picture(2, size)))
    assert decoded.small.size == preview
    assert decoded.preview is not None
    with Image.open(io.BytesIO(decoded.preview)) as small:
        assert small.size == preview


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_jpeg_of_any_orientation_is_upright(orientation: int) -> None:
    upright = picture(7, (800, 600))
    back = UPRIGHT.get({6: 8, 8: 6}.get(orientation, orientation))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    turned = kept(saved(upright if back is None else upright.transpose(back), quality=95, exif=exif))
    assert (turned.width, turned.height, turned.orientation) == (800, 600, orientation)
    assert turned.small.width > turned.small.height
    assert distance(turned, kept(saved(upright, quality=95))) <= 2


def test_a_large_phone_picture_with_a_second_view_is_its_first_view() -> None:
    first, second = picture(1, (1200, 900)), picture(2, (1200, 900))
    both = kept(saved(first, "MPO", save_all=True, append_images=[second]))
    assert (both.format, both.frames, both.width, both.height) == ("JPEG", 1, 1200, 900)
    assert distance(both, kept(saved(first))) <= 2
    assert distance(both, kept(saved(second))) > 10


@pytest.mark.parametrize("factor", [0.3, 0.5, 0.9, 1.6])
def test_copies_of_other_sizes_and_formats_stay_near(factor: float) -> None:
    for seed in range(4):
        original = noisy(seed, (900, 640))
        smaller = original.resize((round(900 * factor), round(640 * factor)), Image.Resampling.BICUBIC)
        for copy in (saved(smaller, quality=50), saved(smaller, "WEBP", quality=70), saved(smaller, "PNG")):
            assert distance(kept(saved(original)), kept(copy)) <= 4


def test_the_same_coded_pixels_in_another_wrapping_are_an_exact_copy() -> None:
    plain = KINDS["4:2:0"]
    exif = Image.Exif()
    exif[0x010E] = "a description"
    told = plain[:2] + b"\xff\xfe\x00\x0acomments" + plain[2:] + b"behind the end"
    assert kept(told).fingerprints == kept(plain).fingerprints
    assert min(kept(plain).small.size) >= PREVIEW_SIDE
