"""How good a classifier is on one split: pure numbers, with intervals.

Average precision leads, because accuracy flatters where classes are unbalanced; accuracy stands beside the error of
always saying the most frequent label. A figure that is not defined is None, and `undefined` says why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines import calibrate
from pipelines.calibrate import UNSCALED, Floats, Ints, Temperature
from pipelines.ranking import Ranking, draws_of, interval

CURVE_POINTS = 200
LEVELS = (0.9, 0.95, 0.99)  # of precision, where recall is told, and of recall, where precision is
FIXED = ("recall_at_precision", "precision_at_recall")
WRONG = 5  # errors that a precision allows where its recall is read: with fewer, no interval is told
PAIRS = 20  # confusions that are named
ROWS = 100  # labels whose confusion table is told row by row


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What was said of some images (images x labels), and what is true of them.

    `groups` numbers the near-duplicate groups, one for each image, where any group has more than one of them.
    """

    labels: tuple[str, ...]
    probabilities: Floats
    truth: Ints
    groups: Ints | None = None

    def rankings(self) -> list[Ranking]:
        """The ranking by the probability of each label."""
        return [Ranking.of(self.truth == k, column) for k, column in calibrate.columns(self.probabilities)]

    def counted(self) -> Ints:
        """Images of each label."""
        return np.bincount(self.truth, minlength=len(self.labels))

    def only(self, chosen: NDArray[np.bool_]) -> Sample:
        """Some of the images."""
        groups = None if self.groups is None else np.unique(self.groups[chosen], return_inverse=True)[1]
        return Sample(self.labels, self.probabilities[chosen], self.truth[chosen], groups)


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


class Prevalent(NamedTuple):
    """Precision where the share of relevant images is another than in the sample, with its 95 % interval."""

    value: float | None
    low: float
    high: float


def macro(each: Floats, counted: Ints) -> Floats:
    """The headline from the AP of every label (labels, or labels x draws).

    Two labels: that of the first, the concept. More: the mean over the labels that some images have and others have
    not; in a draw over those of them that it holds. nan where there is none.
    """
    defined = (counted > 0) & (counted < counted.sum())
    chosen = each[[0]] if len(each) == 2 else each[defined]
    if not defined.any():
        return np.asarray(np.full(each.shape[1:], np.nan))
    known = ~np.isnan(chosen)
    some = known.sum(axis=0)
    total = np.where(known, chosen, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, some, out=np.full(np.shape(total), np.nan), where=some > 0))


def best_thresholds(sample: Sample, rankings: Sequence[Ranking] | None = None) -> dict[str, float]:
    """Label -> the threshold with the highest F1 against all others; 0.5 for a label without an image."""
    marks = [ranking.threshold() for ranking in rankings or sample.rankings()]
    return {label: 0.5 if mark is None else mark for label, mark in zip(sample.labels, marks, strict=True)}


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


def cells(table: Ints) -> list[list[int]]:
    """A confusion table as JSON holds it: its rows, or of more than `ROWS` labels [true, said, images] where not 0.

    A thousand labels have a million cells, and hardly more of them than images are not 0.
    """
    if len(table) <= ROWS:
        return [list(row) for row in table.tolist()]
    at = np.argwhere(table)
    return [[*where, n] for where, n in zip(at.tolist(), table[tuple(at.T)].tolist(), strict=True)]


def table_of(found: Mapping[str, Any]) -> Ints:
    """The confusion table of figures, whichever way `cells` wrote it down."""
    size, rows = len(found["labels"]), np.asarray(found["confusion"], dtype=np.int64)
    if rows.shape == (size, size):
        return rows
    table = np.zeros((size, size), dtype=np.int64)
    true, said, images = rows.reshape(-1, 3).T
    table[true, said] = images
    return table


def at_prevalence(table: Ints, share: float, draws: int = 20_000) -> Prevalent:
    """The precision of the first label where it is on `share` of the images, from a confusion table.

    Bayes: precision = share x TPR / (share x TPR + (1 - share) x FPR). The interval draws both rates from their
    posterior under Jeffreys' prior (Brown, Cai and DasGupta, 2001), which no count of zero makes certain.
    """
    right, missed = int(table[0, 0]), int(table[0, 1:].sum())
    false, passed = int(table[1:, 0].sum()), int(table[1:, 1:].sum())
    rng = np.random.default_rng(0)
    rates = rng.beta(right + 0.5, missed + 0.5, draws), rng.beta(false + 0.5, passed + 0.5, draws)
    low, high = np.percentile(_bayes(*rates, share), [2.5, 97.5])
    if not right + missed or not false + passed or not right + false:
        return Prevalent(None, float(low), float(high))
    found = _bayes(np.array(right / (right + missed)), np.array(false / (false + passed)), share)
    return Prevalent(float(found), float(min(low, found)), float(max(high, found)))


