"""How well scores rank the images of one label above all others, and what that could have been on other images.

Average precision changes only where a relevant image stands, so nothing but those places is kept. That makes intervals
for a thousand labels a matter of seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.calibrate import Floats, Ints

CELLS = 4_000_000  # images x resamples in one go: 16 MB
HEAD, DEEP = 1024, 16  # how many places of a ranking are resampled one by one: see `Ranking.resampled`

Counts = NDArray[np.float32]
Indices = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The relevant images of one label, in places: the distinct scores that relevant images have, highest first.

    `above` images of `images` score as much or more, `hits` of them are relevant; `below` is the next lower score of
    any image, or the own one where there is none. `first` are the images down to the last of the first `exact` places,
    and `found` the relevant ones, both by place.
    """

    scores: Floats
    below: Floats
    above: Ints
    hits: Ints
    first: Indices
    found: Indices
    exact: int
    images: int

    @classmethod
    def of(cls, relevant: NDArray[np.bool_], scores: Floats) -> Ranking:
        """The ranking by the scores of images that are `relevant` or not; equal scores share a place."""
        return cls.by(np.flatnonzero(relevant), scores, np.sort(scores))

    @classmethod
    def by(cls, relevant: NDArray[np.int64], scores: Floats, ascending: Floats) -> Ranking:
        """The ranking by `scores`, which lie sorted in `ascending`; `relevant` are the numbers of images.

        Only the images that are counted one by one in a draw are put in order, see `resampled`.
        """
        own = scores[relevant]
        marks, hits = np.unique(own, return_counts=True)
        lower = np.searchsorted(ascending, marks)
        above = (len(scores) - lower)[::-1]
        exact = int(np.searchsorted(above, max(HEAD, DEEP * len(relevant)), side="right"))
        first = np.flatnonzero(scores >= marks[len(marks) - exact]) if exact else relevant[:0]
        return cls(
            scores=marks[::-1],
            below=np.where(lower > 0, ascending[lower - 1], marks)[::-1],
            above=above,
            hits=np.cumsum(hits[::-1]),
            first=_by_place(first, scores[first], marks),
            found=_by_place(relevant, own, marks),
            exact=exact,
            images=len(scores),
        )

    @property
    def precision(self) -> Floats:
        """At each place."""
        return np.asarray(self.hits / self.above)

    @property
    def recall(self) -> Floats:
        """At each place."""
        return np.asarray(self.hits / max(len(self.found), 1))

    def ap(self) -> float:
        """AP = sum_n (R_n - R_{n-1}) P_n over the places, highest first; nan without a relevant image.

        No interpolation (Manning, Raghavan and Schuetze, Introduction to Information Retrieval, 2008, 8.4; the
        definition that scikit-learn uses).
        """
        gained = np.diff(self.hits, prepend=0)
        return float((gained * self.precision).sum() / gained.sum()) if len(gained) else float("nan")

    def recall_at(self, precision: float) -> float:
        """The highest recall where precision is at least that much, 0 where it never is; nan without relevant ones."""
        if not len(self.hits):
            return float("nan")
        return float(self.recall[self.precision >= precision].max(initial=0.0))

    def precision_at(self, recall: float) -> float:
        """The highest precision where recall is at least that much; nan without a relevant image."""
        return float(self.precision[self.recall >= recall].max()) if len(self.hits) else float("nan")

    def threshold(self) -> float | None:
        """Half way between the score with the highest F1 and the next lower one; None without a relevant image.

        F1 is the harmonic mean of precision and recall (van Rijsbergen, 1979).
        """
        if not len(self.hits):
            return None
        best = int((self.hits / (self.above + self.hits[-1])).argmax())
        return float(self.scores[best] + self.below[best]) / 2

    def resampled(self) -> Resampled:
        """What is needed to count this ranking again for many resamples.

        The images above a place are counted one by one down to `HEAD` images, or `DEEP` times the relevant ones if that
        is more. Further down precision is at most 1 / `DEEP`, and images are counted in proportion: with 1,000 labels
        and 50,000 images that moves the AP of a label in a draw by some 0.00002, and is 40 times as fast.
        """
        from scipy.sparse import csr_array

        def table(images: Indices, ends: Ints) -> Any:
            starts = np.concatenate([[0], ends]).astype(np.int32)
            return csr_array((np.ones(len(images), np.float32), images, starts), shape=(len(ends), self.images))

        return Resampled(table(self.first, self.above[: self.exact]), table(self.found, self.hits), self.above)


