"""The linear head: multinomial logistic regression on features, its penalty chosen by cross-validation.

Penalized log loss is convex, so a fit is its one optimum whatever finds it. What finds it here is L-BFGS (Nocedal and
Wright, Numerical Optimization, 2006, algorithm 7.4, scaled by 7.20), started from an estimate of the Hessian. Features
are turned first so that they do not vary together, which changes no penalty; there the Hessian is almost diagonal: for
each label how uncertain the rows are, p (1 - p), times how much each feature varies. Nothing is of labels x labels.
About ten looks at the data do, where scikit-learn needs hundreds, and about five once two penalties are known: a fit
begins where the line through those before leads, with what they saw of the Hessian.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pipelines.calibrate import Floats, Ints, Single
from pipelines.config import TrainConfig
from pipelines.lbfgs import Memory
from pipelines.predict import Head

ENOUGH = 2000  # held-out images that tell the penalties of a grid apart; more folds than hold them only add time
SAMPLE = 5  # rows for each feature that tell how features vary together
BLOCK = 1024  # rows at once: they stay in the processor's cache between the two products with them
TASK = 4  # blocks that a thread takes; sums are added in the order of tasks, so threads change no bit
STEPS = 200
WHOLE = -1  # the fold of no rows: what is fitted without it is fitted to all
COARSE, FINE = 1e-4, 2e-5  # how far a fit may be from its least loss, as a share: in the search, and in the end
NONE = 1e-3  # nats for an image: less is as good as no loss


class Learned(NamedTuple):
    """A head; the inverse penalty `c`; the loss of each penalty tried; what folds said of images that they held out.

    `held` is images x labels, None where all images are one near-duplicate group.
    """

    head: Head
    c: float
    history: list[dict[str, float]]
    held: Floats | None


class Examples(NamedTuple):
    """What a head learns from.

    `matrix` has the features, (images, dimension). `target` has the true labels as indices, (images,), or the share of
    the votes of each, (images, labels). `groups` names the near-duplicate group of each image.
    """

    matrix: Single
    target: Ints | Floats
    groups: Sequence[str]
    labels: Sequence[str]


def learn(given: Examples, config: TrainConfig, seed: int, tell: Callable[[str], None] = lambda _: None) -> Learned:
    """Choose the penalty of `config.c_grid` by cross-validated log loss, then fit on all rows.

    Folds never part a near-duplicate group. An inverse penalty means what scikit-learn's `C` means. `seed` draws the
    folds, and `tell` is called with what it is at.
    """
    from threadpoolctl import threadpool_limits

    strata = given.target if given.target.ndim == 1 else given.target.argmax(axis=1)
    home = fold_of(given.groups, strata.astype(np.int64), config.folds, seed)
    order = np.argsort(home, kind="stable")
    bounds = np.searchsorted(home[order], np.arange(home.max() + 2)).tolist()
    with threadpool_limits(1), _threads() as pool, _threads() as crew:  # BLAS keeps to the thread that calls it
        rows = Rows.of(given, order, balanced=config.balanced, pool=pool)
        search = _Search(rows, list(pairwise(bounds)), sorted(config.c_grid), crew)
        alone = len(search.folds) == 1  # one near-duplicate group: nothing to validate on
        tell("choosing the penalty")
        c = search.grid[0] if alone else search.best()
        tell("fitting the head")
        found = search.fits([WHOLE], c, FINE)[0]
        held = None if alone else search.held(c, order)
    losses = [{"c": each, "nll": loss} for each, loss in sorted(search.losses.items())]
    return Learned(rows.head(found, given.labels), c, losses, held)


def refit(given: Examples, c: float, *, balanced: bool) -> Head:
    """A head on other examples (a part of them, for the learning curve) with the penalty that was chosen."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), _threads() as pool:
        rows = Rows.of(given, np.arange(len(given.matrix)), balanced=balanced, pool=pool)
        return rows.head(minimize(rows, [(0, len(given.matrix))], c, rows.start()), given.labels)


def fold_of(groups: Sequence[str], strata: Ints, folds: int, seed: int) -> Ints:
    """The fold of each row: groups are dealt out in turns, label by label, in an order that `seed` draws."""
    _, first, group = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
    drawn = np.random.default_rng(seed).permutation(len(first))
    dealt = np.lexsort((drawn, strata[first]))
    home = np.empty(len(first), dtype=np.int64)
    home[dealt] = np.arange(len(first)) % folds
    return home[group]


