"""Whether two pictures show the same pixels after a crop, a turn, a border or a collage: local points, verified.

ORB points (Rublee et al., 2011) of two pictures are matched one to one, and one similarity (scale, rotation, shift)
must carry many of them onto each other (RANSAC; Fischler and Bolles, 1981). Matches alone are not enough: without
one-to-one matching and the checks of scale and spread, 1 of 200 unrelated pairs passes. Nor are points: two pictures
may share a thing, drawn or printed twice, on different grounds. So one picture is laid onto the other, and most of
what both show must look the same (collector/dedup/overlap.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from collector.dedup.overlap import agreement

AREA = 120_000  # pixels that every picture is resized to: 400 x 300
POINTS = 500
CELL = 40  # pixels; points are spread over cells of this side, so that a caption does not take them all
RATIO = 0.75  # the best match must be this much nearer than the second best
TOLERANCE = 4.0  # pixels between where a point lies and where the similarity puts it, in either picture
SCALES = (0.15, 7.0)
INLIERS, FEWEST = 8, 6
SPREAD = 0.25
HALF, ALIKE = 0.5, 0.85  # of what both show must look the same where points say so too; where hardly any do
STRETCH = 1.5  # of one axis over the other, at most, where a picture was made wider or higher
SHRUNK = 4  # pixels of the resized picture that are one pixel of the small one
ALGORITHM = (
    f"orb{POINTS}/area{AREA}/cell{CELL}/ratio{RATIO}/px{TOLERANCE:g}/inliers{INLIERS}-{FEWEST}/spread{SPREAD}"
    f"/alike{HALF}-{ALIKE}/v2"
)
EXTRACTION = f"orb{POINTS}/area{AREA}/cell{CELL}/small{SHRUNK}/v2"


class Points(NamedTuple):
    """The points of one picture, strongest of each cell first.

    `places` (k, 2) are x and y in pixels of the resized picture, whose (width, height) is `size`; `descriptors` (k, 32)
    are ORB's 256 bits. `small` is the gray picture at `small_size(size)`, (height, width).
    """

    places: NDArray[np.float32]
    descriptors: NDArray[np.uint8]
    size: tuple[int, int]
    small: NDArray[np.uint8]


class Match(NamedTuple):
    """How well one similarity carries the points of a picture onto those of another.

    `inliers` counts matches at different places; `scale` and `rotation` (degrees, counterclockwise as seen) lead from
    the first picture to the second; `mirrored`: the second had to be mirrored. `spread`, 0 to 1: how much of what both
    show is covered by inliers, near 1 for a copy and small for a shared logo or caption. `alike`, 0 to 1: how much of
    it looks the same in both when one is laid onto the other.
    """

    inliers: int
    scale: float
    rotation: float
    mirrored: bool
    spread: float
    alike: float
    same: bool

    def figures(self) -> dict[str, float | bool]:
        """What is written down beside the number of inliers."""
        return {
            "scale": round(self.scale, 3),
            "rotation": round(self.rotation, 1),
            "mirrored": self.mirrored,
            "spread": round(self.spread, 3),
            "alike": round(self.alike, 3),
        }


NOTHING = Match(0, 0.0, 0.0, False, 0.0, 0.0, False)


def small_size(size: tuple[int, int]) -> tuple[int, int]:
    """The (width, height) of the small picture beside points of a picture resized to `size`."""
    return max(1, round(size[0] / SHRUNK)), max(1, round(size[1] / SHRUNK))


def extract(gray: NDArray[np.uint8]) -> Points:
    """The points of a gray picture (height, width); none for one that is blank or a few pixels wide."""
    height, width = gray.shape
    scale = (AREA / (width * height)) ** 0.5
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(gray, size, interpolation=way)
    small = np.asarray(cv2.resize(resized, small_size(size), interpolation=cv2.INTER_AREA), np.uint8)
    orb = cv2.ORB.create(nfeatures=2 * POINTS, fastThreshold=10, edgeThreshold=16)
    found = orb.detect(resized, None)
    if not found:
        return Points(np.empty((0, 2), np.float32), np.empty((0, 32), np.uint8), size, small)
    kept, descriptors = orb.compute(resized, [found[i] for i in _spread_out(found)])
    return Points(_places(kept), np.asarray(descriptors, np.uint8), size, small)


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
    if min(len(a.places), len(b.places)) < FEWEST:
        return NOTHING
    first, second = _one_to_one(a.descriptors, b.descriptors)
    if len(first) < FEWEST:
        return NOTHING
    source, target = a.places[first], b.places[second]
    match = _similar(a, b, source, target)
    return match if match.same else _stretched(a, b, source, target) or match


def _similar(a: Points, b: Points, source: NDArray[np.float32], target: NDArray[np.float32]) -> Match:
    """How well the best similarity carries one picture onto the other."""
    estimated, _ = cv2.estimateAffinePartial2D(source, target, ransacReprojThreshold=TOLERANCE, maxIters=2000)
    matrix = np.asarray(estimated, np.float64)
    if matrix.shape != (2, 3):  # it is None where all points coincide
        return NOTHING
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if not SCALES[0] <= scale <= SCALES[1]:
        return NOTHING
    source, target = _inliers(matrix, source, target, scale)
    count = min(_different(source), _different(target))
    if count < FEWEST:
        return NOTHING._replace(inliers=count)
    spread = _spread(a, b, matrix, source, target)
    enough = HALF + 1 / count if count >= INLIERS and spread >= SPREAD else ALIKE
    alike = agreement(a.small, b.small, _shrunk(matrix))
    return Match(count, scale, _rotation(matrix), False, spread, alike, alike >= enough)


def _stretched(a: Points, b: Points, source: NDArray[np.float32], target: NDArray[np.float32]) -> Match | None:
    """The match if one picture was made wider or higher too: an affine map, after which nearly all looks the same."""
    estimated, _ = cv2.estimateAffine2D(source, target, ransacReprojThreshold=TOLERANCE, maxIters=2000)
    matrix = np.asarray(estimated, np.float64)
    if matrix.shape != (2, 3):
        return None
    high, low = np.linalg.svd(matrix[:, :2], compute_uv=False).tolist()
    if low < SCALES[0] or high > SCALES[1] or high > STRETCH * low or np.linalg.det(matrix[:, :2]) < 0:
        return None
    source, target = _inliers(matrix, source, target, low)
    count = min(_different(source), _different(target))
    alike = agreement(a.small, b.small, _shrunk(matrix)) if count >= INLIERS else 0.0
    if alike < ALIKE:
        return None
    spread = _spread(a, b, matrix, source, target)
    return Match(count, float((high * low) ** 0.5), _rotation(matrix), False, spread, alike, True)


def _inliers(
    matrix: NDArray[np.float64], source: NDArray[np.float32], target: NDArray[np.float32], scale: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    error = np.hypot(*(source @ matrix[:, :2].T + matrix[:, 2] - target).T)
    inlier = error <= TOLERANCE * min(1.0, scale)
    return source[inlier], target[inlier]


def _rotation(matrix: NDArray[np.float64]) -> float:
    """In degrees, counterclockwise as seen."""
    return float(-np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))


def _shrunk(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """What carries the small picture onto the other, where `matrix` carries the resized one; pixels are squares."""
    shift = (matrix[:, 2] + (matrix[:, :2].sum(axis=1) - 1) * (SHRUNK - 1) / 2) / SHRUNK
    return np.column_stack([matrix[:, :2], shift])


def _one_to_one(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Matches that pass the ratio test from both sides and are each other's best."""
    distance, best = cv2.batchDistance(a, b, cv2.CV_32S, normType=cv2.NORM_HAMMING, K=2)
    first = np.flatnonzero(distance[:, 0] < RATIO * distance[:, 1])
    second = best[first, 0]
    if len(first) < FEWEST:
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
