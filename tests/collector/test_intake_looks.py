"""What the small copy of a picture tells a check: its color, whether it is drawn, when it was taken."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from collector.config import IntakeConfig
from collector.decoding import Decoded, decode
from collector.looks import COLORS
from collector.spiders import facets
from tests.conftest import SHARED, picture


def decoded(image: Image.Image, format_: str = "JPEG", **options: object) -> Decoded:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    found = decode(buffer.getvalue(), IntakeConfig())
    assert isinstance(found, Decoded)
    return found


@pytest.mark.parametrize(
    ("painted", "told"),
    [(name, name) for name in COLORS]
    + [("navy", "blue"), ("tan", "brown"), ("gold", "yellow"), ("hotpink", "pink"), ("beige", "white")]
    + [("#202020", "black"), ("lightgreen", "green"), ("crimson", "red"), ("saddlebrown", "brown")],
)
def test_a_picture_of_one_color_is_called_by_its_name(painted: str, told: str) -> None:
    assert decoded(Image.new("RGB", (700, 600), painted)).color == told


def test_the_color_is_the_one_that_covers_most() -> None:
    meadow = Image.new("RGB", (600, 600), "green")
    meadow.paste("blue", (0, 0, 600, 200))
    assert decoded(meadow).color == "green"


def test_the_facets_know_the_same_colors() -> None:
    assert set(facets.COLORS) == set(COLORS)


def test_a_drawing_has_more_equal_neighbors_than_a_photograph_however_it_is_stored() -> None:
    drawing = Image.new("RGB", (900, 700), "white")
    pen = ImageDraw.Draw(drawing)
    for n in range(12):
        pen.ellipse((n * 60, n * 40, n * 60 + 200, n * 40 + 160), fill=("red", "teal", "gold")[n % 3], outline="black")
    for format_ in ("PNG", "JPEG", "WEBP"):
        assert decoded(drawing, format_).flat > 0.6
    assert decoded(Image.effect_noise((900, 700), 40).convert("RGB")).flat < 0.2
    assert decoded(picture(1, (900, 700))).flat < 0.5


@pytest.mark.realdata
def test_hardly_a_photograph_of_a_horse_looks_drawn() -> None:
    paths = sorted((SHARED / "data" / "horses").glob("*.jpg"))[::10]
    if not paths:
        pytest.skip("../shared/data/horses is not on this machine")
    looks = [decode(Path(path).read_bytes(), IntakeConfig()) for path in paths]
    assert sum(each.flat >= facets.FLAT for each in looks if isinstance(each, Decoded)) <= 1


@pytest.mark.parametrize(
    ("tag", "said", "told"),
    [
        ("original", "2019:05:01 12:30:59", "2019-05-01T12:30:59"),
        ("original", "0000:00:00 00:00:00", ""),
        ("original", "2019:13:01 12:30:59", ""),
        ("original", "yesterday", ""),
        ("file", "2020:01:31 00:00:00", "2020-01-31T00:00:00"),
        ("none", "", ""),
    ],
)
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_the_time_is_that_of_the_exif(tag: str, said: str, told: str, format_: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    if tag == "original":
        exif.get_ifd(0x8769)[0x9003] = said
    elif tag == "file":
        exif[0x0132] = said
    assert decoded(picture(1, (800, 600)), format_, exif=exif).taken == told
