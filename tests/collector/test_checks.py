"""The checks of quality: each falls with its fault, on any picture, and says nothing of pictures that are fine."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from collector.catalog.quality import Subject
from collector.checks import CHECKS, Look
from collector.config import IntakeConfig
from collector.decoding import Decoded, decode
from collector.quality import Thresholds
from tests.collector.screens import STYLES, screen
from tests.conftest import SHARED, picture

LIMITS = Thresholds().model_dump()
PHOTOS = sorted((SHARED / "data" / "imagen").glob("*.jpg")) if SHARED.is_dir() else []
SIZES = st.tuples(st.integers(40, 400), st.integers(40, 400))


def score(name: str, of: Image.Image) -> float:
    return CHECKS[name].measure(Look(Subject("", *of.size, None), of, lambda: b"")).score


def flags(of: Image.Image) -> set[str]:
    asked = [name for name in CHECKS if name not in ("gps", "owner", "faces")]
    return {name for name in asked if score(name, of) < LIMITS[name]}


def detailed(seed: int, size: tuple[int, int] = (400, 300)) -> Image.Image:
    """Something like a photograph: as much contrast in each octave, and some edges."""
    rng = np.random.default_rng(seed)
    width, height = size
    gray = np.zeros((height, width, 3))
    for octave in range(1, 8):
        grid = rng.normal(
            0, 26 / (1 + 0.2 * octave), (max(2, height >> (8 - octave)), max(2, width >> (8 - octave)), 3)
        )
        layer = Image.fromarray(np.clip(grid + 128, 0, 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
        gray += np.asarray(layer, dtype=np.float64) - 128
    made = Image.fromarray(np.clip(gray + 128, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(made)
    for _ in range(12):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        color = tuple(int(value) for value in rng.integers(0, 256, 3))
        draw.ellipse((x, y, x + width // 8, y + height // 8), fill=color)
    return made


def writing(size: tuple[int, int] = (320, 400)) -> Image.Image:
    made = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(made), ImageFont.load_default(size=12)
    for line in range(10, size[1] - 16, 16):
        draw.text(
            (8, line), "The quick brown fox jumps over the lazy dog, and again it does so", font=font, fill="black"
        )
    return made


def window(size: tuple[int, int] = (512, 320)) -> Image.Image:
    made = Image.new("RGB", size, "#f4f4f4")
    draw = ImageDraw.Draw(made)
    draw.rectangle((30, 20, 480, 48), fill="#2b5c8a")
    for row in range(7):
        draw.rectangle((60, 70 + 32 * row, 440, 90 + 32 * row), fill="white", outline="#777777")
    return made


def watermarked(of: Image.Image, staggered: int = 50) -> Image.Image:
    made = of.convert("RGBA")
    mark = Image.new("RGBA", of.size, (255, 255, 255, 0))
    draw, font = ImageDraw.Draw(mark), ImageFont.load_default(size=17)
    for row, y in enumerate(range(0, of.height, 48)):
        for x in range(-(row % 2) * staggered, of.width, 100):
            draw.text((x, y), "SAMPLE", font=font, fill=(255, 255, 255, 200))
    return Image.alpha_composite(made, mark).convert("RGB")


def brightened(of: Image.Image, factor: float, offset: float = 0.0) -> Image.Image:
    return Image.fromarray(np.clip(np.asarray(of, np.float64) * factor + offset, 0, 255).astype(np.uint8))


@given(st.integers(0, 2**32 - 1), SIZES, st.floats(0.0, 1.0))
def test_making_a_picture_darker_never_raises_its_score_for_dark(seed: int, size: tuple[int, int], by: float) -> None:
    before = picture(seed, size)
    assert score("dark", brightened(before, by)) <= score("dark", before)


@given(st.integers(0, 2**32 - 1), SIZES, st.floats(0.0, 255.0))
def test_adding_light_never_raises_its_score_for_light(seed: int, size: tuple[int, int], by: float) -> None:
    before = picture(seed, size)
    assert score("light", brightened(before, 1.0, by)) <= score("light", before)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), SIZES, st.floats(0.5, 3.0), st.floats(0.5, 3.0))
def test_blurring_never_raises_the_score_for_blurry(seed: int, size: tuple[int, int], one: float, two: float) -> None:
    few, many = sorted((one, two))
    before = detailed(seed, size)
    blurred = [before.filter(ImageFilter.GaussianBlur(radius)) for radius in (few, many)]
    scores = [score("blurry", each) for each in (before, *blurred)]
    assert scores[0] + 0.01 >= scores[1]
    assert scores[1] + 0.02 >= scores[2]  # pixels are whole numbers


@given(st.integers(0, 2**32 - 1), SIZES, st.integers(2, 8))
def test_fewer_gray_levels_never_hold_more_information(seed: int, size: tuple[int, int], bits: int) -> None:
    before = picture(seed, size).convert("L")
    coarse = before.point(lambda level: level >> bits << bits)
    assert score("low_information", coarse.convert("RGB")) <= score("low_information", before.convert("RGB")) + 1e-9


@given(st.integers(0, 2**32 - 1), SIZES, st.floats(0.0, 1.0))
def test_paler_colors_never_raise_the_score_for_grayscale(seed: int, size: tuple[int, int], by: float) -> None:
    before = np.asarray(picture(seed, size), np.float64)
    mean = before.mean(axis=2, keepdims=True)
    paler = Image.fromarray((mean + by * (before - mean)).astype(np.uint8))
    assert score("grayscale", paler) <= score("grayscale", picture(seed, size)) + 2 / 64


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_every_score_of_every_shape_lies_between_0_and_1(width: int, height: int) -> None:
    made = Image.new("RGB", (min(width, 300), min(height, 300)), "#406080")
    for name in CHECKS:
        if name not in ("gps", "owner"):
            assert 0.0 <= score(name, made) <= 1.0, name


@pytest.mark.parametrize("seed", range(4))
def test_a_picture_with_detail_and_color_carries_no_flag(seed: int) -> None:
    assert flags(detailed(seed, (640, 480))) == set()


@pytest.mark.parametrize(
    ("flag", "make"),
    [
        ("dark", lambda: brightened(detailed(1), 0.15)),
        ("light", lambda: brightened(detailed(1), 0.05, 243)),
        ("blurry", lambda: detailed(1).filter(ImageFilter.GaussianBlur(4))),
        ("upscaled", lambda: detailed(1).resize((1000, 750), Image.Resampling.BICUBIC)),
        ("upscaled", lambda: detailed(1).resize((1200, 900), Image.Resampling.NEAREST)),
        ("low_information", lambda: Image.new("RGB", (320, 240), "#406080")),
        ("odd_aspect", lambda: detailed(1, (900, 200))),
        ("tiny", lambda: detailed(1, (120, 90))),
        ("grayscale", lambda: detailed(1).convert("L").convert("RGB")),
        ("screenshot", window),
        ("text", writing),
        ("tiled", lambda: watermarked(brightened(picture(3, (400, 300)), 0.7))),
        ("placeholder", lambda: Image.new("RGB", (320, 240), "#dddddd")),
    ],
)
def test_each_fault_has_its_flag(flag: str, make: Callable[[], Image.Image]) -> None:
    assert flag in flags(make())


@pytest.mark.parametrize("size", [(1280, 800), (720, 1280)])
@pytest.mark.parametrize("style", STYLES)
def test_screenshots_of_every_style_are_flagged_as_png_and_as_jpeg(style: str, size: tuple[int, int]) -> None:
    for kind in ("PNG", "JPEG"):
        buffer = io.BytesIO()
        screen(style, 1, size).save(buffer, kind, quality=80)
        decoded = decode(buffer.getvalue(), IntakeConfig())
        assert isinstance(decoded, Decoded)
        assert "screenshot" in flags(decoded.small)


def test_a_thing_before_white_paper_is_no_screenshot() -> None:
    made = Image.new("RGB", (400, 300), "white")
    made.paste(detailed(3, (200, 120)).resize((160, 120)), (120, 90), Image.new("L", (160, 120), 0))
    ImageDraw.Draw(made).ellipse((120, 80, 280, 220), fill="#8a4b2c")
    assert "screenshot" not in flags(made)


@pytest.mark.parametrize("staggered", [0, 50])
def test_a_watermark_repeats_along_rows_or_columns_and_a_photograph_does_not(staggered: int) -> None:
    for seed in range(3):
        assert "tiled" in flags(watermarked(detailed(seed, (400, 300)), staggered))
        assert "tiled" not in flags(detailed(seed, (400, 300)))


def test_a_pale_sky_is_flat_and_not_blurry() -> None:
    rows = np.linspace(200, 240, 240, dtype=np.float64)[:, None, None]
    sky = Image.fromarray(np.broadcast_to(rows, (240, 320, 3)).round().astype(np.uint8))
    assert "blurry" not in flags(sky)
    assert "blurry" not in flags(Image.new("RGB", (320, 240), "#88aadd"))


def test_a_sharp_thing_before_a_soft_background_is_not_blurry() -> None:
    made = detailed(5).filter(ImageFilter.GaussianBlur(12))
    made.paste(detailed(6, (130, 130)), (130, 80))
    assert "blurry" not in flags(made)


def test_the_megapixels_of_a_camera_do_not_change_the_score_for_blurry() -> None:
    small, large = detailed(7), detailed(7).resize((2000, 1500), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    large.save(buffer, "JPEG", quality=95)
    decoded = decode(buffer.getvalue(), IntakeConfig())
    assert isinstance(decoded, Decoded)
    assert abs(score("blurry", decoded.small) - score("blurry", small)) < 0.1


def test_names_carry_a_version() -> None:
    assert all(CHECKS[name].key.split("/")[0] == name and CHECKS[name].key.split("/")[1].isdigit() for name in CHECKS)


@pytest.mark.realdata
@pytest.mark.skipif(not PHOTOS, reason="no real pictures in ../shared/data/imagen")
def test_few_real_photographs_are_flagged() -> None:
    share = {"tiled": 0.05, "screenshot": 0.02, "grayscale": 0.08, "tiny": 0.05, "upscaled": 0.05}
    found = dict.fromkeys(CHECKS, 0)
    some = PHOTOS[::10]
    for path in some:
        decoded = decode(path.read_bytes(), IntakeConfig(min_side=1))
        assert isinstance(decoded, Decoded)
        for name in flags(decoded.small):
            found[name] += 1
    assert not {name: n for name, n in found.items() if n > share.get(name, 0.02) * len(some)}
