"""Whether two pictures show the same pixels after a crop, a turn, a border or a collage: local points, verified.

ORB points (Rublee et al., 2011) of two pictures are matched one to one, and one similarity (scale, rotation, shift)
must carry many of them onto each other (RANSAC; Fischler and Bolles, 1981). Matches alone are not enough: without
one-to-one matching and the checks of scale and spread, 1 of 200 unrelated pairs passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

AREA = 120_000  # pixels that every picture is resized to: 400 x 300
POINTS = 500
CELL = 40  # pixels; points are spread over cells of this side, so that a caption does not take them all
RATIO = 0.75  # the best match must be this much nearer than the second best
TOLERANCE = 4.0  # pixels between where a point lies and where the similarity puts it, in either picture
SCALES = (0.15, 7.0)
INLIERS = 8
SPREAD = 0.25
ALGORITHM = f"orb{POINTS}/area{AREA}/cell{CELL}/ratio{RATIO}/px{TOLERANCE:g}/inliers{INLIERS}/spread{SPREAD}/v1"
EXTRACTION = f"orb{POINTS}/area{AREA}/cell{CELL}/v1"


class Points(NamedTuple):
    """The points of one picture, strongest of each cell first.

    `places` (k, 2) are x and y in pixels of the resized picture, whose (width, height) is `size`; `descriptors` (k, 32)
    are ORB's 256 bits.
    """

    places: NDArray[np.float32]
    descriptors: NDArray[np.uint8]
    size: tuple[int, int]


class Match(NamedTuple):
    """How well one similarity carries the points of a picture onto those of another.

    `inliers` counts matches at different places; `scale` and `rotation` (degrees, counterclockwise as seen) lead from
    the first picture to the second; `mirrored`: the second had to be mirrored. `spread`, 0 to 1: how much of what both
    show is covered by inliers, near 1 for a copy and small for a shared logo or caption.
    """

    inliers: int
    scale: float
    rotation: float
    mirrored: bool
    spread: float
    same: bool


NOTHING = Match(0, 0.0, 0.0, False, 0.0, False)


def extract(gray: NDArray[np.uint8]) -> Points:
    """The points of a gray picture (height, width); none for one that is blank or a few pixels wide."""
    height, width = gray.shape
    scale = (AREA / (width * height)) ** 0.5
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(gray, size, interpolation=way)
    orb = cv2.ORB.create(nfeatures=2 * POINTS, fastThreshold=10, edgeThreshold=16)
    found = orb.detect(resized, None)
    if not found:
        return Points(np.empty((0, 2), np.float32), np.empty((0, 32), np.uint8), size)
    kept, descriptors = orb.compute(resized, [found[i] for i in _spread_out(found)])
    return Points(_places(kept), np.asarray(descriptors, np.uint8), size)


def _spread_out(found: Sequence[cv2.KeyPoint]) -> NDArray[np.int64]:
    """The POINTS points to keep, in the order of their rank within their cell."""
    places = _places(found)
    strength = np.array([each.response for each in found])
    cells = (places // CELL).astype(np.int64)
    cell = cells[:, 0] * 100_000 + cells[:, 1]
    order = np.lexsort((-strength, cell))
    new = np.flatnonzero(np.diff(cell[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(new, np.diff(new, append=len(order)))
    return order[np.lexsort((-strength[order], rank))][:POINTS]


def _places(found: Sequence[cv2.KeyPoint]) -> NDArray[np.float32]:
    return np.asarray(cv2.KeyPoint.convert(found), np.float32)


def verify(a: Points, b: Points, *, b_mirrored: Points | None = None) -> Match:
    """Whether one picture holds a part of the other; if not, whether it does with b flipped left-right."""
    upright = _match(a, b)
    if upright.same or b_mirrored is None:
        return upright
    flipped = _match(a, b_mirrored)._replace(mirrored=True)
    return max(upright, flipped, key=lambda match: (match.same, match.inliers))


def _match(a: Points, b: Points) -> Match:
    if min(len(a.places), len(b.places)) < INLIERS:
        return NOTHING
    first, second = _one_to_one(a.descriptors, b.descriptors)
    if len(first) < INLIERS:
        return NOTHING
    source, target = a.places[first], b.places[second]
    estimated, _ = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=TOLERANCE, maxIters=2000)
    matrix = np.asarray(estimated, np.float64)
    if matrix.shape != (2, 3):  # it is None where all points coincide
        return NOTHING
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if not SCALES[0] <= scale <= SCALES[1]:
        return NOTHING
    error = np.hypot(*(source @ matrix[:, :2].T + matrix[:, 2] - target).T)
    inlier = error <= TOLERANCE * min(1.0, scale)
    count = min(_different(source[inlier]), _different(target[inlier]))
    if count < 3:
        return NOTHING._replace(inliers=count)
    spread = _spread(a, b, matrix, source[inlier], target[inlier])
    rotation = float(-np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
    return Match(count, scale, rotation, False, spread, count >= INLIERS and spread >= SPREAD)


def _one_to_one(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Matches that pass the ratio test from both sides and are each other's best."""
    distance, best = cv2.batchDistance(a, b, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=2)
    first = np.flatnonzero(distance[:, 0] < RATIO * distance[:, 1])
    second = best[first, 0]
    if len(first) < INLIERS:
        return first[:0], first[:0]
    distance, best = cv2.batchDistance(b[second], a, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=2)
    good = (best[:, 0] == first) & (distance[:, 0] < RATIO * distance[:, 1])
    return first[good], second[good].astype(np.int64)


def _different(places: NDArray[np.float32]) -> int:
    """How many of these places differ by more than the tolerance, roughly: the same corner is found at many scales."""
    return len(np.unique((places // TOLERANCE).astype(np.int64), axis=0))


def _spread(
    a: Points, b: Points, matrix: NDArray[np.float64], source: NDArray[np.float32], target: NDArray[np.float32]
) -> float:
    """The extent of the inliers over that of all points in the part that both pictures show; the least of x and y."""
    back = np.asarray(cv2.invertAffineTransform(matrix), np.float64)
    shared_a = a.places[_inside(a.places @ matrix[:, :2].T + matrix[:, 2], b.size)]
    shared_b = b.places[_inside(b.places @ back[:, :2].T + back[:, 2], a.size)]
    extent = [_extent(source) / _extent(shared_a), _extent(target) / _extent(shared_b)]
    return float(min(1.0, np.min(extent)))


def _extent(places: NDArray[np.float32]) -> NDArray[np.float64]:
    """Between the quartiles of x and of y, in pixels: two stray inliers do not make a logo large."""
    low, high = np.percentile(places, (25, 75), axis=0)
    return np.asarray(np.maximum(high - low, 1.0))


def _inside(places: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.bool_]:
    return np.asarray(((places >= 0) & (places < size)).all(axis=1))