def measure(
    sample: Sample,
    *,
    thresholds: Mapping[str, float] | None,
    draws: int,
    seed: int,
    temperature: Temperature = UNSCALED,
) -> dict[str, Any]:
    """Every figure of one split as plain JSON values.

    Args:
        sample: the split; its probabilities have the temperature in them.
        thresholds: label -> threshold as it was chosen on validation; None on validation itself: chosen here.
        draws: of the bootstrap behind the intervals.
        seed: of those draws.
        temperature: what `sample` was calibrated with.
    """
    probabilities, truth = sample.probabilities, sample.truth
    rankings = sample.rankings()
    chosen = thresholds or best_thresholds(sample, rankings)
    counted = sample.counted()
    said = decide(probabilities, chosen[sample.labels[0]])
    table = confusion(said, truth, len(sample.labels))
    each = np.array([ranking.ap() for ranking in rankings])
    each[(counted == 0) | (counted == len(truth))] = np.nan
    ap = float(macro(each, counted))
    terms = np.stack(
        [said != truth, calibrate.brier_terms(probabilities, truth), calibrate.nll_terms(probabilities, truth)]
    )
    again, means = _resample(sample, rankings, terms, draws, seed)
    aps = again[:, 0]
    calibrated = _calibration(probabilities, truth)
    found: dict[str, Any] = {
        "images": len(truth),
        "draws": draws,
        "groups": len(truth) if sample.groups is None else int(sample.groups.max()) + 1,
        **_with_interval("ap", ap, macro(aps, counted)),
        **_with_interval("error", float(terms[0].mean()), means[0]),
        **_with_interval("brier", float(terms[1].mean()), means[1], 2.0),
        **_with_interval("nll", float(terms[2].mean()), means[2], math.inf),
        "ece": calibrated["ece"],
        **dict(zip(("ece_low", "ece_high"), calibrate.ece_interval(probabilities, truth, means[3], seed), strict=True)),
        "classwise_ece": calibrated["classwise_ece"],
        "reliability": [list(row) for row in calibrate.reliability(probabilities, truth)],
        "uncalibrated": _uncalibrated(probabilities, truth, temperature.value, calibrated),
        "temperature": temperature.value,
        "temperature_fit": temperature._asdict(),
        "threshold": chosen[sample.labels[0]],
        "thresholds": dict(chosen),
        "majority_error": 1 - float(counted.max()) / len(truth),
        "by_label": _by_label(sample, rankings, each, again, chosen),
        "labels": list(sample.labels),
        "confusion": cells(table),
        "confused": _confused(table, sample.labels),
        "pr_curve": Curve.of(truth == 0, probabilities[:, 0]).points(),
        "undefined": _undefined(sample, counted),
    }
    rows = list(found["by_label"].values())
    rows = rows[:1] if len(rows) == 2 else rows
    mean_of = {name: {level: _mean([row[name][level] for row in rows]) for level in map(str, LEVELS)} for name in FIXED}
    ends = [_recall_interval(rankings[0], level, draws) for level, draws in zip(LEVELS, again[0, 1:], strict=False)]
    return {
        **found,
        "ap_by_label": {label: row["ap"] for label, row in found["by_label"].items()},
        **mean_of,
        "recall_at_precision_low": {str(level): low for level, (low, _) in zip(LEVELS, ends, strict=False)},
        "recall_at_precision_high": {str(level): high for level, (_, high) in zip(LEVELS, ends, strict=False)},
    }


