"""How far annotators agree: pure numbers, arrays in and numbers out.

The input is one matrix, tasks x annotators, of label numbers with `MISSING` where somebody gave no label (`Answers`).
"Can't tell" and skips are missing values: alpha takes ragged data as it is, so nothing is imputed or thrown away but
tasks with fewer than two labels, which hold no pair to compare.

Sources: Krippendorff, Content Analysis (2004), ch. 11; Fleiss, Psychological Bulletin 76 (1971) 378; Cohen,
Educational and Psychological Measurement 20 (1960) 37; Efron and Tibshirani, An Introduction to the Bootstrap, ch. 13.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MISSING = -1

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Who answered what: `matrix[task, annotator]` is an index into `labels`, or `MISSING`."""

    tasks: tuple[str, ...]
    annotators: tuple[str, ...]
    labels: tuple[str, ...]
    matrix: Ints

    @classmethod
    def tabulate(cls, rows: Iterable[tuple[str, str, str | None]], labels: Sequence[str] = ()) -> Answers:
        """The matrix of (task, annotator, label or None) rows, tasks and annotators sorted by name.

        Where an annotator answered one task several times, the last row counts. Labels that are not among `labels`
        follow them, sorted.
        """
        latest = {(task, annotator): label for task, annotator, label in rows}
        tasks = sorted({task for task, _ in latest})
        annotators = sorted({annotator for _, annotator in latest})
        given = {label for label in latest.values() if label is not None}
        names = (*labels, *sorted(given - set(labels)))
        row, column, value = (
            {name: i for i, name in enumerate(axis)} for axis in (tasks, annotators, names)
        )  # fmt: skip
        matrix = np.full((len(tasks), len(annotators)), MISSING, dtype=np.int64)
        for (task, annotator), label in latest.items():
            if label is not None:
                matrix[row[task], column[annotator]] = value[label]
        return cls(tuple(tasks), tuple(annotators), names, matrix)

    def counts(self) -> Ints:
        """Votes, tasks x labels."""
        return np.stack([(self.matrix == k).sum(axis=1) for k in range(len(self.labels))], axis=1)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval over `tasks` tasks; where it is undefined, nan and the `reason`."""

    value: float
    low: float
    high: float
    tasks: int
    reason: str = ""


def alpha(counts: Ints, *, draws: int = 1000, seed: int = 0) -> Estimate:
    """Krippendorff's alpha for nominal labels from votes (tasks x labels), with a bootstrap interval over tasks.

    alpha = 1 - (n - 1) D / (n^2 - sum_c n_c^2), where n_c counts the labels c in tasks with n_u >= 2 labels,
    n = sum_c n_c, and D = sum_u (n_u^2 - sum_c n_uc^2) / (n_u - 1) counts the pairs that differ (Krippendorff 2004,
    11.3, "nominal data, any number of observers, missing values").

    With one label in the data the expected disagreement is zero and alpha is undefined: nan with a reason, never 1.
    Draws in which that happens are left out of the interval.
    """
    kept = counts[counts.sum(axis=1) >= 2].astype(np.float64)
    if not len(kept):
        return _undefined(0, "no image was labeled by two annotators")
    given = kept.sum(axis=1)
    differing = (given**2 - (kept**2).sum(axis=1)) / (given - 1)
    columns = np.column_stack([differing, kept])
    value = float(_alpha_of_sums(columns.sum(axis=0)[None])[0])
    if math.isnan(value):
        return _undefined(len(kept), "only one label was used, so agreement by chance cannot be told from skill")
    low, high = _interval(_alpha_of_sums(_resampled_sums(columns, draws, seed)))
    return Estimate(value, low, high, len(kept))


def alpha_by_label(counts: Ints, *, draws: int = 1000, seed: int = 0) -> list[Estimate]:
    """For each label, alpha of the question "this label or another?" (one against the rest)."""
    given = counts.sum(axis=1)
    return [
        alpha(np.column_stack([counts[:, k], given - counts[:, k]]), draws=draws, seed=seed)
        for k in range(counts.shape[1])
    ]


def pairwise_agreement(counts: Ints, *, draws: int = 1000, seed: int = 0) -> Estimate:
    """Share of annotator pairs that gave the same label: mean over tasks of sum_c n_c(n_c - 1) / n(n - 1).

    This is Fleiss' P-bar (1971, eq. 3) for ragged data; it is not corrected for chance.
    """
    kept = counts[counts.sum(axis=1) >= 2].astype(np.float64)
    if not len(kept):
        return _undefined(0, "no image was labeled by two annotators")
    given = kept.sum(axis=1)
    share = ((kept**2).sum(axis=1) - given) / (given * (given - 1))
    low, high = _interval(_resampled_sums(share[:, None], draws, seed)[:, 0] / len(kept))
    return Estimate(float(share.mean()), low, high, len(kept))


def fleiss_kappa(counts: Ints) -> float:
    """Fleiss' kappa (1971, eq. 8); nan when tasks have different numbers of labels, or only one label was used."""
    given = counts.sum(axis=1)
    if not len(counts) or given[0] < 2 or (given != given[0]).any():
        return math.nan
    n = int(given[0])
    observed = float(((counts**2).sum(axis=1) - n).mean() / (n * (n - 1)))
    expected = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    return math.nan if expected == 1.0 else (observed - expected) / (1 - expected)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two annotators over the `shared` tasks that both labeled: share of equal labels, and Cohen's kappa."""

    first: str
    second: str
    shared: int
    agreement: float
    kappa: float


