"""Cohen's kappa of every two annotators (Educational and Psychological Measurement 20 (1960) 37; weighted: 1968)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labeling.agreement.answers import Answers, Floats, Ints
from labeling.agreement.bootstrap import Figure, in_order, one_thread, percentiles, totals

Sums = NDArray[np.floating[Any]]

_PAIRS = 100  # pairs resampled at a time
_WEIGHTS = 10_000_000  # their weights at a time


@dataclass(frozen=True, slots=True, eq=False)
class PairRows:
    """Each time that two annotators labeled one task: the task, which pair, and their labels; sorted by pair.

    `first` and `second` are the annotators of each pair, first below second, `shared` their number of common tasks.
    """

    task: Ints
    pair: Ints
    one: Ints
    other: Ints
    first: Ints
    second: Ints
    shared: Ints


def pair_rows(answers: Answers) -> PairRows:
    """All pairs of labels of one task; `answers` hold labels only, sorted by task."""
    given = np.bincount(answers.task, minlength=len(answers.tasks))
    starts = np.cumsum(given) - given
    left, right = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for n in np.unique(given[given >= 2]).tolist():  # tasks with equally many labels together
        a, b = np.triu_indices(n, 1)
        begin = starts[given == n][:, None]
        left.append((begin + a).ravel())
        right.append((begin + b).ravel())
    i, j = np.concatenate(left), np.concatenate(right)
    crowd = len(answers.annotators)
    code = answers.annotator[i] * crowd + answers.annotator[j]
    order = in_order(code, crowd * crowd)
    i, j, code = i[order], j[order], code[order]
    first = np.append(True, code[1:] != code[:-1])[: len(code)]
    known, pair = code[first], np.cumsum(first) - 1
    shared = np.bincount(pair, minlength=len(known))
    return PairRows(
        answers.task[i],
        pair,
        answers.label[i],
        answers.label[j],
        known // crowd,
        known % crowd,
        shared.astype(np.int64),
    )


def weights_of(scheme: str, size: int) -> Floats:
    """How much each disagreement counts: all the same, by the difference of the labels' numbers, or by its square."""
    number = np.arange(size)
    apart: Floats = np.abs(number[:, None] - number).astype(np.float64)
    if scheme == "linear":
        return apart
    power: Floats = apart**2 if scheme == "quadratic" else np.sign(apart)
    return power


def kappas(rows: PairRows, distances: Floats) -> Floats:
    """Kappa of every pair under each weighting (weightings x labels x labels): pairs x weightings.

    kappa = 1 - n sum_ab n_ab d_ab / sum_ab r_a s_b d_ab for the table n_ab of the two, its margins r and s and its sum
    n. Nan where both used one and the same label throughout: chance alone would agree as well.
    """
    one, other, observed = _tables(rows, distances)
    return _kappa(observed[..., None], one.T[..., None], other.T[..., None], distances)[..., 0].T


