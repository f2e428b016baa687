"""What is far from a horse: vehicles, buildings, plants, household things. The origin of each stands on the ground."""

from __future__ import annotations

import math
from collections.abc import Callable

from pipelines.demo.canvas import Canvas, Color, Frame, Point, jitter, shade

Painter = Callable[[Canvas, Frame], None]
PAINTS: tuple[Color, ...] = (
    (196, 58, 48),
    (54, 96, 168),
    (228, 186, 70),
    (70, 130, 86),
    (230, 226, 216),
    (96, 70, 120),
)


def box(left: float, low: float, right: float, high: float) -> list[Point]:
    """The four corners of an upright rectangle."""
    return [(left, low), (right, low), (right, high), (left, high)]


def _paint(canvas: Canvas) -> Color:
    return jitter(canvas.rng, canvas.rng.choice(PAINTS), 20)


def _disc(canvas: Canvas, frame: Frame, x: float, y: float, radius: float, color: Color) -> None:
    px, py = frame.at([(x, y)])[0]
    canvas.ellipse(px, py, radius * frame.scale * frame.squeeze, radius * frame.scale, color)


def _ring(canvas: Canvas, frame: Frame, x: float, y: float, radius: float, color: Color) -> None:
    circle = [(x + radius * math.cos(a / 3.8), y + radius * math.sin(a / 3.8)) for a in range(25)]
    canvas.line(frame.at(circle), 0.035 * frame.scale, color)


def _car(canvas: Canvas, frame: Frame) -> None:
    color = _paint(canvas)
    canvas.blob(frame.at([(-0.3, 0.25), (-0.2, 0.46), (0.1, 0.47), (0.3, 0.26)]), shade(color, 0.85))
    canvas.polygon(frame.at([(-0.2, 0.28), (-0.14, 0.41), (0.06, 0.41), (0.2, 0.28)]), (176, 206, 220))
    canvas.blob(frame.at([(-0.5, 0.1), (-0.5, 0.26), (-0.2, 0.3), (0.3, 0.29), (0.52, 0.22), (0.52, 0.1)]), color)
    for x in (-0.3, 0.32):
        _disc(canvas, frame, x, 0.1, 0.1, (30, 30, 32))
        _disc(canvas, frame, x, 0.1, 0.05, (170, 170, 172))


def _bus(canvas: Canvas, frame: Frame) -> None:
    color = _paint(canvas)
    canvas.polygon(frame.at(box(-0.55, 0.08, 0.55, 0.58)), color)
    for i in range(6):
        canvas.polygon(frame.at(box(-0.5 + i * 0.17, 0.34, -0.37 + i * 0.17, 0.52)), (170, 200, 216))
    canvas.polygon(frame.at(box(-0.55, 0.2, 0.55, 0.25)), shade(color, 1.4))
    for x in (-0.34, 0.36):
        _disc(canvas, frame, x, 0.09, 0.09, (30, 30, 32))


def _bicycle(canvas: Canvas, frame: Frame) -> None:
    color, width = _paint(canvas), 0.03 * frame.scale
    for x in (-0.32, 0.32):
        _ring(canvas, frame, x, 0.25, 0.25, (40, 40, 44))
        for spoke in range(6):
            dx, dy = 0.24 * math.cos(spoke * 1.05), 0.24 * math.sin(spoke * 1.05)
            canvas.line(frame.at([(x, 0.25), (x + dx, 0.25 + dy)]), 1.2, (130, 130, 130))
    canvas.line(frame.at([(-0.32, 0.25), (-0.1, 0.58), (0.24, 0.58), (-0.02, 0.25), (-0.32, 0.25)]), width, color)
    canvas.line(frame.at([(-0.02, 0.25), (-0.12, 0.68), (-0.2, 0.69), (-0.04, 0.69)]), width, color)
    canvas.line(frame.at([(0.32, 0.25), (0.23, 0.7), (0.34, 0.74)]), width, (60, 60, 64))


def _boat(canvas: Canvas, frame: Frame) -> None:
    canvas.polygon(frame.at([(0.0, 0.2), (0.0, 0.98), (0.4, 0.28)]), jitter(canvas.rng, (240, 236, 224)))
    canvas.polygon(frame.at([(-0.03, 0.24), (-0.03, 0.9), (-0.32, 0.28)]), _paint(canvas))
    canvas.line(frame.at([(-0.015, 0.1), (-0.015, 1.02)]), 0.025 * frame.scale, (110, 80, 54))
    canvas.blob(frame.at([(-0.5, 0.2), (-0.3, 0.02), (0.3, 0.02), (0.54, 0.22), (0, 0.17)]), _paint(canvas))


