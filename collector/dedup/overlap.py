"""Whether two pictures look the same where one is laid onto the other: the check that points alone cannot make.

Normalized cross-correlation (Lewis, "Fast normalized cross-correlation", 1995) of small blocks, each for itself: a
caption or a logo spoils only the blocks that it covers, and other light, contrast or gamma spoils none. Pictures that
share a drawn or a printed thing agree on it and on nothing else.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

BLOCK = 6  # pixels of a block's side; blocks overlap by half
BLUR = 0.5  # sigma, pixels: what was lost to compression, and half a pixel of misfit, must not count
SAME = 0.8  # correlation from which on a block shows the same in both
FLAT = 3.0  # gray levels (standard deviation) below which a block shows nothing, in both pictures
BLOCKS = 24  # with something to see that must lie in what both show: else there is nothing to judge by
SHARE = 0.1  # of one of the pictures that the other must show, at least

Gray = NDArray[np.uint8]


def agreement(a: Gray, b: Gray, matrix: NDArray[np.float64]) -> float:
    """The share of the blocks that look the same, 0 to 1, among those with something to see.

    `matrix` (2, 3) carries places in `a` onto places in `b`. 0 where both hardly overlap.
    """
    scale = _scale(matrix)
    if scale > 1:  # the finer picture is laid onto the coarser one: detail can be taken away, not added
        return agreement(b, a, np.asarray(cv2.invertAffineTransform(matrix), np.float64))
    laid, shown = _laid(a, b.shape, matrix, scale)
    if shown.mean() < SHARE and shown.sum() < SHARE * a.size * scale**2:
        return 0.0
    first, second = _blurred(laid), _blurred(b.astype(np.float32))
    whole = _blocks(shown) > 0.999
    mean, other = _blocks(first), _blocks(second)
    spread = np.maximum(_blocks(first * first) - mean * mean, 0), np.maximum(_blocks(second**2) - other * other, 0)
    seen = whole & (np.maximum(*spread) > FLAT**2)
    if seen.sum() < BLOCKS:
        return 0.0
    correlation = (_blocks(first * second) - mean * other) / np.sqrt((spread[0] + 1) * (spread[1] + 1))
    return float((correlation[seen] >= SAME).mean())


def _blurred(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), BLUR), np.float32)


def _scale(matrix: NDArray[np.float64]) -> float:
    return float(abs(np.linalg.det(matrix[:, :2])) ** 0.5)


def _laid(
    a: Gray, shape: tuple[int, ...], matrix: NDArray[np.float64], scale: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """`a` on the canvas of the other picture, and 1 where it lies there; made smaller first, to stay smooth."""
    height, width = a.shape
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    reduced = cv2.resize(a, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    grown = np.array([width / size[0], height / size[1]])
    moved = np.column_stack([matrix[:, :2] * grown, matrix[:, 2] + matrix[:, :2] @ (grown - 1) / 2])
    canvas = (shape[1], shape[0])
    laid = cv2.warpAffine(reduced, moved, canvas, flags=cv2.INTER_LINEAR)
    shown = cv2.warpAffine(np.ones_like(reduced), moved, canvas, flags=cv2.INTER_LINEAR)
    return np.asarray(laid, np.float32), np.asarray(shown, np.float32)


def _blocks(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The means of the blocks."""
    means = cv2.boxFilter(values, -1, (BLOCK, BLOCK), borderType=cv2.BORDER_REFLECT)
    step = BLOCK // 2
    return np.asarray(means[step:-step:step, step:-step:step], np.float32)