class Resampled(NamedTuple):
    """`counted` and `relevant` say which images each place adds: sparse, places x images. `above` is of `Ranking`."""

    counted: Any
    relevant: Any
    above: Ints

    def ap(self, counts: Counts, whole: Counts) -> Floats:
        """AP for each column of `counts` (images x draws: how often an image is in a draw); nan without a hit.

        `whole` is the number of images in each draw, the sum of the column.
        """
        return np.asarray(self.measured(counts, whole)[0])

    def measured(self, counts: Counts, whole: Counts, levels: Sequence[float] = ()) -> Floats:
        """AP for each column of `counts`, as `ap` says, then the recall at each level of precision; figures x draws."""
        hits, seen = self.counted_again(counts, whole)
        precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
        gained = np.diff(hits, axis=0, prepend=np.float32(0))
        rows = [np.einsum("ij,ij->j", gained, precision, dtype=np.float64)]
        # A level that float32 cannot hold would exclude a precision that is equal to it.
        rows += [np.max(hits, axis=0, initial=0.0, where=precision >= np.float32(level)) for level in levels]
        found = hits[-1] if len(hits) else np.zeros_like(whole)
        table = np.stack(rows)
        return np.asarray(np.divide(table, found, out=np.full(table.shape, np.nan), where=found > 0))

    def counted_again(self, counts: Counts, whole: Counts) -> tuple[Counts, Counts]:
        """Relevant images and all images at or above each place, places x draws."""
        hits = np.cumsum(self.relevant @ counts, axis=0, dtype=np.float32)
        seen = np.cumsum(self.counted @ counts, axis=0, dtype=np.float32)
        if len(seen) < len(hits):
            last, done = (seen[-1], self.above[len(seen) - 1]) if len(seen) else (np.zeros_like(whole), 0)
            share = ((self.above[len(seen) :] - done) / max(len(counts) - done, 1)).astype(np.float32)
            seen = np.vstack([seen, last + share[:, None] * (whole - last)])
        return hits, seen


def _by_place(images: NDArray[np.int64], scores: Floats, marks: Floats) -> Indices:
    """Images in the order of the places that their scores reach, highest first; `marks` are those places, ascending."""
    place = len(marks) - np.searchsorted(marks, scores, side="right")
    return images[np.argsort(place, kind="stable")].astype(np.int32)


def average_precision(relevant: NDArray[np.bool_], scores: Floats) -> float:
    """AP of the scores of images that are `relevant` or not; nan without a relevant one. See `Ranking.ap`."""
    return Ranking.of(relevant, scores).ap()


def draws_of(images: int, draws: int, seed: int, groups: Ints | None = None) -> Iterator[Counts]:
    """How often each image is in each bootstrap draw: (images, some draws) again and again, `draws` in all.

    With `groups` (a number for each image, from 0 on) whole groups are drawn, because near-duplicates are no
    independent witnesses (Davison and Hinkley, Bootstrap Methods, 1997, 3.8).
    """
    rng = np.random.default_rng(seed)
    size = images if groups is None else int(groups.max(initial=-1)) + 1
    at_once = max(1, CELLS // max(images, 1))
    for start in range(0, draws, at_once):
        rows = [np.bincount(rng.integers(0, size, size), minlength=size) for _ in range(min(at_once, draws - start))]
        counts = np.ascontiguousarray(np.stack(rows).T, dtype=np.float32)
        yield counts if groups is None else counts[groups]


def interval(value: float, draws: Floats, most: float = 1.0) -> tuple[float | None, float | None]:
    """The 95 % percentile interval of the draws (Efron and Tibshirani, 1993, ch. 13), less their bias (10.6).

    A draw that holds a relevant image twice ranks it beside itself, which flatters: the mean of a thousand labels would
    lie outside of its own interval. No figure is under 0 or over `most`. Draws that are nan are left out; None where
    nothing is defined.
    """
    defined = draws[~np.isnan(draws)]
    if not defined.size or np.isnan(value):
        return None, None
    low, high = np.clip(np.percentile(defined, [2.5, 97.5]) - defined.mean() + value, 0.0, most)
    return float(low), float(high)
