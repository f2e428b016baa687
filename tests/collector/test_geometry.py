"""Points verified: crops, turns, borders, collages and mirror images are found; shared logos and textures are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageOps

from collector.dedup.geometry import NOTHING, Match, Points, extract, verify
from tests.collector.drawn import beside, captioned, cropped, gray, scene, tiled, with_logo
from tests.conftest import SHARED

Change = Callable[[Image.Image], Image.Image]
COPIES: dict[str, Change] = {
    "itself": lambda p: p,
    "a crop of half the width": lambda p: cropped(p, 0.5),
    "rotated by 25 degrees": lambda p: p.rotate(25, Image.Resampling.BICUBIC, expand=True),
    "upside down": lambda p: p.rotate(180),
    "in a frame": lambda p: ImageOps.expand(p, 60, 255),
    "on a square": lambda p: ImageOps.pad(p, (480, 480)),
    "in a collage": lambda p: beside(p, scene(77)),
    "a quarter of the size": lambda p: p.resize((120, 90), Image.Resampling.BICUBIC),
    "three times the size": lambda p: p.resize((1440, 1080), Image.Resampling.BICUBIC),
    "with a caption": captioned,
    "darker": lambda p: p.point(lambda level: level * 0.5),
    "a crop of a panorama": lambda p: cropped(p, 0.9).crop((0, 100, 400, 200)),
}


def points(picture: Image.Image) -> Points:
    return extract(gray(picture))


def compared(a: Image.Image, b: Image.Image) -> Match:
    return verify(points(a), points(b), b_mirrored=points(ImageOps.mirror(b)))


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_the_same_either_way_round(how: str) -> None:
    source = scene(1)
    copy = COPIES[how](source)
    assert compared(source, copy).same
    assert compared(copy, source).same


@pytest.mark.parametrize("how", [how for how in COPIES if how != "a crop of a panorama"])
def test_a_mirrored_copy_is_found_and_said_to_be_mirrored(how: str) -> None:
    source = scene(2)
    match = compared(source, ImageOps.mirror(COPIES[how](source)))
    assert match.same
    assert match.mirrored
    assert not verify(points(source), points(ImageOps.mirror(COPIES[how](source)))).same


def test_scale_and_rotation_are_told() -> None:
    source = scene(3)
    match = compared(source, source.rotate(30, Image.Resampling.BICUBIC))
    assert match.rotation == pytest.approx(30, abs=1)
    assert match.scale == pytest.approx(1, abs=0.02)
    assert compared(source, cropped(source, 0.5)).scale == pytest.approx(2, abs=0.05)  # both are made equally large


@pytest.mark.parametrize(
    "change", [lambda p: p, captioned, with_logo, tiled], ids=["plain", "caption", "logo", "texture"]
)
def test_different_pictures_are_not_the_same_whatever_they_share(change: Change) -> None:
    found = [points(change(scene(seed))) for seed in range(20, 28)]
    assert not [(i, j) for i in range(8) for j in range(i) if verify(found[i], found[j]).same]


def test_one_texture_shifted_is_not_one_picture() -> None:
    tile = gray(scene(5, (40, 30)))
    wall = Image.fromarray(np.tile(tile, (14, 14)))
    assert not compared(wall.crop((0, 0, 320, 240)), wall.crop((73, 51, 393, 291))).same


def test_blank_pictures_have_no_points_and_match_nothing() -> None:
    for blank in (np.zeros((300, 400), np.uint8), np.full((1, 1), 255, np.uint8), np.full((200, 3000), 7, np.uint8)):
        none = extract(blank)
        assert none.places.shape == (0, 2)
        assert none.descriptors.shape == (0, 32)
        assert verify(none, none) == verify(none, points(scene(1))) == NOTHING


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 5000), (30000, 40), (40, 12000)])
def test_tiny_and_endless_pictures_are_read(size: tuple[int, int]) -> None:
    found = extract(np.random.default_rng(0).integers(0, 256, size[::-1], dtype=np.uint8))
    assert len(found.places) == len(found.descriptors) <= 500
    assert (found.places <= found.size).all()


def test_a_part_of_a_panorama_is_found() -> None:
    panorama = scene(8, (4000, 400))
    assert compared(panorama, panorama.crop((1500, 0, 2100, 400))).same


def test_the_same_pictures_give_the_same_answer() -> None:
    a, b = scene(9), cropped(scene(9), 0.7)
    assert compared(a, b) == compared(a, b)


@pytest.mark.realdata
def test_no_two_photographs_of_the_shared_set_are_the_same() -> None:
    folder = SHARED / "data" / "imagen"
    if not folder.is_dir():
        pytest.skip("../shared/data/imagen is absent")
    found = [points(Image.open(path)) for path in sorted(folder.iterdir())[::50]]
    assert not [(i, j) for i in range(len(found)) for j in range(i) if verify(found[i], found[j]).same]
