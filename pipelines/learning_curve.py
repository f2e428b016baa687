"""What more labels would bring: the error of heads that learned from parts of the training images, and its power law.

Errors fall as error = a n^-b + c over many sizes n (Cortes et al., NIPS 1993; Hestness et al., arXiv 1712.00409), a
straight line on log-log axes until it bends towards c. Few points tell three numbers badly and extrapolation tends to
be hopeful (Mahmood et al., CVPR 2022): so there are intervals, and no word on more than ten times as many labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipelines.calibrate import Floats, Ints
from pipelines.metrics import Sample, macro
from pipelines.ranking import draws_of, interval

Fit = Callable[[Ints], Floats]

SMALLEST = 1 / 32  # of the training images
REPEATS = 5  # seeds of a size at most; half the size, twice the seeds: all fits together take twice the time of one
DRAWS = 200
CELLS = 20_000_000  # validation images x labels, over which AP takes too long and the plain error is told
TARGETS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
FAR = 10  # times as many labels: beyond that nothing is told
STEPS = 30  # numbers of labels at which the law and its interval are written down
OFF = 0.05  # share of an error by which no law is exact: small sizes, well measured, must not decide all
SHARES = np.linspace(0, 0.98, 50)  # of the smallest error, tried as c


class Part(NamedTuple):
    """Row numbers of a random part of the training images; parts with one `repeat` are nested."""

    size: int
    repeat: int
    rows: Ints


class Law(NamedTuple):
    """error = a n^-b + c, for each of some draws; `r2` is the share of the variance of log(error - c) it explains."""

    a: Floats
    b: Floats
    c: Floats
    r2: Floats

    def error(self, labels: float) -> Floats:
        """The error with so many labels."""
        return np.asarray(self.a * labels**-self.b + self.c)

    def labels(self, error: float) -> Floats:
        """How many labels bring the error down to this; infinite where it never gets there."""
        left = error - self.c
        with np.errstate(divide="ignore", over="ignore"):
            needed = (self.a / np.where(left > 0, left, np.nan)) ** (1 / np.maximum(self.b, 1e-9))
        return np.asarray(np.where((left > 0) & (self.b > 0), needed, np.inf))


def learning_curve(
    fit: Fit, truth: Ints, groups: Sequence[str], whole: Sample, *, seed: int, draws: int = DRAWS
) -> dict[str, Any]:
    """The curve as plain JSON values: `points`, `law`, `forecasts`, and in `says` what follows.

    `band` is the law as rows of labels, error, and the ends of its 95 % interval.

    Args:
        fit: takes row numbers of training images and returns what a head that learned from them says of validation:
            (images, labels).
        truth: the label of each training image.
        groups: the near-duplicate group of each; none is parted.
        whole: what the head that learned from all says of validation.
        seed: of the parts and of the draws.
        draws: resamples of the validation images.
    """
    said = parts(truth, groups, seed)
    if not said:
        return _nothing(f"{len(truth)} training images are too few to learn from parts of them")
    counted = whole.counted()
    ranked = whole.probabilities.size <= CELLS and bool(((counted > 0) & (counted < len(whole.truth))).any())
    rows: dict[int, list[tuple[float, Floats, float]]] = {}
    for part in said:
        sample = Sample(whole.labels, fit(part.rows), whole.truth, whole.groups)
        rows.setdefault(part.size, []).append(_errors(sample, min(draws, DRAWS), seed, ranked=ranked))
    rows[len(truth)] = [_errors(whole, min(draws, DRAWS), seed, ranked=ranked)]
    sizes = np.array(sorted(rows), dtype=np.float64)
    measured = [rows[int(size)] for size in sizes]
    points = np.array([np.mean([value for value, _, _ in each]) for each in measured])
    again = _redrawn(measured, seed)
    shown = []
    for size, value, row, each in zip(sizes, points, again, measured, strict=True):
        low, high = interval(float(value), row)
        point = {"labels": int(size), "repeats": len(each), "wrong": float(np.mean([wrong for _, _, wrong in each]))}
        shown.append({**point, "error": float(value), "error_low": low, "error_high": high})
    metric = "ap" if ranked else "error"
    return {"metric": metric, "points": shown, **_forecast(metric, sizes, points, again)}


def parts(truth: Ints, groups: Sequence[str], seed: int) -> list[Part]:
    """Nested random parts in geometric sizes, every label in its share; none where a label has fewer than four images.

    The smallest holds two images of the rarest label, and 10 images.
    """
    counts = np.bincount(truth)
    smallest = max(SMALLEST, 2 / int(counts[counts > 0].min()), 10 / len(truth))
    if smallest > 0.5:
        return []
    steps = 5 if smallest <= 1 / 8 else 3
    shares = smallest ** (np.arange(1, steps + 1) / steps)
    _, first, group = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
    found = []
    for repeat in range(REPEATS):
        rng = np.random.default_rng((seed, repeat))
        order = np.argsort(_places(truth[first], rng)[group], kind="stable")
        for share in shares:
            if repeat < max(1, round(0.4 / share)):
                size = round(share * len(truth))
                found.append(Part(size, repeat, np.sort(order[:size])))
    return found


def fit_law(sizes: Floats, errors: Floats, spread: Floats) -> Law:
    """The power law through errors (points, or points x draws), least squares weighted by the `spread` of each point.

    For each c that is tried, a line through log(error - c) over log n; the c whose curve is nearest wins.
    """
    table = errors.reshape(len(sizes), -1)
    c = table.min(axis=0) * SHARES[:, None]  # tried x draws
    left = table[:, None, :] - c
    weight = (left / spread[:, None, None]) ** 2
    x, y = np.log(sizes)[:, None, None], np.log(left)
    mass = weight.sum(axis=0)
    mean_x, mean_y = (weight * x).sum(axis=0) / mass, (weight * y).sum(axis=0) / mass
    slope = (weight * (x - mean_x) * (y - mean_y)).sum(axis=0) / (weight * (x - mean_x) ** 2).sum(axis=0)
    line = mean_y + slope * (x - mean_x)
    off = (((np.exp(line) - left) / spread[:, None, None]) ** 2).sum(axis=0)
    best = off.argmin(axis=0), np.arange(table.shape[1])
    unexplained = (weight * (y - line) ** 2).sum(axis=0)
    total = np.maximum((weight * (y - mean_y) ** 2).sum(axis=0), 1e-300)
    return Law(np.exp(mean_y - slope * mean_x)[best], -slope[best], c[best], (1 - unexplained / total)[best])


def _forecast(metric: str, sizes: Floats, points: Floats, again: Floats) -> dict[str, Any]:
    """The law with its intervals, what it says of more labels, and the sentence."""
    n, error = float(sizes[-1]), float(points[-1])
    unknown: dict[str, Any] = {"law": None, "band": [], "doubled": None, "forecasts": []}
    if error <= 0:
        return {**unknown, "says": "nothing on validation is ranked wrong: more labels cannot show there"}
    spread = np.hypot(again.std(axis=1), OFF * points)
    tiny = 1e-3 * error
    law = fit_law(sizes, np.maximum(points, tiny), spread)
    drawn = fit_law(sizes, np.maximum(again, tiny), spread)
    fall = again[0] - again[-1]
    if points[0] - error <= 2 * fall.std():
        return {**unknown, "says": "the error falls no further than chance: these images show no gain from more labels"}
    described = _described(law, drawn)
    if law.b[0] <= 0 or law.r2[0] < 0.8:
        return {**unknown, "law": described, "says": "the errors follow no power law, so nothing is foretold"}
    name = "AP" if metric == "ap" else "accuracy"
    after = 1 - law.error(2 * n)[0]
    low, high = _between(1 - drawn.error(2 * n))
    doubled = {"value": float(after), "low": low, "high": high}
    grid = np.geomspace(sizes[0], FAR * n, STEPS)
    band = [[float(at), float(law.error(at)[0]), *_between(drawn.error(at))] for at in grid]
    forecasts = [_labels_for(target, law, drawn, n) for target in TARGETS if target > 1 - error + spread[-1]][:2]
    says = [_sentence(each, name, n) for each in forecasts[:1]]
    says.append(f"twice as many would bring {name} from {1 - error:.3f} to {after:.3f} [{low:.3f}, {high:.3f}]")
    if error - law.error(2 * n)[0] < 0.05 * error:
        says.append("it has all but leveled off: better labels or another backbone bring more")
    return {"law": described, "band": band, "doubled": doubled, "forecasts": forecasts, "says": "; ".join(says)}


def _labels_for(target: float, law: Law, drawn: Law, n: float) -> dict[str, Any]:
    """How many more labels bring AP (or accuracy) to `target`; None for more than `FAR` times as many as there are."""
    low, high = np.percentile(np.minimum(drawn.labels(1 - target), 1e15), [2.5, 97.5]) - n
    value = float(law.labels(1 - target)[0] - n)
    limit = (FAR - 1) * n
    kept = [None if each > limit else max(0, round(each)) for each in (value, low, high)]
    return {"target": target, "labels": kept[0], "labels_low": kept[1], "labels_high": kept[2]}


def _sentence(forecast: dict[str, Any], name: str, n: float) -> str:
    target, most = f"{name} {forecast['target']:g}", f"{round((FAR - 1) * n):,}"
    if forecast["labels"] is None:
        least = forecast["labels_low"]
        return f"{target} needs more than {most} more labels" + (f", at the very least {least:,}" if least else "")
    high = f"more than {most}" if forecast["labels_high"] is None else f"{forecast['labels_high']:,}"
    low = f"{forecast['labels_low']:,}" if forecast["labels_low"] is not None else "?"
    return f"about {forecast['labels']:,} more labels for {target} [{low}, {high}]"


def _described(law: Law, drawn: Law) -> dict[str, float]:
    found = {"r2": float(law.r2[0])}
    for name in ("a", "b", "c"):
        low, high = _between(getattr(drawn, name))
        found |= {name: float(getattr(law, name)[0]), f"{name}_low": low, f"{name}_high": high}
    return found


def _between(values: Floats) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _errors(sample: Sample, draws: int, seed: int, *, ranked: bool) -> tuple[float, Floats, float]:
    """1 - AP (or the share of wrong answers), the same for each draw of the images, and the share of wrong answers."""
    counted = sample.counted()
    wrong = (sample.probabilities.argmax(axis=1) != sample.truth).astype(np.float32)
    rankings = sample.rankings() if ranked else []
    again = [ranking.resampled() for ranking in rankings]
    found: list[Floats] = []
    for counts in draws_of(len(sample.truth), draws, seed, sample.groups):
        whole = counts.sum(axis=0)
        if ranked:
            found.append(1 - macro(np.stack([each.ap(counts, whole) for each in again]), counted))
        else:
            found.append(wrong @ counts / whole)
    drawn = np.concatenate(found)
    value = 1 - float(macro(np.array([each.ap() for each in rankings]), counted)) if ranked else float(wrong.mean())
    mean = float(np.nanmean(drawn))
    return value, np.nan_to_num(drawn, nan=mean) - mean + value, float(wrong.mean())


def _redrawn(measured: Sequence[Sequence[tuple[float, Floats, float]]], seed: int) -> Floats:
    """The error of each size in each draw, (sizes, draws): other validation images, and other repeats of the part."""
    rng = np.random.default_rng(seed)
    rows = []
    for each in measured:
        table = np.stack([drawn for _, drawn, _ in each])  # repeats x draws
        picked = rng.integers(0, len(table), table.shape)
        rows.append(np.take_along_axis(table, picked, axis=0).mean(axis=0))
    return np.stack(rows)


def _places(strata: Ints, rng: np.random.Generator) -> Floats:
    """A place from 0 to 1 for each group, at random: any beginning of the order holds every label in its share."""
    found = np.empty(len(strata))
    for label in np.unique(strata):
        here = np.flatnonzero(strata == label)
        found[here] = (rng.permutation(len(here)) + rng.random(len(here))) / len(here)
    return found


def _nothing(says: str) -> dict[str, Any]:
    return {"metric": "ap", "points": [], "law": None, "band": [], "doubled": None, "forecasts": [], "says": says}