def _resample(sample: Sample, rankings: list[Ranking], terms: Floats, draws: int, seed: int) -> tuple[Floats, Floats]:
    """AP of every label, of two also the recall at `LEVELS` (labels x figures x draws); means of terms, and ECE."""
    levels = LEVELS if len(rankings) == 2 else ()
    again = [ranking.resampled() for ranking in rankings]
    gaps = calibrate.ece_terms(sample.probabilities, sample.truth)
    ranked, means = [], []
    for counts in draws_of(len(sample.truth), draws, seed, sample.groups):
        whole = counts.sum(axis=0)
        ranked.append(np.stack([each.measured(counts, whole, levels) for each in again]))
        summed = np.vstack([terms.astype(np.float32) @ counts, np.abs(gaps @ counts).sum(axis=0)])
        means.append(summed / whole)
    return np.concatenate(ranked, axis=2), np.concatenate(means, axis=1)


def _by_label(
    sample: Sample, rankings: list[Ranking], each: Floats, again: Floats, thresholds: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    marks = np.array([thresholds[label] for label in sample.labels])
    said, right = _from_threshold(sample, marks)
    found: dict[str, dict[str, Any]] = {}
    for k, (label, ranking) in enumerate(zip(sample.labels, rankings, strict=True)):
        relevant = len(ranking.found)
        found[label] = {
            "images": relevant,
            **_with_interval("ap", float(each[k]), again[k, 0]),
            "threshold": thresholds[label],
            "precision": right[k] / said[k] if said[k] else None,
            "recall": right[k] / relevant if relevant else None,
            "recall_at_precision": {str(level): _plain(ranking.recall_at(level)) for level in LEVELS},
            "precision_at_recall": {str(level): _plain(ranking.precision_at(level)) for level in LEVELS},
        }
    return found


def _from_threshold(sample: Sample, marks: Floats) -> tuple[list[int], list[int]]:
    """For each label, how many images reach its threshold, and how many of these are of that label."""
    own = sample.probabilities[np.arange(len(sample.truth)), sample.truth] >= marks[sample.truth]
    right = np.bincount(sample.truth[own], minlength=len(marks))
    said = np.zeros(len(marks), dtype=np.int64)
    at_once = max(1, calibrate.CELLS // len(marks))
    for start in range(0, len(own), at_once):
        said += (sample.probabilities[start : start + at_once] >= marks).sum(axis=0)
    return said.tolist(), right.tolist()


def _calibration(probabilities: Floats, truth: Ints) -> dict[str, float]:
    names = ("ece", "classwise_ece", "brier", "nll")
    return {name: getattr(calibrate, name)(probabilities, truth) for name in names}


def _uncalibrated(probabilities: Floats, truth: Ints, heat: float, calibrated: dict[str, float]) -> dict[str, float]:
    """The figures of calibration without the temperature, which are the same where it is 1."""
    return calibrated if heat == 1 else _calibration(calibrate.soften(probabilities, 1 / heat), truth)


def _confused(table: Ints, labels: Sequence[str]) -> list[list[Any]]:
    """The most frequent confusions: [true label, said label, images]."""
    wrong = table.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    pairs = (np.unravel_index(at, wrong.shape) for at in order)
    return [[labels[true], labels[said], int(wrong[true, said])] for true, said in pairs if wrong[true, said]]


def _undefined(sample: Sample, counted: Ints) -> dict[str, str]:
    """Figure -> why it has no value here."""
    if len(counted) > 1 and (counted == len(sample.truth)).any():
        only = sample.labels[int(counted.argmax())]
        return {"ap": f"every image here is `{only}`: there is nothing to rank it above"}
    empty = [label for label, n in zip(sample.labels, counted, strict=True) if not n]
    return {f"ap of {label}": f"no image here is `{label}`" for label in empty}


def _with_interval(name: str, value: float, draws: Floats, most: float = 1.0) -> dict[str, float | None]:
    low, high = interval(value, draws, most)
    return {name: _plain(value), f"{name}_low": low, f"{name}_high": high}


def _recall_interval(ranking: Ranking, level: float, draws: Floats) -> tuple[float | None, float | None]:
    """The 95 % percentile interval of the recall at a precision; None where fewer than `WRONG` errors decide about it.

    Draws of a figure that hangs on one error say too little: half of such intervals held the truth in simulations.
    """
    value, known = ranking.recall_at(level), draws[~np.isnan(draws)]
    if math.isnan(value) or value * len(ranking.found) * (1 - level) / level < WRONG:
        return None, None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(min(low, value)), float(max(high, value))


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _bayes(right: Floats, false: Floats, share: float) -> Floats:
    return np.asarray(share * right / (share * right + (1 - share) * false))