def pairs(answers: Answers) -> list[Pair]:
    """Raw agreement and Cohen's kappa (1960) of every two annotators who share a task.

    Kappa is nan where both used one and the same label throughout: chance alone would agree as well.
    """
    size = len(answers.labels)
    found = []
    for i, j in itertools.combinations(range(len(answers.annotators)), 2):
        a, b = answers.matrix[:, i], answers.matrix[:, j]
        both = (a != MISSING) & (b != MISSING)
        shared = int(both.sum())
        if shared:
            table = np.bincount(a[both] * size + b[both], minlength=size * size).reshape(size, size)
            agreed = int(np.trace(table))
            by_chance = int(table.sum(axis=0) @ table.sum(axis=1))  # both sides times shared^2: exact integers
            kappa = (shared * agreed - by_chance) / (shared**2 - by_chance) if by_chance < shared**2 else math.nan
            found.append(Pair(answers.annotators[i], answers.annotators[j], shared, agreed / shared, kappa))
    return found


def confusion(counts: Ints) -> Ints:
    """Which labels are mistaken for each other: labels x labels, the number of annotator pairs that gave (a, b).

    A pair is counted once for each task: the matrix is symmetric, and the sum of its upper triangle is the number
    of pairs.
    """
    table = counts.T @ counts
    np.fill_diagonal(table, (counts * (counts - 1) // 2).sum(axis=0))
    return table


@dataclass(frozen=True, slots=True)
class AnnotatorFigures:
    """One annotator: labels given, agreement with the others, and pace.

    `agreement` is the share of `compared` tasks on which the label equals what most of the *others* said (tasks that
    nobody else labeled, or on which the others tie, are not compared). `seconds` is the median time, nan if unknown.
    """

    name: str
    answers: int
    compared: int
    agreement: float
    seconds: float
    unsure: float
    fast: int


def by_annotator(
    answers: Answers,
    seconds: Mapping[str, Sequence[float]],
    unsure: Mapping[str, int],
    *,
    cap_s: float = 120.0,
    fast_s: float = 0.5,
) -> list[AnnotatorFigures]:
    """One row for each annotator.

    Args:
        answers: the labels.
        seconds: annotator -> time spent on each answer; a form left open counts idle time, so each is capped.
        unsure: annotator -> number of "can't tell" answers.
        cap_s: longest time that counts, in seconds.
        fast_s: answers below this are counted in `fast`: nobody looks at a picture that fast.
    """
    votes = answers.counts()
    figures = []
    for j, name in enumerate(answers.annotators):
        own = answers.matrix[:, j]
        compared, agreed = _leave_one_out(votes, own)
        given, blank = int((own != MISSING).sum()), unsure.get(name, 0)
        times = np.asarray(seconds.get(name, ()), dtype=np.float64)
        figures.append(
            AnnotatorFigures(
                name=name,
                answers=given,
                compared=compared,
                agreement=agreed / compared if compared else math.nan,
                seconds=float(np.median(np.minimum(times, cap_s))) if times.size else math.nan,
                unsure=blank / (given + blank) if given + blank else 0.0,
                fast=int((times < fast_s).sum()),
            )
        )
    return figures


def _leave_one_out(votes: Ints, own: Ints) -> tuple[int, int]:
    answered = np.flatnonzero(own != MISSING)
    others = votes[answered]
    others[np.arange(len(answered)), own[answered]] -= 1
    top = others.max(axis=1, initial=0)
    clear = (top > 0) & ((others == top[:, None]).sum(axis=1) == 1)
    agreed = clear & (others[np.arange(len(answered)), own[answered]] == top)
    return int(clear.sum()), int(agreed.sum())


def _alpha_of_sums(sums: Floats) -> Floats:
    """Alpha of each row of [D, n_1 .. n_k]; nan where the expected disagreement is zero."""
    margins = sums[:, 1:]
    n = margins.sum(axis=1)
    expected = n**2 - (margins**2).sum(axis=1)
    observed = (n - 1) * sums[:, 0]
    ratio: Floats = np.divide(observed, expected, out=np.full(len(sums), np.nan), where=expected > 0)
    return 1.0 - ratio


def _resampled_sums(columns: Floats, draws: int, seed: int) -> Floats:
    """Column sums of `draws` samples of rows with replacement: draws x columns."""
    rng = np.random.default_rng(seed)
    n = len(columns)
    sums = np.empty((draws, columns.shape[1]))
    for draw in sums:
        draw[:] = np.bincount(rng.integers(0, n, n), minlength=n) @ columns
    return sums


def _interval(values: Floats) -> tuple[float, float]:
    defined = values[~np.isnan(values)]
    if not defined.size:
        return math.nan, math.nan
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def _undefined(tasks: int, reason: str) -> Estimate:
    return Estimate(math.nan, math.nan, math.nan, tasks, reason)
