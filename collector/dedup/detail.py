"""How much the pixels of a picture hold: an upscaled copy has more of them than its original, and no more detail; a
framed copy has more, and shows no more.

Natural pictures have about as much in each octave of their spectrum (Field, 1987); one that was scaled up lacks the
octaves above its old resolution. Measured on photographs scaled up 1.3 to 3 times (bilinear, bicubic, Lanczos; JPEG
90), the limits below tell them from at least 95 % of the originals; below 1.3 times they see less. Nearest-neighbor
scaling makes edges of its own, and passes as detail.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from collector.decoding import FORMATS, upright_rgb

MIDDLE = 512  # pixels of the square that is looked at
STEPS = 20  # fractions of the resolution: 1/20, 2/20, ..., 20/20
EVEN = 12  # gray levels within which nine tenths of a row of a frame lie, and next to which the next row does
RIM = 3  # pixels along the edges through which the corners of a turned picture may hang together
FAINT, MOST = 0.22, 0.55  # an octave that shows less of the one below it than FAINT / scale, at most MOST, is empty


def spectrum(gray: NDArray[np.uint8]) -> list[float]:
    """Root mean square of what lies above k/20 of the resolution in x or y, in gray levels, for k = 1 to 20."""
    height, width = gray.shape
    top, left = max(0, (height - MIDDLE) // 2), max(0, (width - MIDDLE) // 2)
    part = gray[top : top + MIDDLE, left : left + MIDDLE].astype(np.float64)
    window = np.hanning(part.shape[0] + 2)[1:-1, None] * np.hanning(part.shape[1] + 2)[None, 1:-1]
    power = np.abs(np.fft.fft2((part - part.mean()) * window)) ** 2 / (part.size * (window**2).sum())
    across, along = np.abs(np.fft.fftfreq(part.shape[0])), np.abs(np.fft.fftfreq(part.shape[1]))
    place = 2 * np.maximum(across[:, None], along[None])
    step = np.minimum((place * STEPS).astype(np.int64), STEPS)
    within = np.bincount(step.ravel(), power.ravel(), minlength=STEPS + 1)
    above = np.sqrt(within[::-1].cumsum()[::-1])[1:]
    return [round(float(value), 3) for value in above]


def of_file(data: bytes) -> tuple[list[float], float]:
    """The spectrum of an image file, and its share inside the frame; empty and 1 where it cannot be read."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as file:
            gray = np.asarray(upright_rgb(file).convert("L"))
    except Exception:  # a damaged file raises nearly anything
        return [], 1.0
    return spectrum(gray), framed(gray)


def framed(gray: NDArray[np.uint8]) -> float:
    """The share of a picture inside its frame; 1 without one.

    A frame is rows and columns of one even color along the edges, or the four corners that a turned picture leaves.
    """
    rows, columns = (_inside(lines) for lines in (gray, gray.T))
    return min(rows * columns, 1.0 - _corners(gray))


def _corners(gray: NDArray[np.uint8]) -> float:
    """The share of four separate corners of one even color.

    Where one color goes all around, it is the background of the picture itself, and counts.
    """
    import cv2

    if min(gray.shape) < 8 * RIM:
        return 0.0
    gray = gray[RIM:-RIM, RIM:-RIM]
    height, width = gray.shape
    places = [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)]
    if np.ptp([int(gray[y, x]) for x, y in places]) > EVEN:
        return 0.0
    filled = np.zeros((height + 2, width + 2), dtype=np.uint8)
    ground, area = np.array(gray), 0  # OpenCV wants to be allowed to write
    for x, y in places:
        if filled[y + 1, x + 1]:
            return 0.0
        flags = 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY
        area += cv2.floodFill(ground, filled, (x, y), 0, EVEN, EVEN, flags)[0]
    return area / gray.size


def _inside(lines: NDArray[np.uint8]) -> float:
    low, middle, high = np.percentile(lines, (5, 50, 95), axis=1)
    edge = [
        np.logical_and.accumulate((top - bottom <= EVEN) & (np.abs(mid - mid[0]) <= EVEN)).sum()
        for bottom, mid, top in ((low, middle, high), (low[::-1], middle[::-1], high[::-1]))
    ]
    return float(max(0, len(lines) - sum(edge)) / len(lines))


def holds_more(above: Sequence[float], scale: float) -> bool:
    """Whether a picture shows anything that a copy of it, scaled down to this fraction, could not show."""
    if not above or scale >= 1:
        return True
    step = min(STEPS, max(1, int(np.ceil(scale * STEPS))))
    beyond, below = above[step - 1], above[max(1, round(step / 2)) - 1]
    octave = float(np.sqrt(max(below**2 - beyond**2, 0.0)))
    return beyond > min(MOST, FAINT / scale) * octave