class Sums(NamedTuple):
    """Over some rows: weighted log loss, its gradient (logits, features + 1), and the sum of p (1 - p) of each logit.

    The Hessian of a logit's weights is that of every row times the outer product of its features.
    """

    loss: float
    gradient: Single
    curvature: Single


@dataclass(frozen=True, eq=False)
class Rows:
    """The standardized rows of a fit, turned along `basis` (dimension, features) and sorted by fold.

    `target` has shares as (labels, rows). `spectrum` has how much each turned feature varies. Two labels are one logit.
    """

    x: Single
    target: Ints | Floats
    weight: Single
    mean: Floats
    scale: Floats
    basis: Single
    spectrum: Single
    logits: int
    pool: ThreadPoolExecutor

    @classmethod
    def of(cls, given: Examples, order: Ints, *, balanced: bool, pool: ThreadPoolExecutor) -> Rows:
        """Standardize, turn and sort; a feature that hardly varies is left unscaled."""
        mean = given.matrix.mean(axis=0, dtype=np.float64)
        x = np.empty(given.matrix.shape, dtype=np.float32)
        tasks = list(_tasks([(0, len(x))]))

        def center(blocks: Sequence[tuple[int, int]]) -> Floats:
            squares = np.zeros(mean.shape)
            for start, stop in blocks:
                np.subtract(given.matrix[order[start:stop]], mean.astype(np.float32), out=x[start:stop])
                squares += np.einsum("nd,nd->d", x[start:stop], x[start:stop])
            return squares

        spread = np.sqrt(sum(pool.map(center, tasks)) / len(x))
        scale = np.where(spread > 1e-6, spread, 1.0)
        basis = _eigenbasis(x, scale)
        turn = (basis / scale[:, None]).astype(np.float32)
        turned = x if len(turn) == turn.shape[1] else np.empty((len(x), turn.shape[1]), dtype=np.float32)

        def rotate(blocks: Sequence[tuple[int, int]]) -> Floats:
            squares = np.zeros(turn.shape[1])
            for start, stop in blocks:
                turned[start:stop] = x[start:stop] @ turn
                squares += np.einsum("nd,nd->d", turned[start:stop], turned[start:stop])
            return squares

        spectrum = np.asarray(sum(pool.map(rotate, tasks)) / len(x), dtype=np.float32)
        labels, target = len(given.labels), given.target[order]
        weight = np.ones(len(x), dtype=np.float32)
        if balanced:
            share = np.bincount(target, minlength=labels) if target.ndim == 1 else target.sum(axis=0)
            each = len(x) / (np.count_nonzero(share) * np.maximum(share, 1e-12))
            weight = (each[target] if target.ndim == 1 else target @ each).astype(np.float32)
        logits = 1 if labels == 2 else labels
        return cls(turned, target.T, weight, mean, scale, basis.astype(np.float32), spectrum, logits, pool)

    def start(self) -> Single:
        """Parameters that give every row the shares of the labels: (logits, features + 1), the intercept last."""
        size = max(2, self.logits)
        sums = np.bincount(self.target, self.weight, size) if self.target.ndim == 1 else self.target @ self.weight
        logs = np.log(sums + 0.5)
        found = np.zeros((self.logits, self.x.shape[1] + 1), dtype=np.float32)
        found[:, -1] = logs[1] - logs[0] if self.logits == 1 else logs - logs.mean()
        return found

    def probabilities(self, start: int, stop: int, parameters: Single) -> Single:
        """Of every label for rows start to stop: (labels, rows)."""
        logits = parameters[:, :-1] @ self.x[start:stop].T
        logits += parameters[:, -1:]
        if self.logits == 1:
            logits = np.vstack([np.zeros_like(logits), logits])
        logits -= logits.max(axis=0)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=0)
        return np.asarray(logits)

    def losses(self, start: int, stop: int, probabilities: Single) -> Floats:
        """The log loss of each row, in nats."""
        floor = np.finfo(np.float32).tiny
        target = self.target[..., start:stop]
        if target.ndim == 1:
            said = probabilities[target, np.arange(stop - start)]
            return np.asarray(-np.log(np.maximum(said, floor)), dtype=np.float64)
        return np.asarray(-(target * np.log(np.maximum(probabilities, floor))).sum(axis=0), dtype=np.float64)

    def sums(self, ranges: Sequence[tuple[int, int]], parameters: Single) -> Sums:
        """Loss, gradient and curvature over ranges of rows."""
        loss, gradient, curvature = 0.0, np.zeros_like(parameters), np.zeros(self.logits, dtype=np.float32)
        for part in self.pool.map(lambda blocks: self._sums(blocks, parameters), _tasks(ranges)):
            loss += part.loss
            gradient += part.gradient
            curvature += part.curvature
        if self.logits > 1:  # what is off adds up to nothing over the labels, but for rounding
            gradient -= gradient.mean(axis=0)
        return Sums(loss, gradient, curvature)

    def _sums(self, blocks: Sequence[tuple[int, int]], parameters: Single) -> Sums:
        loss, gradient = 0.0, np.zeros_like(parameters)
        curvature = np.zeros(self.logits, dtype=np.float32)
        for start, stop in blocks:
            p = self.probabilities(start, stop, parameters)
            weight, target = self.weight[start:stop], self.target[..., start:stop]
            loss += float(self.losses(start, stop, p) @ weight)
            off = p * weight
            kept = off[-self.logits :]
            curvature += kept.sum(axis=1) - np.einsum("kn,kn->k", kept, p[-self.logits :])
            if target.ndim == 1:
                off[target, np.arange(stop - start)] -= weight
            else:
                off -= target * weight
            gradient[:, :-1] += kept @ self.x[start:stop]
            gradient[:, -1] += kept.sum(axis=1)
        return Sums(loss, gradient, curvature)

    def head(self, parameters: Single, labels: Sequence[str]) -> Head:
        """The parameters as a head on the features as they were given."""
        weights, bias = (parameters[:, :-1] @ self.basis.T).astype(np.float64), parameters[:, -1].astype(np.float64)
        if self.logits == 1:
            weights, bias = np.vstack([np.zeros_like(weights), weights]), np.array([0.0, bias[0]])
        return Head(tuple(labels), weights, bias, self.mean, self.scale)


