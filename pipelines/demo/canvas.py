"""A small drawing surface: smooth shapes in picture coordinates, painted light and grain, then JPEG.

Everything that looks random comes from the `random.Random` that the caller passes, so a seed is a picture.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw

Color = tuple[int, int, int]
Point = tuple[float, float]

OVERSAMPLE = 2  # PIL does not antialias polygons: draw twice as large, then halve


def shade(color: Color, factor: float) -> Color:
    """`color` made darker (factor < 1) or lighter (factor > 1), clipped to 0..255."""
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in color)
    return red, green, blue


def mix(first: Color, second: Color, share: float) -> Color:
    """The color `share` of the way from `first` to `second`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def jitter(rng: random.Random, color: Color, amount: int = 18) -> Color:
    """`color` moved by at most `amount` in each channel, clipped to 0..255."""
    red, green, blue = (min(255, max(0, channel + rng.randint(-amount, amount))) for channel in color)
    return red, green, blue


def turn(point: Point, degrees: float) -> Point:
    """`point` rotated about the origin; y points up, positive is counterclockwise."""
    angle = math.radians(degrees)
    x, y = point
    return x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)


def smooth(points: Sequence[Point], steps: int = 6) -> list[Point]:
    """A closed Catmull-Rom curve through `points`, `steps` vertices for each of them."""
    curve = []
    count = len(points)
    for i in range(count):
        p0, p1, p2, p3 = (points[(i + k) % count] for k in (-1, 0, 1, 2))
        for step in range(steps):
            t = step / steps
            curve.append((_catmull_rom(p0[0], p1[0], p2[0], p3[0], t),
                          _catmull_rom(p0[1], p1[1], p2[1], p3[1], t)))  # fmt: skip
    return curve


def _catmull_rom(a: float, b: float, c: float, d: float, t: float) -> float:
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)


@dataclass(frozen=True)
class Frame:
    """Where a thing stands: `x`, `y` is its origin in pixels, `scale` pixels to its unit, `flip` -1 looks left.

    `squeeze` < 1 narrows it, as when it is seen half from the front. The thing's own y points up.
    """

    x: float
    y: float
    scale: float
    flip: int = 1
    squeeze: float = 1.0

    def at(self, points: Sequence[Point]) -> list[Point]:
        """Points of the thing as points of the picture, in pixels."""
        wide = self.flip * self.scale * self.squeeze
        return [(self.x + wide * px, self.y - self.scale * py) for px, py in points]


class Canvas:
    """A picture of `width` x `height` pixels under construction; all coordinates are in its pixels."""

    def __init__(self, width: int, height: int, rng: random.Random) -> None:
        self.width, self.height, self.rng = width, height, rng
        self.image = Image.new("RGB", (width * OVERSAMPLE, height * OVERSAMPLE))
        self._draw = ImageDraw.Draw(self.image)

    def polygon(self, points: Sequence[Point], fill: Color) -> None:
        """Fill a polygon with straight edges."""
        self._draw.polygon([(x * OVERSAMPLE, y * OVERSAMPLE) for x, y in points], fill=fill)

    def blob(self, points: Sequence[Point], fill: Color) -> None:
        """Fill the smooth closed shape through `points`."""
        self.polygon(smooth(points), fill)

    def line(self, points: Sequence[Point], width: float, fill: Color) -> None:
        """A polyline `width` pixels wide."""
        scaled = [(x * OVERSAMPLE, y * OVERSAMPLE) for x, y in points]
        self._draw.line(scaled, fill=fill, width=max(1, round(width * OVERSAMPLE)), joint="curve")

    def limb(self, points: Sequence[Point], widths: Sequence[float], fill: Color) -> None:
        """A tapering stroke: `widths[i]` pixels across at `points[i]`, round at every joint."""
        for (x0, y0), (x1, y1), w0, w1 in zip(points, points[1:], widths, widths[1:], strict=False):
            length = math.hypot(x1 - x0, y1 - y0) or 1.0
            nx, ny = (y1 - y0) / length / 2, (x0 - x1) / length / 2
            self.polygon([(x0 + nx * w0, y0 + ny * w0), (x1 + nx * w1, y1 + ny * w1),
                          (x1 - nx * w1, y1 - ny * w1), (x0 - nx * w0, y0 - ny * w0)], fill)  # fmt: skip
        for (x, y), width in zip(points, widths, strict=True):
            self.ellipse(x, y, width / 2, width / 2, fill)

    def ellipse(self, x: float, y: float, radius_x: float, radius_y: float, fill: Color) -> None:
        """Fill an upright ellipse around (x, y)."""
        box = (x - radius_x, y - radius_y, x + radius_x, y + radius_y)
        self._draw.ellipse([side * OVERSAMPLE for side in box], fill=fill)

    def gradient(self, top: float, bottom: float, first: Color, last: Color) -> None:
        """Fill the full width between the rows `top` and `bottom`, from color `first` to `last`."""
        first_row, last_row = round(top * OVERSAMPLE), round(bottom * OVERSAMPLE)
        band = 6
        for row in range(first_row, last_row, band):
            color = mix(first, last, (row - first_row) / max(1, last_row - first_row))
            self._draw.rectangle((0, row, self.image.width, min(row + band, last_row)), fill=color)

    def strokes(self, count: int, box: tuple[float, float, float, float], length: Point, fill: Color) -> None:
        """`count` short brush strokes inside `box` (left, top, right, bottom), each about `length` (dx, dy)."""
        for _ in range(count):
            x, y = self.rng.uniform(box[0], box[2]), self.rng.uniform(box[1], box[3])
            size = self.rng.uniform(0.4, 1.2)
            end = (x + length[0] * size * self.rng.uniform(-0.6, 1), y + length[1] * size)
            self.line([(x, y), end], self.rng.uniform(0.8, 2.5), jitter(self.rng, fill, 22))

    def haze(self, share: float) -> None:
        """Fade what is painted so far: `share` of it becomes its own pale mean, so that what follows stands out."""
        mean = self.image.resize((16, 16), Image.Resampling.NEAREST).resize((1, 1), Image.Resampling.BOX)
        pale = [channel * 0.85 + 34 for channel in mean.tobytes()]
        table = [round(value + (channel - value) * share) for channel in pale for value in range(256)]
        self.image.paste(self.image.point(table))

    def finished(self) -> bytes:
        """The picture in uneven light and with paper grain, as JPEG bytes."""
        image = self.image.reduce(OVERSAMPLE)
        light = Image.frombytes("L", (4, 3), bytes(self.rng.randint(185, 255) for _ in range(12)))
        light = light.resize(image.size, Image.Resampling.BICUBIC)
        image = ImageChops.multiply(image, Image.merge("RGB", (light, light, light)))
        grain = Image.frombytes("L", image.size, self.rng.randbytes(image.width * image.height))
        grain = grain.point([116 + value * 24 // 255 for value in range(256)])
        image = ImageChops.add(image, Image.merge("RGB", (grain, grain, grain)), 1.0, -128)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=85)
        return file.getvalue()
