"""Screenshots drawn from a seed, in several styles; for tests of the checks of quality."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Size = tuple[int, int]
WORDS = (
    "report",
    "open",
    "files",
    "and",
    "the",
    "last",
    "run",
    "of",
    "each",
    "step",
    "with",
    "size",
    "date",
    "owner",
    "total",
)


def editor(rng: np.random.Generator, size: Size) -> Image.Image:
    """Code on black, with a sidebar and a bar below."""
    made, pen = _blank(size, "#1e1e1e")
    pen.rectangle((0, 0, size[0] // 6, size[1]), fill="#252526")
    pen.rectangle((0, size[1] - 24, size[0], size[1]), fill="#007acc")
    for y in range(12, size[1] - 40, 20):
        _write(pen, rng, (12, y), 2, 13, "#cccccc")
        _write(pen, rng, (size[0] // 6 + 20 + 20 * int(rng.integers(0, 4)), y), int(rng.integers(1, 9)), 14,
               str(rng.choice(["#d4d4d4", "#9cdcfe", "#ce9178"])))  # fmt: skip
    return made


def sheet(rng: np.random.Generator, size: Size) -> Image.Image:
    """A table with a grid."""
    made, pen = _blank(size, "white")
    pen.rectangle((0, 0, size[0], 60), fill="#217346")
    for y in range(60, size[1], 24):
        pen.line((0, y, size[0], y), fill="#d0d0d0")
        for x in range(0, size[0], 96):
            if rng.random() < 0.6:
                _write(pen, rng, (x + 6, y + 4), 1, 13, "black")
    for x in range(0, size[0], 96):
        pen.line((x, 60, x, size[1]), fill="#d0d0d0")
    return made


def article(rng: np.random.Generator, size: Size) -> Image.Image:
    """A web page: a bar, a column of text, a picture at its side."""
    made, pen = _blank(size, "#ffffff")
    pen.rectangle((0, 0, size[0], 70), fill="#f1f3f4")
    pen.rounded_rectangle((120, 38, size[0] - 200, 62), 12, fill="white", outline="#d5d8dc")
    _write(pen, rng, (size[0] // 8, 100), 4, 30, "#111111")
    for y in range(160, size[1] - 30, 24):
        _write(pen, rng, (size[0] // 8, y), 9, 15, "#222222")
    side = size[0] // 4
    noise = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    made.paste(noise, (size[0] - side - 60, 180))
    return made


def chat(rng: np.random.Generator, size: Size) -> Image.Image:
    """Bubbles of two people under a bar."""
    made, pen = _blank(size, "#e5ddd5")
    pen.rectangle((0, 0, size[0], 64), fill="#075e54")
    y = 84
    while y < size[1] - 90:
        mine, lines = rng.random() < 0.5, int(rng.integers(1, 4))
        left = size[0] * 4 // 10 if mine else 24
        pen.rounded_rectangle(
            (left, y, left + size[0] // 2, y + 20 * lines + 16), 10, fill="#dcf8c6" if mine else "white"
        )
        for line in range(lines):
            _write(pen, rng, (left + 12, y + 8 + 20 * line), 4, 15, "#111111")
        y += 20 * lines + 30
    return made


def desktop(rng: np.random.Generator, size: Size) -> Image.Image:
    """Windows with buttons over a plain background."""
    made, pen = _blank(size, str(rng.choice(["#3a6ea5", "#2d2d3a", "#e9eef3"])))
    for _ in range(3):
        x, y = int(rng.integers(0, size[0] // 2)), int(rng.integers(0, size[1] // 2))
        right, low = x + size[0] // 2, y + size[1] // 2 - 40
        pen.rectangle((x, y, right, low), fill="#f4f4f4", outline="#666666")
        pen.rectangle((x, y, right, y + 26), fill="#2b5c8a")
        for row in range(y + 40, low - 30, 34):
            pen.rectangle((x + 20, row, right - 20, row + 22), fill="white", outline="#999999")
            _write(pen, rng, (x + 26, row + 4), 3, 13, "black")
    return made


STYLES: dict[str, Callable[[np.random.Generator, Size], Image.Image]] = {
    each.__name__: each for each in (editor, sheet, article, chat, desktop)
}


def screen(style: str, seed: int, size: Size = (1280, 800)) -> Image.Image:
    """A screenshot in one of `STYLES`."""
    return STYLES[style](np.random.default_rng(seed), size)


def _blank(size: Size, color: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    made = Image.new("RGB", size, color)
    return made, ImageDraw.Draw(made)


def _write(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, at: tuple[int, int], words: int, height: int, color: str
) -> None:
    pen.text(at, " ".join(rng.choice(WORDS, words)), fill=color, font=ImageFont.load_default(height))