def minimize(
    rows: Rows,
    ranges: Sequence[tuple[int, int]],
    c: float,
    start: Single,
    within: float = FINE,
    memory: Memory | None = None,
) -> Single:
    """The parameters with the least penalized log loss over ranges of rows, sought from `start`."""
    size = sum(stop - start_ for start_, stop in ranges)
    memory = memory or Memory()
    memory.turn_to(size, c)

    def look(parameters: Single) -> Sums:
        seen = rows.sums(ranges, parameters)
        weights = parameters[:, :-1]
        seen.gradient[:, :-1] += weights * np.float32(1 / c)
        return Sums(seen.loss + 0.5 / c * float(np.vdot(weights, weights)), seen.gradient, seen.curvature)

    at, here = start, look(start)
    for _ in range(STEPS):
        step = -memory.inverse_times(here.gradient, _inverse(rows, here.curvature, c))
        decrement = -float(np.vdot(here.gradient, step))
        if decrement <= 2 * within * max(here.loss, NONE * size):
            break
        length, there = 1.0, look(at + step)
        while there.loss > here.loss - 1e-4 * length * decrement and length > 1e-6:
            length /= 2
            there = look(at + np.float32(length) * step)
        if there.loss >= here.loss:  # what is remembered misleads here, or nothing but rounding is left
            if not memory.pairs:
                break
            memory.pairs.clear()
            continue
        step *= np.float32(length)
        memory.add(step, there.gradient - here.gradient)
        at, here = at + step, there
    return at


def _inverse(rows: Rows, curvature: Single, c: float) -> Single:
    """The inverse of the Hessian's diagonal, were every row as uncertain of a label as the mean row."""
    uncertain = np.maximum(curvature, 1e-6 * len(rows.x))
    inverse = np.empty((len(uncertain), len(rows.spectrum) + 1), dtype=np.float32)
    np.outer(uncertain, rows.spectrum, out=inverse[:, :-1])
    inverse[:, :-1] += np.float32(1 / c)
    inverse[:, -1] = uncertain
    return np.reciprocal(inverse, out=inverse)