def _airplane(canvas: Canvas, frame: Frame) -> None:
    color = jitter(canvas.rng, (214, 218, 224))
    canvas.polygon(frame.at([(-0.5, 0.5), (-0.6, 0.76), (-0.5, 0.76), (-0.34, 0.54)]), _paint(canvas))
    canvas.blob(frame.at([(-0.56, 0.46), (-0.4, 0.56), (0.3, 0.58), (0.56, 0.48), (0.4, 0.4), (-0.3, 0.4)]), color)
    canvas.polygon(frame.at([(-0.06, 0.47), (-0.32, 0.2), (-0.2, 0.2), (0.16, 0.47)]), shade(color, 0.75))
    for i in range(7):
        _disc(canvas, frame, -0.25 + i * 0.09, 0.51, 0.016, (60, 80, 110))


def _house(canvas: Canvas, frame: Frame) -> None:
    wall = jitter(canvas.rng, canvas.rng.choice([(224, 208, 178), (190, 120, 96), (206, 214, 220)]))
    canvas.polygon(frame.at(box(-0.45, 0, 0.45, 0.5)), wall)
    canvas.polygon(frame.at([(-0.54, 0.48), (0, 0.92), (0.54, 0.48)]), shade(_paint(canvas), 0.7))
    canvas.polygon(frame.at(box(-0.08, 0, 0.1, 0.28)), (92, 62, 42))
    for x in (-0.36, 0.2):
        canvas.polygon(frame.at(box(x, 0.22, x + 0.16, 0.38)), (150, 186, 206))
        canvas.line(frame.at([(x + 0.08, 0.22), (x + 0.08, 0.38)]), 2, wall)


def _tree(canvas: Canvas, frame: Frame) -> None:
    rng, size = canvas.rng, frame.scale
    canvas.limb(frame.at([(0, 0), (0.02, 0.35), (-0.03, 0.6)]), [size * 0.14, size * 0.09, size * 0.04], (92, 66, 46))
    leaf = jitter(rng, rng.choice([(64, 112, 54), (110, 136, 52), (196, 118, 48), (228, 160, 172)]), 14)
    for _ in range(34):
        angle, far = rng.uniform(0, 6.28), rng.uniform(0, 0.34)
        _disc(canvas, frame, far * math.cos(angle) * 1.1, 0.66 + far * math.sin(angle), rng.uniform(0.05, 0.11),
              shade(leaf, rng.uniform(0.75, 1.2)))  # fmt: skip


def _flower(canvas: Canvas, frame: Frame) -> None:
    size, pot = frame.scale, _paint(canvas)
    canvas.limb(frame.at([(0, 0.2), (0.04, 0.4), (0, 0.62)]), [size * 0.03] * 3, (70, 120, 60))
    for side in (-1, 1):
        canvas.blob(
            frame.at([(0.02, 0.34), (0.14 * side, 0.44), (0.24 * side, 0.42), (0.12 * side, 0.34)]), (80, 134, 66)
        )
    petal = _paint(canvas)
    for i in range(8):
        _disc(canvas, frame, 0.15 * math.cos(i * 0.785), 0.7 + 0.15 * math.sin(i * 0.785), 0.085, shade(petal, 1.1))
    _disc(canvas, frame, 0, 0.7, 0.09, (226, 180, 60))
    canvas.polygon(frame.at([(-0.2, 0.28), (0.2, 0.28), (0.14, 0), (-0.14, 0)]), shade(pot, 0.8))


def _mug(canvas: Canvas, frame: Frame) -> None:
    color = _paint(canvas)
    _ring(canvas, frame, 0.3, 0.3, 0.15, shade(color, 0.8))
    canvas.polygon(frame.at([(-0.28, 0.56), (0.28, 0.56), (0.24, 0.02), (-0.24, 0.02)]), color)
    canvas.polygon(frame.at([(-0.27, 0.38), (0.27, 0.38), (0.26, 0.26), (-0.26, 0.26)]), shade(color, 1.35))
    x, y = frame.at([(0, 0.56)])[0]
    canvas.ellipse(x, y, 0.28 * frame.scale * frame.squeeze, 0.06 * frame.scale, (74, 48, 34))


