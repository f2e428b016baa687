"""Is a probability of 0.8 right eight times in ten? Pure numbers: probabilities (images x labels) and true labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Single = NDArray[np.float32]
Ints = NDArray[np.int64]

LEAST = 30  # calibration images: fewer say nothing of a temperature
COOLEST, HOTTEST = 0.05, 20.0
CELLS = 100_000  # probabilities looked at in one go: they stay in the cache of a core
DRIFT = 4  # epochs whose trend the alarm looks at: early stopping on the log loss leaves no more after its lowest
SURE = 2.92  # Student's t at 95 %, one-sided, two degrees of freedom: the trend of four epochs


class Temperature(NamedTuple):
    """A temperature with its 95 % interval, from `images` of the calibration split; `reason` says why it is 1.

    `nll` is the log loss of those images without it, `nll_left_out` with one that the image itself had no part in.
    """

    value: float = 1.0
    low: float | None = None
    high: float | None = None
    images: int = 0
    nll: float | None = None
    nll_left_out: float | None = None
    reason: str = "there is no calibration split"


UNSCALED = Temperature()


def reliability(probabilities: Floats, truth: Ints, bins: int = 15) -> list[tuple[float, float, int]]:
    """(mean probability of the most probable label, share that was right, images) over bins of equally many images.

    Bins of equal mass as in Nixon et al., CVPRW 2019. Few images make fewer bins, so that each holds ten.
    """
    top = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    return [(float(top[part].mean()), float(right[part].mean()), len(part)) for part in _equal_mass(top, bins)]


def ece(probabilities: Floats, truth: Ints, bins: int = 15) -> float:
    """Expected calibration error: sum_b n_b / n * |share right in b - mean probability of the top label in b|.

    Naeini, Cooper and Hauskrecht, AAAI 2015, over the bins of `reliability`.
    """
    rows = reliability(probabilities, truth, bins)
    return sum(n * abs(right - probability) for probability, right, n in rows) / len(truth)


def ece_terms(probabilities: Floats, truth: Ints, bins: int = 15) -> Any:
    """How `ece` comes about, to be counted again: what each image adds to its bin, sparse, bins x images.

    `|terms @ counts|.sum(axis=0) / counts.sum(axis=0)` is the ECE where `counts` has how often each image counts; the
    bins stay those of the sample.
    """
    from scipy.sparse import csr_array

    top = probabilities.max(axis=1)
    gap = (probabilities.argmax(axis=1) == truth) - top
    parts = _equal_mass(top, bins)
    starts = np.cumsum([0, *(len(part) for part in parts)])
    order = np.concatenate(parts)
    return csr_array((gap[order].astype(np.float32), order, starts), shape=(len(parts), len(top)))


def ece_interval(probabilities: Floats, truth: Ints, again: Floats, seed: int) -> tuple[float, float]:
    """The 95 % interval of `ece` from its bootstrap draws `again`.

    Few images make the ECE too large (Roelofs et al., AISTATS 2022), and draws from them once more: so their bias is
    taken off twice, from the draws and from the figure. It begins at 0 where a model that is right as often as it says
    would show as much in one of twenty samples (Broecker and Smith, Weather and Forecasting 22 (2007) 651).
    """
    value = ece(probabilities, truth)
    low, high = np.clip(np.percentile(again, [2.5, 97.5]) - 2 * (again.mean() - value), 0.0, 1.0)
    by_chance = np.percentile(_ece_by_chance(probabilities.max(axis=1), seed), 95)
    return (0.0 if value <= by_chance else float(min(low, value))), float(max(high, value))


def _ece_by_chance(top: Floats, seed: int, bins: int = 15, draws: int = 200) -> Floats:
    """The ECE of a model whose most probable labels are right as often as it says, in draws of what is right."""
    rng = np.random.default_rng(seed)
    parts = _equal_mass(top, bins)
    starts = np.cumsum([0, *(len(part) for part in parts)])[:-1]
    sure = top[np.concatenate(parts)]
    gaps = [np.add.reduceat((rng.random(len(sure)) < sure) - sure, starts) for _ in range(draws)]
    return np.asarray(np.abs(gaps).sum(axis=1) / len(sure))


def classwise_ece(probabilities: Floats, truth: Ints, bins: int = 15) -> float:
    """The mean over the labels k of sum_b n_b / n * |share of k in b - mean probability of k in b|.

    Kull et al., NeurIPS 2019, with bins of equal mass for each label.
    """
    n, size = probabilities.shape
    edges = np.array([0, *np.cumsum([len(part) for part in np.array_split(np.arange(n), _bins(n, bins))])[:-1]])
    gaps = np.empty(size)
    for k, column in columns(probabilities):
        relevant = np.flatnonzero(truth == k)
        ascending = np.sort(column)
        inside = np.searchsorted(edges, _places(relevant, column, ascending), side="right") - 1
        hits = np.bincount(inside, minlength=len(edges))
        gaps[k] = np.abs(hits - np.add.reduceat(ascending, edges)).sum()
    return float(gaps.mean() / n)


def _places(images: Ints, scores: Floats, ascending: Floats) -> Ints:
    """Where some images stand when all are sorted by score, equal ones as they came: without sorting the numbers."""
    first, after = (np.searchsorted(ascending, scores[images], side=side) for side in ("left", "right"))
    if (after - first <= 1).all():
        return np.asarray(first)
    order = np.argsort(scores, kind="stable")
    return np.asarray(np.argsort(order, kind="stable")[images])


def columns(probabilities: Floats) -> Iterator[tuple[int, Floats]]:
    """The number and the probabilities of each label, laid out one after the other: to walk a table across is slow."""
    for start in range(0, probabilities.shape[1], 64):
        yield from enumerate(np.ascontiguousarray(probabilities[:, start : start + 64].T), start)


def brier(probabilities: Floats, truth: Ints) -> float:
    """Brier score (1950): mean over images of sum_k (p_k - y_k)^2; halved for two labels, as is usual, so 0 to 1."""
    return float(brier_terms(probabilities, truth).mean())


def nll(probabilities: Floats, truth: Ints) -> float:
    """Negative log-likelihood of the true labels, in nats for one image."""
    return float(nll_terms(probabilities, truth).mean())


def brier_terms(probabilities: Floats, truth: Ints) -> Floats:
    """What each image adds to the Brier score."""
    squares = np.einsum("ij,ij->i", probabilities, probabilities)
    wrong = squares - 2 * probabilities[np.arange(len(truth)), truth] + 1
    return np.asarray(wrong / (2 if probabilities.shape[1] == 2 else 1))


def nll_terms(probabilities: Floats, truth: Ints) -> Floats:
    """What each image adds to the log loss; a certain and wrong one adds 36 nats."""
    given = probabilities[np.arange(len(truth)), truth]
    return np.asarray(-np.log(np.maximum(given, np.finfo(np.float64).eps)))


def soften(probabilities: Floats, heat: float) -> Floats:
    """Probabilities at a temperature: proportional to p^(1 / heat)."""
    found = np.empty(probabilities.shape)
    at_once = max(1, CELLS // probabilities.shape[1])
    for start in range(0, len(found), at_once):
        here = slice(start, start + at_once)
        logs = _logs(probabilities[here]) / heat
        grown = np.exp(logs - logs.max(axis=1, keepdims=True))
        found[here] = grown / grown.sum(axis=1, keepdims=True)
    return found


def temperature(probabilities: Floats, truth: Ints, *, smoothing: float = 0.0) -> float:
    """The T for which p^(1/T), normalized, has the lowest log loss (Guo et al., ICML 2017); 1 is calibrated already.

    The loss is convex in 1 / T and Newton's method finds its minimum, sought from 0.05 to 20. `smoothing` spreads so
    much of every true label over all of them.
    """
    return 1 / _best_power(*_split_logs(probabilities, truth, smoothing))


def fit_temperature(probabilities: Floats, truth: Ints) -> Temperature:
    """The temperature of a calibration split, or 1 where these images do not show that another is better.

    Scaling can make things worse on other images (github.com/gpleiss/temperature_scaling/issues/29). So it is kept only
    if it lowers the log loss of images that had no part in it: leave-one-out by one step of Newton (the jackknife of
    Efron and Tibshirani, 1993, ch. 11). Though all n images are right, one error in n + 2 must be expected (Laplace):
    that much of each label is spread, as Platt (1999) does. The interval takes the curvature or the spread of the
    slopes, whichever is wider (Huber's sandwich).
    """
    n = len(truth)
    if n < LEAST:
        few = f"{n} calibration images are too few for a temperature, {LEAST} are needed"
        return Temperature(images=n, reason=few if n else UNSCALED.reason)
    plain = nll(probabilities, truth)
    logs, own = _split_logs(probabilities, truth, 1 / (n + 2))
    power = _best_power(logs, own)
    _, slope, curvature = _terms(logs, own, np.full(n, power))
    bent = float(curvature.sum())
    if bent <= 0:
        return Temperature(images=n, nll=plain, reason="every image has the same probability for every label")
    without = power + slope / np.maximum(bent - curvature, 1e-9 * bent)
    real = logs[np.arange(n), truth]
    left_out = float(_terms(logs, real, np.clip(without, 1 / HOTTEST, 1 / COOLEST))[0].mean())
    if left_out >= plain:
        said = f"a temperature of {1 / power:.2f} would not lower the log loss of images left out, so 1 was kept"
        return Temperature(images=n, nll=plain, nll_left_out=left_out, reason=said)
    error = 1.96 * max(float((slope**2).sum()), bent) ** 0.5 / bent
    hottest = min(HOTTEST, 1 / (power - error)) if power > error else HOTTEST
    return Temperature(1 / power, 1 / (power + error), hottest, n, plain, left_out, "")


def drift(history: Sequence[Mapping[str, float]]) -> str | None:
    """A sentence if the validation error falls while its loss rises: probabilities drift away from what is right.

    `history` has a row for each epoch, with `epoch`, `error` and `nll` (both of validation). A trend counts if the
    slope of a straight line through `DRIFT` epochs is more than chance makes it; fewer epochs say nothing.
    """
    rows = [row for row in history if np.isfinite(row["error"]) and np.isfinite(row["nll"])]
    alarmed = [
        start
        for start in range(len(rows) - DRIFT + 1)
        if _trend([row["error"] for row in rows[start : start + DRIFT]]) < -SURE
        and _trend([row["nll"] for row in rows[start : start + DRIFT]]) > SURE
    ]
    if not alarmed:
        return None
    first = next(start for at, start in enumerate(alarmed) if alarmed[-1] - start == len(alarmed) - 1 - at)
    begun, ended = rows[first], rows[alarmed[-1] + DRIFT - 1]
    best = min(rows, key=lambda row: row["nll"])
    return (
        f"calibration drifts: from epoch {begun['epoch']:.0f} to {ended['epoch']:.0f} the error fell from "
        f"{begun['error']:.3f} to {ended['error']:.3f} while the loss rose from {begun['nll']:.3f} to "
        f"{ended['nll']:.3f}, so its probabilities grow too sure; the loss was lowest in epoch {best['epoch']:.0f}"
    )


def _equal_mass(scores: Floats, bins: int) -> list[Ints]:
    """Images of each bin, the lowest scores first."""
    return np.array_split(np.argsort(scores, kind="stable"), _bins(len(scores), bins))


def _bins(images: int, most: int) -> int:
    return max(1, min(most, images // 10))


def _logs(probabilities: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(probabilities, 1e-12)))


def _split_logs(probabilities: Floats, truth: Ints, smoothing: float) -> tuple[Floats, Floats]:
    """Log probabilities less the highest of their row, and of these that of the (smoothed) true label."""
    logs = _logs(probabilities)
    logs -= logs.max(axis=1, keepdims=True)
    own = logs[np.arange(len(truth)), truth]
    return logs, (1 - smoothing) * own + smoothing * logs.mean(axis=1) if smoothing else own


def _best_power(logs: Floats, own: Floats) -> float:
    """The power with the lowest loss: first on some of the images, then, from there, on all."""
    power, few = 1.0, len(own) // 20
    for part in (few, len(own)) if few > 1000 else (len(own),):
        power = _newton(logs[:part], own[:part], power)
    return power


def _newton(logs: Floats, own: Floats, power: float) -> float:
    low, high = 1 / HOTTEST, 1 / COOLEST
    for _ in range(60):
        _, slope, curvature = _terms(logs, own, np.full(len(own), power))
        if slope.sum() > 0:
            high = power
        else:
            low = power
        bent = float(curvature.sum())
        after = power - float(slope.sum()) / bent if bent > 0 else np.inf
        after = after if low < after < high else (low * high) ** 0.5  # outside of what is possible: halve
        if abs(after - power) <= 1e-6 * power:  # the next step would be a millionth of a millionth
            return after
        power = after
    return power


def _terms(logs: Floats, own: Floats, power: Floats) -> tuple[Floats, Floats, Floats]:
    """Loss of p^power, and its first and second derivative by power, for each image."""
    found = np.empty((3, len(own)))
    at_once = max(1, CELLS // logs.shape[1])
    for start in range(0, len(own), at_once):
        here = slice(start, start + at_once)
        some = logs[here]
        grown = np.exp(some * power[here, None])
        whole = grown.sum(axis=1)
        mean = np.einsum("ij,ij->i", grown, some) / whole
        spread = np.einsum("ij,ij->i", grown, (some - mean[:, None]) ** 2) / whole
        found[:, here] = np.log(whole) - power[here] * own[here], mean - own[here], spread
    return found[0], found[1], found[2]


def _trend(values: Sequence[float]) -> float:
    """Student's t of the slope of the straight line through the values; infinite for a straight line itself."""
    x = np.arange(len(values)) - (len(values) - 1) / 2
    y = np.asarray(values) - np.mean(values)
    slope = float(x @ y / (x @ x))
    left = float(((y - slope * x) ** 2).sum()) / (len(values) - 2)
    if abs(slope) * len(values) < 1e-9:
        return 0.0
    return slope / float(np.sqrt(left / (x @ x))) if left > 1e-18 else float(np.copysign(np.inf, slope))
