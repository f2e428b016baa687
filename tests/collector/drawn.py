"""Pictures with something to see at every scale, drawn from a seed; for tests of points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Gray = NDArray[np.uint8]


def scene(seed: int, size: tuple[int, int] = (480, 360)) -> Image.Image:
    """Soft blobs with a hundred polygons and disks over them, in gray."""
    draw = np.random.default_rng(seed)
    ground = Image.fromarray(draw.integers(60, 200, (9, 12), dtype=np.uint8))
    picture = ground.resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for _ in range(100):
        x, y = draw.uniform(0, size[0]), draw.uniform(0, size[1])
        reach = draw.uniform(0.01, 0.08) * max(size)
        color = int(draw.integers(0, 256))
        corners = [(x + reach * a, y + reach * b) for a, b in draw.uniform(-1, 1, (int(draw.integers(3, 6)), 2))]
        if draw.random() < 0.8:
            pen.polygon(corners, fill=color)
        else:
            pen.ellipse((x - reach / 2, y - reach / 2, x + reach / 2, y + reach / 2), fill=color)
    return picture


def gray(picture: Image.Image) -> Gray:
    """Its pixels (height, width)."""
    return np.asarray(picture.convert("L"))


def cropped(picture: Image.Image, share: float) -> Image.Image:
    """The middle of a picture."""
    x, y = round(picture.width * (1 - share) / 2), round(picture.height * (1 - share) / 2)
    return picture.crop((x, y, picture.width - x, picture.height - y))


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """A collage of two pictures of one size."""
    both = Image.new("L", (left.width * 2, left.height))
    both.paste(left, (0, 0))
    both.paste(right, (left.width, 0))
    return both


def captioned(picture: Image.Image, share: float = 0.2) -> Image.Image:
    """The same words on white below every picture."""
    changed = picture.copy()
    height = round(picture.height * share)
    pen = ImageDraw.Draw(changed)
    pen.rectangle((0, picture.height - height, picture.width, picture.height), fill=255)
    middle = (picture.width / 2, picture.height - height / 2)
    pen.text(middle, "when it is Monday again", fill=0, font=ImageFont.load_default(height * 0.5), anchor="mm")
    return changed


def with_logo(picture: Image.Image) -> Image.Image:
    """The same drawing in a corner of every picture."""
    changed = picture.copy()
    changed.paste(scene(999, (96, 72)), (picture.width - 100, picture.height - 76))
    return changed


def tiled(picture: Image.Image) -> Image.Image:
    """The same small texture all over, half transparent."""
    tile = gray(scene(998, (60, 45)))
    layer = np.tile(tile, (picture.height // 45 + 1, picture.width // 60 + 1))[: picture.height, : picture.width]
    return Image.blend(picture, Image.fromarray(layer), 0.5)