def _chair(canvas: Canvas, frame: Frame) -> None:
    color, size = _paint(canvas), frame.scale
    for x, top in ((-0.22, 0.95), (0.2, 0.42), (-0.14, 0.95), (0.28, 0.42)):
        canvas.line(frame.at([(x, 0), (x, top)]), size * 0.045, shade(color, 0.75))
    canvas.polygon(frame.at([(-0.26, 0.4), (0.26, 0.4), (0.33, 0.47), (-0.18, 0.47)]), color)
    for y in (0.6, 0.72, 0.84):
        canvas.line(frame.at([(-0.22, y), (-0.14, y + 0.05)]), size * 0.05, color)


def _table(canvas: Canvas, frame: Frame) -> None:
    color, size = jitter(canvas.rng, (150, 104, 64), 24), frame.scale
    for x in (-0.44, 0.44, -0.32, 0.34):
        canvas.line(frame.at([(x, 0), (x, 0.5)]), size * 0.05, shade(color, 0.7))
    canvas.polygon(frame.at([(-0.54, 0.5), (0.5, 0.5), (0.56, 0.57), (-0.46, 0.57)]), color)
    for _ in range(3):
        _disc(canvas, frame, canvas.rng.uniform(-0.3, 0.3), 0.62, 0.06, _paint(canvas))


def _lamp(canvas: Canvas, frame: Frame) -> None:
    canvas.limb(frame.at([(0, 0.03), (0, 0.7)]), [frame.scale * 0.03] * 2, (90, 84, 76))
    _disc(canvas, frame, 0, 0.03, 0.12, (90, 84, 76))
    canvas.polygon(frame.at([(-0.14, 1.0), (0.14, 1.0), (0.28, 0.62), (-0.28, 0.62)]), shade(_paint(canvas), 1.2))


def _bookshelf(canvas: Canvas, frame: Frame) -> None:
    rng = canvas.rng
    canvas.polygon(frame.at(box(-0.42, 0, 0.42, 1.0)), (104, 72, 46))
    for shelf in range(4):
        low, x = 0.04 + shelf * 0.24, -0.38
        canvas.polygon(frame.at(box(-0.38, low, 0.38, low + 0.2)), (62, 44, 32))
        while x < 0.33:
            width = rng.uniform(0.025, 0.06)
            canvas.polygon(frame.at(box(x, low, x + width, low + rng.uniform(0.12, 0.19))), _paint(canvas))
            x += width + 0.004


def _apple(canvas: Canvas, frame: Frame) -> None:
    color = jitter(canvas.rng, canvas.rng.choice([(192, 44, 40), (150, 176, 60), (224, 180, 64)]))
    outline = [(0, 0.62), (0.22, 0.7), (0.38, 0.48), (0.26, 0.1), (0, 0.04), (-0.26, 0.1), (-0.38, 0.48), (-0.22, 0.7)]
    canvas.blob(frame.at(outline), color)
    canvas.blob(frame.at([(-0.24, 0.5), (-0.14, 0.6), (-0.12, 0.44)]), shade(color, 1.4))
    canvas.line(frame.at([(0, 0.6), (0.04, 0.8)]), 0.035 * frame.scale, (84, 58, 38))
    canvas.blob(frame.at([(0.04, 0.74), (0.16, 0.84), (0.26, 0.78), (0.14, 0.7)]), (84, 130, 60))


def _mushroom(canvas: Canvas, frame: Frame) -> None:
    canvas.limb(frame.at([(0, 0.06), (0, 0.5)]), [0.22 * frame.scale, 0.16 * frame.scale], (226, 214, 190))
    canvas.blob(
        frame.at([(-0.42, 0.46), (-0.24, 0.76), (0, 0.86), (0.24, 0.76), (0.42, 0.46), (0, 0.4)]), _paint(canvas)
    )
    for x, y in ((-0.2, 0.62), (0.02, 0.72), (0.2, 0.58), (0.0, 0.54)):
        _disc(canvas, frame, x, y, 0.045, (240, 236, 226))


