"""How good a classifier is on one split: pure numbers, with intervals.

Average precision leads, because accuracy flatters where classes are unbalanced; accuracy stands beside the error of
always saying the most frequent label.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import calibrate
from pipelines.calibrate import Floats, Ints

CURVE_POINTS = 200
CELLS = 1_000_000  # resamples x images counted at once: about 50 MB


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision and recall of "score >= threshold" at every distinct score, from the highest down."""

    thresholds: Floats
    precision: Floats
    recall: Floats

    @classmethod
    def of(cls, relevant: NDArray[np.bool_], scores: Floats) -> Curve:
        """The curve of the scores of images that are `relevant` or not; equal scores stand or fall together."""
        order = np.argsort(-scores, kind="stable")
        last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
        hits = np.cumsum(relevant[order])[last]
        return cls(scores[order][last], hits / (last + 1), hits / max(int(relevant.sum()), 1))

    def f1(self) -> Floats:
        """The harmonic mean of precision and recall at each threshold."""
        both = self.precision + self.recall
        return np.divide(2 * self.precision * self.recall, both, out=np.zeros_like(both), where=both > 0)

    def best_threshold(self) -> float:
        """The threshold with the highest F1, half way to the next lower score: no image sits on it."""
        best = int(self.f1().argmax())
        return float(self.thresholds[best : best + 2].mean())

    def points(self) -> list[list[float]]:
        """At most `CURVE_POINTS` rows of [threshold, precision, recall], evenly spread, first and last among them."""
        kept = np.unique(np.linspace(0, len(self.thresholds) - 1, CURVE_POINTS).round().astype(np.int64))
        columns = (self.thresholds[kept], self.precision[kept], self.recall[kept])
        return [[round(float(value), 6) for value in row] for row in zip(*columns, strict=True)]


def average_precision(relevant: NDArray[np.bool_], scores: Floats) -> float:
    """AP = sum_n (R_n - R_{n-1}) P_n over the distinct scores, highest first; nan without a relevant image.

    No interpolation (Manning, Raghavan and Schuetze, Introduction to Information Retrieval, 2008, 8.4; the definition
    that scikit-learn uses).
    """
    return float(_weighted_ap(relevant, scores, np.ones((1, len(scores))))[0])


def macro_ap(probabilities: Floats, truth: Ints, weights: Floats | None = None) -> Floats:
    """The headline AP for each row of `weights` (resamples x images; None: once, unweighted).

    Two labels: AP of the first, the concept. More: the mean over the labels, each against the rest.
    """
    rows = np.ones((1, len(truth))) if weights is None else weights
    labels = range(1 if probabilities.shape[1] == 2 else probabilities.shape[1])
    each = [_weighted_ap(truth == k, probabilities[:, k], rows) for k in labels]
    return np.asarray(np.mean(each, axis=0))


def ap_interval(probabilities: Floats, truth: Ints, draws: int, seed: int) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of `macro_ap` over images (Efron and Tibshirani, 1993, ch. 13).

    Draws that miss a label altogether are left out.
    """
    rng = np.random.default_rng(seed)
    n = len(truth)
    values = []
    at_once = max(1, CELLS // n)
    for start in range(0, draws, at_once):
        weights = [np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(min(at_once, draws - start))]
        values.append(macro_ap(probabilities, truth, np.stack(weights).astype(np.float64)))
    found = np.concatenate(values)
    defined = found[~np.isnan(found)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def auc(relevant: NDArray[np.bool_], scores: Floats, weights: Floats | None = None) -> Floats:
    """The area under the ROC curve for each row of `weights` (resamples x images; None: once, unweighted).

    The chance that a relevant image scores higher than another one, ties counting half (Hanley and McNeil, 1982).
    """
    order = np.argsort(scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    rows = np.ones((1, len(scores))) if weights is None else weights[:, order]
    hits, others = (
        np.diff(np.cumsum(rows * side[order], axis=1)[:, last], axis=1, prepend=0.0) for side in (relevant, ~relevant)
    )
    below = np.cumsum(others, axis=1) - others / 2
    pairs = hits.sum(axis=1) * others.sum(axis=1)
    return np.asarray(np.divide((hits * below).sum(axis=1), pairs, out=np.full(len(rows), np.nan), where=pairs > 0))


def at_most(found: int, of: int) -> float:
    """The share that must be expected at most, with 95 % confidence, where `found` of `of` images were seen to have it.

    3/n for none (Hanley and Lippman-Hand, 1983), else the one-sided bound of Clopper and Pearson (1934): the share at
    which so few would turn up with a chance of 5 % only. 1 where nothing was seen.
    """
    if found >= of:
        return 1.0
    if found == 0:
        return min(1.0, 3 / of)
    low, high = found / of, 1.0
    ways = [math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1) for k in range(found + 1)]
    for _ in range(60):  # halving: the chance of at most `found` falls as the share grows
        share = (low + high) / 2
        chance = sum(math.exp(w + k * math.log(share) + (of - k) * math.log1p(-share)) for k, w in enumerate(ways))
        low, high = (share, high) if chance > 0.05 else (low, share)
    return high


def decide(probabilities: Floats, threshold: float) -> Ints:
    """The label that is said: with two labels, the first from `threshold` on; with more, the most probable."""
    if probabilities.shape[1] == 2:
        return np.asarray(probabilities[:, 0] < threshold, dtype=np.int64)
    return np.asarray(probabilities.argmax(axis=1))


def confusion(said: Ints, truth: Ints, size: int) -> Ints:
    """Images by true label (row) and said label (column)."""
    return np.asarray(np.bincount(truth * size + said, minlength=size * size).reshape(size, size))


def measure(
    probabilities: Floats, truth: Ints, labels: Sequence[str], *, threshold: float, draws: int, seed: int
) -> dict[str, Any]:
    """Every figure of one split as plain JSON values; `threshold` was chosen on the validation split."""
    low, high = ap_interval(probabilities, truth, draws, seed)
    table = confusion(decide(probabilities, threshold), truth, len(labels))
    each = {label: average_precision(truth == k, probabilities[:, k]) for k, label in enumerate(labels)}
    return {
        "images": len(truth),
        "ap": float(macro_ap(probabilities, truth)[0]),
        "ap_low": low,
        "ap_high": high,
        "ap_by_label": each,
        "ece": calibrate.ece(probabilities, truth),
        "brier": calibrate.brier(probabilities, truth),
        "nll": calibrate.nll(probabilities, truth),
        "threshold": threshold,
        "error": 1 - float(np.trace(table)) / len(truth),
        "majority_error": 1 - float(np.bincount(truth).max()) / len(truth),
        "labels": list(labels),
        "confusion": table.tolist(),
        "pr_curve": Curve.of(truth == 0, probabilities[:, 0]).points(),
    }


def _weighted_ap(relevant: NDArray[np.bool_], scores: Floats, weights: Floats) -> Floats:
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    weights = weights[:, order]
    seen = np.cumsum(weights, axis=1)[:, last]
    hits = np.cumsum(weights * relevant[order], axis=1)[:, last]
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    gained = np.diff(hits, axis=1, prepend=0.0)
    total = hits[:, -1]
    area = (gained * precision).sum(axis=1)
    return np.asarray(np.divide(area, total, out=np.full(len(total), np.nan), where=total > 0))
