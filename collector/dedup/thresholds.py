"""How near two pictures must be to count as copies, chosen so that few unrelated ones do, in a pool of this size.

The number of pairs grows with the square of the pool, so the same threshold that is safe for a thousand pictures makes
half a million false pairs of a million. The chance that two unrelated pictures of *this* pool come so near is estimated
from the distances in a sample of it. Distances of unrelated hashes are close to binomial, with fewer effective bits
than the hash has since bits depend on each other (Daugman, "Probing the uniqueness and randomness of IrisCodes", 2006,
from 200 billion pairs); on a normal probability plot they lie on a straight line. The line is fitted to the lower tail
as far down as the sample counts 20 pairs, and followed from there. A normal tail is never thinner than the binomial one
with the same slope (Hoeffding, 1963), so what is extrapolated errs towards fewer merges.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collector.fingerprints import dihedral

SAMPLE = 1000  # pictures whose pairs are measured: half a million, in a quarter of a second
COPIES = 10, 64  # bits of 64 and 256: of pictures as near as this one is counted, as they may be copies
FEWEST = 20  # pairs that a point of the tail must count
TAIL, WIDE = 0.01, 0.1  # shares of all pairs that count as the tail; the second for small pools
POINTS = 4  # of the tail, for a line through them

_normal = NormalDist()


class Chance(NamedTuple):
    """P(unrelated pair within d bits) = forms x Phi(intercept + slope x d).

    `pairs` distances were measured; none: it is a reference. `forms` is how often a pair is compared: once, or in the 8
    forms of a hash.
    """

    slope: float
    intercept: float
    forms: int
    pairs: int

    def within(self, distance: float) -> float:
        """The probability that a pair of unrelated pictures lies within so many bits."""
        return min(1.0, self.forms * _normal.cdf(self.intercept + self.slope * distance))

    def distance(self, probability: float) -> int:
        """The largest distance that unrelated pairs come within at most so often; -1 where even equal hashes do."""
        share = min(max(probability / self.forms, 1e-300), 1 - 1e-9)
        return max(-1, int(np.floor((_normal.inv_cdf(share) - self.intercept) / self.slope + 1e-9)))


# The tails of 1,000 pictures of ImageNet, all different (ajschumacher/imagen), for pools too small to show their own.
REFERENCE_64 = Chance(0.245, -7.43, 1, 0)
REFERENCE_256 = Chance(0.108, -14.11, 8, 0)


class Limits(NamedTuple):
    """Which distances count: up to `phash` bits of 64 or `dct` bits of 256 a pair is a copy for sure.

    Up to `grey_phash` or `grey_dct` it may be one. `expected` is the number of unrelated pairs among the sure ones of
    the whole pool; `basis` says where it comes from: pool (measured), reference, or given (the threshold was).
    """

    phash: int
    dct: int
    grey_phash: int
    grey_dct: int
    expected: float
    basis: str


def chances(phash: NDArray[np.uint64], dct: NDArray[np.uint64]) -> tuple[Chance, Chance]:
    """The chances of both hashes, from all pairs of a sample; of pictures within `COPIES` bits only one is counted."""
    phash, dct = phash[:SAMPLE], dct[:SAMPLE]
    away = np.bitwise_count(phash[:, None] ^ phash[None]).astype(np.int16)
    forms = np.stack(
        [np.bitwise_count(form[:, None] ^ dct[None]).sum(axis=2, dtype=np.int16) for form in dihedral(dct)]
    )
    copy = np.tril((away <= COPIES[0]) | (forms.min(axis=0) <= COPIES[1]), -1).any(axis=1)
    alone = np.flatnonzero(~copy)
    first, second = (alone[side] for side in np.triu_indices(len(alone), 1))
    counted = np.bincount(away[first, second], minlength=65)
    counted_forms = np.bincount(forms[:, first, second].ravel(), minlength=257)
    return fitted(counted, 1) or REFERENCE_64, fitted(counted_forms, 8) or REFERENCE_256


def fitted(counts: NDArray[np.int64], forms: int) -> Chance | None:
    """The chance that fits how many unrelated pairs lie at each distance; None where there are too few for a tail."""
    total = int(counts.sum())
    if not total:
        return None
    below = counts.cumsum() / total
    for most in (TAIL, WIDE):
        tail = np.flatnonzero((counts > 0) & (below >= FEWEST / total) & (below <= most))
        if len(tail) >= POINTS:
            slope, intercept = np.polyfit(tail, [_normal.inv_cdf(share) for share in below[tail]], 1)
            return Chance(float(slope), float(intercept), forms, total) if slope > 0 else None
    return None


class Wanted(NamedTuple):
    """What the settings ask for: caps in bits, expected false pairs in the pool, and grey candidates an image."""

    phash: int
    dct: int
    false_pairs: float
    candidates: float


def limits(found: tuple[Chance, Chance], images: int, pairs: float, wanted: Wanted) -> Limits:
    """The limits for so many images that make so many pairs; each of the two hashes may make half of what is false."""
    pairs = max(pairs, 1.0)
    sure, grey = wanted.false_pairs / 2 / pairs, wanted.candidates * images / 2 / pairs
    phash = max(0, min(wanted.phash, found[0].distance(sure)))
    dct = max(0, min(wanted.dct, found[1].distance(sure)))
    return Limits(
        phash=phash,
        dct=dct,
        grey_phash=max(phash, min(GREY[0], found[0].distance(grey))),
        grey_dct=max(dct, min(GREY[1], found[1].distance(grey))),
        expected=expected(found, phash, dct, pairs),
        basis="pool" if all(each.pairs for each in found) else "reference",
    )


GREY = (16, 96)  # nothing is learned from hashes further apart than this: 25 and 37 % of their bits


def given(threshold: int, found: tuple[Chance, Chance], images: int, pairs: float, candidates: float) -> Limits:
    """The limits around a threshold that a person gives, in bits of 64; four times as many of 256."""
    chosen = limits(found, images, pairs, Wanted(threshold, 4 * threshold, np.inf, candidates))
    return chosen._replace(basis="given")


def expected(found: tuple[Chance, Chance], phash: int, dct: int, pairs: float) -> float:
    """How many unrelated pairs of so many lie within the limits."""
    return pairs * (found[0].within(phash) + found[1].within(dct))
