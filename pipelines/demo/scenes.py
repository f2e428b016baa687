"""The places where things stand: sky, ground and what lies about, painted from back to front."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from pipelines.demo.canvas import Canvas, Color, jitter, mix, shade

SKIES: tuple[tuple[Color, Color], ...] = (
    ((96, 150, 214), (206, 226, 240)),
    ((140, 168, 196), (224, 222, 214)),
    ((70, 84, 140), (244, 170, 110)),
    ((160, 164, 170), (206, 206, 204)),
    ((16, 20, 48), (52, 62, 104)),
    ((226, 150, 128), (250, 222, 170)),
)
GREEN, SAND, SNOW, EARTH, WATER = (104, 142, 66), (214, 190, 140), (232, 236, 242), (138, 104, 70), (64, 116, 156)
WOOD: Color = (132, 92, 58)


def paint_scene(canvas: Canvas) -> float:
    """Paint a place drawn at random; returns the row (pixels from the top) where things stand."""
    scene = canvas.rng.choice(SCENES)
    return scene(canvas)


def _sky(canvas: Canvas, horizon: float) -> Color:
    rng = canvas.rng
    top, low = rng.choice(SKIES)
    canvas.gradient(0, horizon + 4, jitter(rng, top), jitter(rng, low))
    size = min(canvas.width, canvas.height)
    if top[2] < 60:
        for _ in range(40):
            x, y = rng.uniform(0, canvas.width), rng.uniform(0, horizon)
            canvas.ellipse(x, y, 1.2, 1.2, (236, 236, 210))
    if rng.random() < 0.5:
        x, y = rng.uniform(0.08, 0.92) * canvas.width, rng.uniform(0.2, 0.7) * horizon
        radius = size * rng.uniform(0.04, 0.1)
        canvas.ellipse(x, y, radius, radius, (250, 240, 200))
    for _ in range(rng.randint(0, 4)):
        _cloud(canvas, rng.uniform(0, 1) * canvas.width, rng.uniform(0.05, 0.8) * horizon, size, low)
    return low


def _cloud(canvas: Canvas, x: float, y: float, size: float, low: Color) -> None:
    rng = canvas.rng
    color = mix(low, (255, 255, 255), rng.uniform(0.1, 0.7))
    for _ in range(rng.randint(3, 7)):
        radius = size * rng.uniform(0.04, 0.11)
        canvas.ellipse(x + rng.uniform(-1.4, 1.4) * size * 0.12, y + rng.uniform(-0.3, 0.3) * size * 0.08,
                       radius * 1.5, radius * 0.7, color)  # fmt: skip


def _ground(canvas: Canvas, horizon: float, color: Color) -> None:
    near = shade(color, canvas.rng.uniform(0.55, 0.85))
    canvas.gradient(horizon, canvas.height, jitter(canvas.rng, color), near)
    box = (0.0, horizon, float(canvas.width), float(canvas.height))
    canvas.strokes(130, box, (6, -10), shade(color, 0.8))


def _horizon(canvas: Canvas, low: float = 0.3, high: float = 0.66) -> float:
    return canvas.height * canvas.rng.uniform(low, high)


def _standing_row(canvas: Canvas, horizon: float) -> float:
    return max(horizon, canvas.height * canvas.rng.uniform(0.76, 0.92))


def _ridge(canvas: Canvas, base: float, height: float, color: Color) -> None:
    rng, points = canvas.rng, []
    phase, waves = rng.uniform(0, 6), rng.uniform(0.6, 2.2)
    for i in range(25):
        x = i / 24
        swell = 0.5 + 0.5 * math.sin(phase + waves * 6.28 * x) + rng.uniform(-0.06, 0.06)
        points.append((x * canvas.width, base - height * swell))
    canvas.polygon([*points, (canvas.width, base + 2), (0, base + 2)], color)


def _tree(canvas: Canvas, x: float, foot: float, height: float) -> None:
    rng = canvas.rng
    canvas.limb([(x, foot), (x + height * 0.03, foot - height * 0.6)], [height * 0.1, height * 0.05], (88, 62, 44))
    leaf = jitter(rng, rng.choice([(58, 102, 52), (88, 120, 50), (170, 110, 48)]), 14)
    for _ in range(8):
        radius = height * rng.uniform(0.1, 0.2)
        canvas.ellipse(x + rng.uniform(-0.22, 0.22) * height, foot - height * rng.uniform(0.5, 0.95),
                       radius, radius * 0.85, shade(leaf, rng.uniform(0.8, 1.15)))  # fmt: skip


def _trees(canvas: Canvas, horizon: float, most: int) -> None:
    rng = canvas.rng
    for _ in range(rng.randint(0, most)):
        height = canvas.height * rng.uniform(0.14, 0.5)
        _tree(canvas, rng.uniform(0, 1) * canvas.width, horizon + rng.uniform(0, 0.1) * canvas.height, height)


def _fence(canvas: Canvas, foot: float) -> None:
    rng, color = canvas.rng, jitter(canvas.rng, canvas.rng.choice([WOOD, (210, 204, 194)]), 12)
    height, gap = canvas.height * rng.uniform(0.1, 0.2), canvas.width / rng.uniform(4, 9)
    for rail in (0.35, 0.8):
        row = foot - height * rail
        canvas.line([(0, row + rng.uniform(-3, 3)), (canvas.width, row + rng.uniform(-3, 3))], height * 0.1, color)
    for i in range(int(canvas.width / gap) + 1):
        canvas.line([(i * gap, foot), (i * gap, foot - height)], height * 0.14, shade(color, 0.8))


def _meadow(canvas: Canvas) -> float:
    horizon = _horizon(canvas)
    low = _sky(canvas, horizon)
    for depth in range(canvas.rng.randint(0, 3)):
        color = mix(mix(low, GREEN, 0.35 + 0.2 * depth), (60, 80, 90), 0.2)
        _ridge(canvas, horizon, canvas.height * canvas.rng.uniform(0.05, 0.28), color)
    _ground(canvas, horizon, canvas.rng.choice([GREEN, GREEN, (150, 150, 70), (176, 160, 84)]))
    _trees(canvas, horizon, 5)
    row = _standing_row(canvas, horizon)
    if canvas.rng.random() < 0.4:
        _fence(canvas, min(row, horizon + 0.12 * canvas.height))
    return row


def _beach(canvas: Canvas) -> float:
    horizon = _horizon(canvas, 0.25, 0.45)
    _sky(canvas, horizon)
    shore = horizon + canvas.height * canvas.rng.uniform(0.08, 0.22)
    canvas.gradient(horizon, shore, jitter(canvas.rng, WATER), (150, 190, 200))
    canvas.strokes(30, (0, horizon, canvas.width, shore), (30, 1), (210, 228, 232))
    _ground(canvas, shore, SAND)
    return _standing_row(canvas, shore)


def _winter(canvas: Canvas) -> float:
    horizon = _horizon(canvas)
    low = _sky(canvas, horizon)
    _ridge(canvas, horizon, canvas.height * canvas.rng.uniform(0.1, 0.4), mix(low, (120, 136, 160), 0.6))
    _ground(canvas, horizon, SNOW)
    for _ in range(canvas.rng.randint(0, 5)):
        x, height = canvas.rng.uniform(0, 1) * canvas.width, canvas.height * canvas.rng.uniform(0.15, 0.4)
        for layer in range(3):
            top = horizon - height + layer * height * 0.28
            half = height * (0.13 + 0.06 * layer)
            canvas.polygon([(x, top), (x - half, top + height * 0.45), (x + half, top + height * 0.45)], (52, 84, 76))
    return _standing_row(canvas, horizon)


def _stable(canvas: Canvas) -> float:
    rng = canvas.rng
    floor = _horizon(canvas, 0.5, 0.72)
    wall = jitter(rng, rng.choice([WOOD, (160, 120, 84), (104, 84, 70), (186, 178, 166)]), 14)
    canvas.gradient(0, floor + 2, shade(wall, 0.6), wall)
    width = canvas.width / rng.uniform(6, 14)
    for i in range(int(canvas.width / width) + 1):
        canvas.line([(i * width, 0), (i * width, floor)], 2.5, shade(wall, 0.55))
    if rng.random() < 0.7:
        left, top = rng.uniform(0.05, 0.6) * canvas.width, rng.uniform(0.04, 0.2) * canvas.height
        right, low = left + rng.uniform(0.15, 0.35) * canvas.width, top + rng.uniform(0.15, 0.35) * canvas.height
        canvas.polygon([(left, top), (right, top), (right, low), (left, low)], jitter(rng, (190, 212, 226)))
        canvas.line([(left, top), (right, top), (right, low), (left, low), (left, top)], 7, shade(wall, 0.4))
    _ground(canvas, floor, (190, 158, 92))
    canvas.strokes(90, (0, floor, canvas.width, canvas.height), (22, 6), (222, 192, 110))
    return _standing_row(canvas, floor)


def _wood(canvas: Canvas) -> float:
    rng, horizon = canvas.rng, _horizon(canvas, 0.4, 0.6)
    canvas.gradient(0, horizon + 2, jitter(rng, (70, 96, 64)), jitter(rng, (150, 170, 120)))
    for _ in range(rng.randint(5, 13)):
        x, width = rng.uniform(0, 1) * canvas.width, canvas.width * rng.uniform(0.012, 0.05)
        foot, bark = horizon + rng.uniform(0, 0.06) * canvas.height, jitter(rng, (78, 62, 50), 22)
        canvas.limb([(x, foot), (x + rng.uniform(-20, 20), -20)], [width, width * 0.7], bark)
    canvas.strokes(60, (0, 0, canvas.width, horizon * 0.5), (12, 8), (96, 130, 64))
    _ground(canvas, horizon, rng.choice([GREEN, EARTH]))
    return _standing_row(canvas, horizon)


def _town(canvas: Canvas) -> float:
    rng, horizon = canvas.rng, _horizon(canvas, 0.45, 0.62)
    _sky(canvas, horizon)
    x = -20.0
    while x < canvas.width:
        width, height = canvas.width * rng.uniform(0.08, 0.2), horizon * rng.uniform(0.3, 0.85)
        house = jitter(rng, rng.choice([(180, 120, 96), (196, 184, 160), (140, 140, 150), (206, 170, 120)]), 16)
        canvas.polygon(
            [(x, horizon), (x, horizon - height), (x + width, horizon - height), (x + width, horizon)], house
        )
        for row in range(int(height / 34)):
            for column in range(max(1, int(width / 30))):
                left, top = x + 8 + column * 30, horizon - height + 10 + row * 34
                lit = rng.choice([(60, 70, 90), (236, 214, 140)])
                canvas.polygon([(left, top), (left + 13, top), (left + 13, top + 18), (left, top + 18)], lit)
        x += width
    _ground(canvas, horizon, rng.choice([(128, 126, 124), EARTH]))
    return _standing_row(canvas, horizon)


def _desert(canvas: Canvas) -> float:
    horizon = _horizon(canvas, 0.3, 0.55)
    low = _sky(canvas, horizon)
    for _ in range(canvas.rng.randint(1, 3)):
        _ridge(canvas, horizon, canvas.height * canvas.rng.uniform(0.06, 0.26), mix(low, (176, 110, 70), 0.6))
    _ground(canvas, horizon, canvas.rng.choice([SAND, (196, 142, 92)]))
    return _standing_row(canvas, horizon)


def paint_foreground(canvas: Canvas, row: float) -> None:
    """Clutter in front of the thing: tall grass, a bush, a fence, or nothing."""
    rng: random.Random = canvas.rng
    what = rng.random()
    if what < 0.12:
        canvas.strokes(150, (0, row - 14, canvas.width, canvas.height), (8, -26), shade(GREEN, 0.8))
    elif what < 0.24:
        x, size = rng.choice([0.0, 1.0]) * canvas.width, canvas.height * rng.uniform(0.1, 0.2)
        for _ in range(8):
            canvas.ellipse(x + rng.uniform(-1, 1) * size, canvas.height - rng.uniform(0, 0.7) * size, size * 0.4,
                           size * 0.35, jitter(rng, (70, 106, 52), 14))  # fmt: skip
    elif what < 0.32:
        _fence(canvas, canvas.height * rng.uniform(0.94, 1.02))


SCENES: tuple[Callable[[Canvas], float], ...] = (
    _meadow, _meadow, _beach, _winter, _stable, _wood, _town, _desert,
)  # fmt: skip