class _Search:
    """The fits of cross-validation: each begins where those with the two nearest penalties lead.

    Folds are fitted beside each other: what each begins with is settled before any runs, so threads change no bit.
    """

    def __init__(self, rows: Rows, folds: list[tuple[int, int]], grid: list[float], crew: ThreadPoolExecutor) -> None:
        self.rows = rows
        self.folds = folds
        self.grid = grid
        self.crew = crew
        self.losses: dict[float, float] = {}
        sizes = np.cumsum([stop - start for start, stop in folds])
        self.judged = range(min(len(folds), int(np.searchsorted(sizes, ENOUGH)) + 1))
        self._fits: dict[float, dict[int, Single]] = {}
        self._memories: dict[int, Memory] = {}

    def best(self) -> float:
        """The penalty with the least loss: from the middle of the grid, one way or the other while it falls."""
        at = len(self.grid) // 2
        self._loss(at)
        for way in (1, -1):
            while 0 <= at + way < len(self.grid) and self._loss(at + way) < self._loss(at):
                at += way
        return self.grid[at]

    def held(self, c: float, order: Ints) -> Floats:
        """What each fold's fit says of the rows that it held out, in the order of the input."""
        found = np.empty((len(order), max(2, self.rows.logits)))
        for (start, stop), fit in zip(self.folds, self.fits(range(len(self.folds)), c), strict=True):
            found[order[start:stop]] = self.rows.probabilities(start, stop, fit).T
        return found

    def fits(self, folds: Sequence[int], c: float, within: float = COARSE) -> list[Single]:
        """The fits at `c` on all rows but those of each fold."""
        known = self._fits.get(c, {})
        lacking = [fold for fold in folds if fold not in known]
        memories = [self.memory(fold) for fold in lacking]
        begun = [self.start(fold, c) for fold in lacking]

        def fit(fold: int, start: Single, memory: Memory) -> Single:
            begin, end = (0, 0) if fold == WHOLE else self.folds[fold]
            return minimize(self.rows, [(0, begin), (end, len(self.rows.x))], c, start, within, memory)

        known |= zip(lacking, self.crew.map(fit, lacking, begun, memories), strict=True)
        self._fits[c] = known
        self._memories |= {k: each for k, each in zip(lacking, memories, strict=True) if k == WHOLE or k in self.judged}
        return [known[fold] for fold in folds]

    def memory(self, fold: int) -> Memory:
        """What is known of the Hessian of all rows but those of a fold: what it has seen itself, or else another."""
        known = self._memories.get(fold) or self._memories.get(WHOLE) or self._memories.get(0)
        return known.copy() if known else Memory()

    def start(self, fold: int, c: float) -> Single:
        """Where to begin: on the line through a fold's fits with the two nearest penalties, or what others found."""
        near = sorted(self._fits, key=lambda tried: abs(np.log(tried / c)))[:2]
        if not near:
            return self.rows.start()
        if fold not in self._fits[near[0]]:
            others = self._fits[near[0]]
            return others[WHOLE] if WHOLE in others else np.asarray(np.mean(list(others.values()), axis=0))
        here = self._fits[near[0]][fold]
        if len(near) == 1:
            return here
        further = min(1.0, float(np.log(c / near[0]) / np.log(near[0] / near[1])))
        return here + np.float32(further) * (here - self._fits[near[1]][fold])

    def _loss(self, at: int) -> float:
        c = self.grid[at]
        if c not in self.losses:
            losses, weights = 0.0, 0.0
            for fold, fit in zip(self.judged, self.fits(self.judged, c), strict=True):
                start, stop = self.folds[fold]
                weight = self.rows.weight[start:stop].astype(np.float64)
                losses += float(self.rows.losses(start, stop, self.rows.probabilities(start, stop, fit)) @ weight)
                weights += float(weight.sum())
            self.losses[c] = losses / weights
        return self.losses[c]


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count())


def _tasks(ranges: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    blocks = [(at, min(at + BLOCK, stop)) for start, stop in ranges for at in range(start, stop, BLOCK)]
    for at in range(0, len(blocks), TASK):
        yield blocks[at : at + TASK]


def _eigenbasis(x: Single, scale: Floats) -> Floats:
    """Orthonormal columns (dimension, rank) along which standardized rows do not vary together."""
    n, dimension = x.shape
    sample = x[:: max(1, n // (SAMPLE * dimension))] / scale.astype(np.float32)
    if n >= dimension:
        return np.asarray(np.linalg.eigh((sample.T @ sample).astype(np.float64))[1])
    values, vectors = np.linalg.eigh((sample @ sample.T).astype(np.float64))  # the optimum lies in the span of the rows
    kept = values > 1e-6 * max(values[-1], 1e-12)
    return np.asarray(sample.T.astype(np.float64) @ (vectors[:, kept] / np.sqrt(values[kept])))