def intervals(rows: PairRows, distance: Floats, chosen: Ints, *, draws: int, seed: int) -> Floats:
    """The 95 % interval of kappa of the chosen pairs, pairs x 2, over the tasks that the two share.

    By the Poisson bootstrap (Hanley and MacGibbon, Comput. Methods Programs Biomed. 83 (2006) 57): each task counts
    Poisson(1) times, so that one set of draws serves pairs that share different numbers of tasks.
    """
    size, begin = len(distance), np.cumsum(rows.shared) - rows.shared
    chosen = chosen[np.argsort(rows.shared[chosen], kind="stable")]
    most = int(rows.shared[chosen].max(initial=0))
    found = np.full((len(rows.shared), 2), np.nan)
    step = max(1, _WEIGHTS // max(1, most))
    rng = np.random.default_rng(seed)
    blocks = [rng.poisson(1.0, (most, min(step, draws - at))).astype(np.float32) for at in range(0, draws, step)]
    labels = np.eye(size, dtype=np.float32)
    with one_thread():
        for part in np.array_split(chosen, -(-len(chosen) // _PAIRS)) if len(chosen) else ():
            n = int(rows.shared[part[-1]])  # shorter ones are filled up with zeros
            there = np.arange(n) < rows.shared[part][:, None]
            at = np.where(there, begin[part][:, None] + np.arange(n), 0)
            one, other = rows.one[at], rows.other[at]
            terms = np.concatenate([distance[one, other][..., None], labels[one], labels[other]], axis=2)
            terms = (terms * there[..., None]).transpose(2, 0, 1).astype(np.float32, order="C").reshape(-1, n)
            resampled = []
            for weights in blocks:
                sums = (terms @ weights[:n]).reshape(1 + 2 * size, len(part), -1)
                resampled.append(_kappa(sums[:1], sums[1 : 1 + size], sums[1 + size :], distance[None])[0])
            found[part] = np.column_stack(percentiles(np.concatenate(resampled, axis=1)))
    return found


def mean_kappa(rows: PairRows, distance: Floats, counted: Ints, tasks: int) -> Figure:
    """The mean kappa of the counted pairs, one row; nan where none is defined.

    Under weights it moves by the influence of each task on it, the derivative of every kappa by the weight of the task
    (the infinitesimal jackknife: Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982, ch. 6). That is
    one sum for a draw in place of a table for each pair, and free of the bias that small tables give resampled kappas.
    """
    one, other, observed = _tables(rows, distance[None])
    n, expected = rows.shared, np.einsum("pa,ab,pb->p", one, distance, other)
    used = np.zeros(len(n), dtype=bool)
    used[counted] = expected[counted] > 0
    ratio = np.divide(observed[0], expected, out=np.zeros(len(n)), where=used)
    scale = np.divide(1.0, expected, out=np.zeros(len(n)), where=used)
    p, a, b = rows.pair, rows.one, rows.other
    by_chance = (other @ distance.T)[p, a] + (one @ distance)[p, b]
    change = ratio[p] * (1 - n[p] * scale[p] * by_chance) + n[p] * scale[p] * distance[a, b]
    number = int(used.sum())
    influence = np.bincount(rows.task, -change / max(1, number), minlength=tasks).astype(np.float64)
    mean = float((1 - n * ratio)[used].mean()) if number else math.nan
    summed = totals(influence[:, None])
    return lambda weights: mean + summed(weights)


def agreement_of(rows: PairRows) -> Floats:
    """Share of equal labels of every pair."""
    same: Floats = np.bincount(rows.pair, rows.one == rows.other, minlength=len(rows.shared)) / rows.shared
    return same


def _kappa(observed: Sums, one: Sums, other: Sums, distances: Floats) -> Floats:
    """Kappa from disagreements (weightings x pairs x draws) and margins (labels x pairs x draws)."""
    n = one.sum(axis=0)
    found = np.full(observed.shape, np.nan)
    for i, distance in enumerate(distances):
        if (distance == 1 - np.eye(len(distance))).all():
            expected = np.square(n) - sum(a * b for a, b in zip(one, other, strict=True))
        else:
            expected = np.asarray(sum(a * np.tensordot(row, other, 1) for a, row in zip(one, distance, strict=True)))
        np.divide(n * observed[i], expected, out=found[i], where=expected > 0)
    return 1 - found


@dataclass(frozen=True, slots=True)
class Pair:
    """Two annotators over the `shared` tasks that both labeled: share of equal labels, and Cohen's kappa.

    `low` and `high` are the 95 % interval of `kappa`; `linear` and `quadratic` are kappa with these weights, for labels
    that have an order. Nan: undefined, or not asked for.
    """

    first: str
    second: str
    shared: int
    agreement: float
    kappa: float
    low: float = math.nan
    high: float = math.nan
    linear: float = math.nan
    quadratic: float = math.nan


def pairs(answers: Answers, scheme: str = "nominal") -> list[Pair]:
    """Raw agreement and Cohen's kappa of every two annotators who share a task; see `kappas` and `weights_of`."""
    rows = pair_rows(answers.labeled())
    return named(rows, answers.annotators, kappas(rows, weights_of(scheme, len(answers.labels))[None]))


def named(rows: PairRows, names: Sequence[str], columns: Floats) -> list[Pair]:
    """The pairs by name; `columns` are kappa and what follows it in `Pair`."""
    table = zip(rows.first, rows.second, rows.shared, agreement_of(rows), columns, strict=True)
    return [Pair(names[i], names[j], int(shared), float(same), *map(float, rest)) for i, j, shared, same, rest in table]


def _tables(rows: PairRows, distances: Floats) -> tuple[Floats, Floats, Floats]:
    """Of every pair, the labels of the one and of the other (pairs x labels), and disagreement by each weighting."""
    size, pairs = distances.shape[1], len(rows.shared)
    one, other = (
        np.bincount(rows.pair * size + side, minlength=pairs * size).reshape(pairs, size).astype(np.float64)
        for side in (rows.one, rows.other)
    )
    by_weight = [np.bincount(rows.pair, distance[rows.one, rows.other], minlength=pairs) for distance in distances]
    return one, other, np.stack(by_weight)