def _ball(canvas: Canvas, frame: Frame) -> None:
    color = _paint(canvas)
    _disc(canvas, frame, 0, 0.36, 0.36, color)
    for i in range(5):
        _disc(
            canvas, frame, 0.23 * math.cos(i * 1.256 + 0.3), 0.36 + 0.23 * math.sin(i * 1.256 + 0.3), 0.09, (40, 40, 44)
        )
    _disc(canvas, frame, 0, 0.36, 0.09, (40, 40, 44))


def _butterfly(canvas: Canvas, frame: Frame) -> None:
    color = _paint(canvas)
    for side in (-1, 1):
        upper = [(0, 0.5), (0.14 * side, 0.86), (0.48 * side, 0.94), (0.42 * side, 0.56), (0, 0.46)]
        lower = [(0, 0.48), (0.34 * side, 0.44), (0.36 * side, 0.14), (0.12 * side, 0.18)]
        canvas.blob(frame.at(upper), color)
        canvas.blob(frame.at(lower), shade(color, 0.75))
        _disc(canvas, frame, 0.3 * side, 0.74, 0.06, (36, 30, 30))
    canvas.limb(frame.at([(0, 0.2), (0, 0.7)]), [0.04 * frame.scale, 0.06 * frame.scale], (40, 32, 28))


def _bird(canvas: Canvas, frame: Frame) -> None:
    color = _paint(canvas)
    for x in (-0.02, 0.08):
        canvas.line(frame.at([(x, 0.3), (x + 0.02, 0)]), 0.02 * frame.scale, (190, 130, 60))
    canvas.blob(frame.at([(-0.62, 0.42), (-0.3, 0.34), (0.06, 0.22), (0.3, 0.42), (0.2, 0.6), (-0.1, 0.56)]), color)
    _disc(canvas, frame, 0.26, 0.64, 0.15, color)
    canvas.blob(frame.at([(-0.36, 0.4), (-0.04, 0.3), (0.12, 0.44), (-0.04, 0.52)]), shade(color, 0.7))
    canvas.polygon(frame.at([(0.38, 0.68), (0.54, 0.62), (0.38, 0.58)]), (224, 160, 60))
    _disc(canvas, frame, 0.3, 0.68, 0.025, (20, 20, 20))


def _fish(canvas: Canvas, frame: Frame) -> None:
    color = jitter(canvas.rng, canvas.rng.choice([(236, 130, 40), (214, 180, 60), (70, 110, 170)]))
    canvas.polygon(frame.at([(-0.3, 0.4), (-0.6, 0.64), (-0.54, 0.4), (-0.6, 0.16)]), shade(color, 0.8))
    canvas.blob(frame.at([(-0.36, 0.4), (0, 0.66), (0.4, 0.54), (0.52, 0.4), (0.4, 0.26), (0, 0.14)]), color)
    for x in (-0.15, 0.0, 0.15):
        canvas.line(frame.at([(x, 0.56), (x - 0.05, 0.4), (x, 0.24)]), 0.02 * frame.scale, shade(color, 0.75))
    _disc(canvas, frame, 0.36, 0.44, 0.05, (244, 244, 240))
    _disc(canvas, frame, 0.37, 0.44, 0.025, (20, 20, 20))


def _guitar(canvas: Canvas, frame: Frame) -> None:
    color = jitter(canvas.rng, (186, 120, 60), 26)
    canvas.line(frame.at([(0, 0.5), (0, 1.2)]), 0.07 * frame.scale, (70, 48, 34))
    _disc(canvas, frame, 0, 0.26, 0.27, color)
    _disc(canvas, frame, 0, 0.56, 0.2, color)
    _disc(canvas, frame, 0, 0.44, 0.085, (40, 28, 22))
    for x in (-0.012, 0.012):
        canvas.line(frame.at([(x, 0.14), (x, 1.18)]), 1.2, (226, 220, 206))


THINGS: dict[str, Painter] = {
    "car": _car, "bus": _bus, "bicycle": _bicycle, "watercraft": _boat, "airplane": _airplane, "house": _house,
    "tree": _tree, "flower_pot": _flower, "cup_or_mug": _mug, "chair": _chair, "table": _table, "lamp": _lamp,
    "bookshelf": _bookshelf, "apple": _apple, "mushroom": _mushroom, "soccer_ball": _ball, "butterfly": _butterfly,
    "bird": _bird, "goldfish": _fish, "guitar": _guitar,
}  # fmt: skip
