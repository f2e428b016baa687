"""The linear head: multinomial logistic regression on features, its penalty chosen by cross-validation.

Penalized log loss is convex, so a fit is its one optimum whatever finds it. What finds it here is L-BFGS (Nocedal and
Wright, Numerical Optimization, 2006, algorithm 7.4, scaled by 7.20), started from an estimate of the Hessian: the mean
of diag(p) - p p' times the covariance of the features, a Kronecker product, whose inverse is that of its two parts.
About ten looks at the data do, where scikit-learn needs hundreds; every fit begins where those before have ended, with
what they saw of the Hessian.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.calibrate import Floats, Ints
from pipelines.config import TrainConfig
from pipelines.lbfgs import Memory
from pipelines.predict import Head

Single = NDArray[np.float32]
ENOUGH = 2000  # held-out images that tell the penalties of a grid apart; more folds than hold them only add time
BLOCK = 1024  # rows at once: they stay in the processor's cache between the two products with them
TASK = 4  # blocks that a thread takes; sums are added in the order of tasks, so threads change no bit
STEPS = 200
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
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:  # of our own threads each takes one core
        rows = Rows.of(given, order, balanced=config.balanced, pool=pool)
        search = _Search(rows, list(pairwise(bounds)), sorted(config.c_grid))
        alone = len(search.folds) == 1  # one near-duplicate group: nothing to validate on
        tell("choosing the penalty")
        c = search.grid[0] if alone else search.best()
        tell("fitting the head")
        held = None if alone else search.held(c, order)
        found = minimize(rows, [(0, len(order))], c, search.nearest(c), memory=search.memory)
    losses = [{"c": each, "nll": loss} for each, loss in sorted(search.losses.items())]
    return Learned(rows.head(found, given.labels), c, losses, held)


def refit(given: Examples, c: float, *, balanced: bool) -> Head:
    """A head on other examples (a part of them, for the learning curve) with the penalty that was chosen."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
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
    """Over some rows: weighted log loss, its gradient (logits, dimension + 1), and the sum of diag(p) - p p' (logits²).

    The Hessian of the weights is that of every row times the outer product of its features.
    """

    loss: float
    gradient: Floats
    curvature: Floats


@dataclass(frozen=True, eq=False)
class Rows:
    """The standardized rows of a fit, sorted by fold; two labels are one logit.

    `target` has shares as (labels, rows). Along the columns of `basis` features do not vary together; `spectrum` has
    how much they vary.
    """

    x: Single
    target: Ints | Floats
    weight: Single
    mean: Floats
    scale: Floats
    basis: Single
    spectrum: Floats
    logits: int
    pool: ThreadPoolExecutor

    @classmethod
    def of(cls, given: Examples, order: Ints, *, balanced: bool, pool: ThreadPoolExecutor) -> Rows:
        """Standardize and sort; a feature that hardly varies is left unscaled."""
        mean = given.matrix.mean(axis=0, dtype=np.float64)
        x = np.empty(given.matrix.shape, dtype=np.float32)
        tasks = list(_tasks([(0, len(x))]))

        def centered(blocks: Sequence[tuple[int, int]]) -> Floats:
            squares = np.zeros(mean.shape)
            for start, stop in blocks:
                np.subtract(given.matrix[order[start:stop]], mean.astype(np.float32), out=x[start:stop])
                squares += np.einsum("nd,nd->d", x[start:stop], x[start:stop])
            return squares

        spread = np.sqrt(sum(pool.map(centered, tasks)) / len(x))
        scale = np.where(spread > 1e-6, spread, 1.0)

        def divide(blocks: Sequence[tuple[int, int]]) -> None:
            x[blocks[0][0] : blocks[-1][1]] /= scale.astype(np.float32)

        list(pool.map(divide, tasks))
        basis, spectrum = _eigenbasis(x)
        labels, target = len(given.labels), given.target[order]
        weight = np.ones(len(x), dtype=np.float32)
        if balanced:
            share = np.bincount(target, minlength=labels) if target.ndim == 1 else target.sum(axis=0)
            each = len(x) / (np.count_nonzero(share) * np.maximum(share, 1e-12))
            weight = (each[target] if target.ndim == 1 else target @ each).astype(np.float32)
        return cls(x, target.T, weight, mean, scale, basis, spectrum, 1 if labels == 2 else labels, pool)

    def start(self) -> Floats:
        """Parameters that give every row the shares of the labels: (logits, dimension + 1), the intercept last."""
        size = max(2, self.logits)
        sums = np.bincount(self.target, self.weight, size) if self.target.ndim == 1 else self.target @ self.weight
        logs = np.log(sums + 0.5)
        found = np.zeros((self.logits, self.x.shape[1] + 1))
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

    def sums(self, ranges: Sequence[tuple[int, int]], parameters: Floats) -> Sums:
        """Loss, gradient and curvature over ranges of rows."""
        single = parameters.astype(np.float32)
        loss, gradient, curvature = 0.0, np.zeros_like(parameters), np.zeros((self.logits, self.logits))
        for part in self.pool.map(lambda blocks: self._sums(blocks, single), _tasks(ranges)):
            loss += part[0]
            gradient += part[1]
            curvature += part[2]
        if self.logits > 1:  # what is off adds up to nothing over the labels, but for rounding
            gradient -= gradient.mean(axis=0)
        return Sums(loss, gradient, curvature)

    def _sums(self, blocks: Sequence[tuple[int, int]], parameters: Single) -> tuple[float, Single, Single]:
        loss, gradient = 0.0, np.zeros_like(parameters)
        curvature = np.zeros((self.logits, self.logits), dtype=np.float32)
        for start, stop in blocks:
            p = self.probabilities(start, stop, parameters)
            weight, target = self.weight[start:stop], self.target[..., start:stop]
            loss += float(self.losses(start, stop, p) @ weight)
            off = p * weight
            kept = off[-self.logits :]
            curvature -= kept @ p[-self.logits :].T
            curvature[np.diag_indices(self.logits)] += kept.sum(axis=1)
            if target.ndim == 1:
                off[target, np.arange(stop - start)] -= weight
            else:
                off -= target * weight
            gradient[:, :-1] += kept @ self.x[start:stop]
            gradient[:, -1] += kept.sum(axis=1)
        return loss, gradient, curvature

    def head(self, parameters: Floats, labels: Sequence[str]) -> Head:
        """The parameters as a head on the features as they were given."""
        weights, bias = parameters[:, :-1], parameters[:, -1]
        if self.logits == 1:
            weights, bias = np.vstack([np.zeros_like(weights), weights]), np.array([0.0, bias[0]])
        return Head(tuple(labels), weights, bias, self.mean, self.scale)


def minimize(
    rows: Rows,
    ranges: Sequence[tuple[int, int]],
    c: float,
    start: Floats,
    within: float = FINE,
    memory: Memory | None = None,
) -> Floats:
    """The parameters with the least penalized log loss over ranges of rows, sought from `start`."""
    size = sum(stop - start_ for start_, stop in ranges)
    memory = memory or Memory()
    memory.turn_to(size, c)

    def look(parameters: Floats) -> Sums:
        seen = rows.sums(ranges, parameters)
        weights = parameters[:, :-1]
        seen.gradient[:, :-1] += weights / c
        return Sums(seen.loss + 0.5 / c * float(np.vdot(weights, weights)), seen.gradient, seen.curvature)

    at, here = start, look(start)
    first = _Kronecker(rows, here.curvature, c)
    for _ in range(STEPS):
        first = first if first.serves(here.curvature) else _Kronecker(rows, here.curvature, c)
        step = -memory.inverse_times(here.gradient, first)
        decrement = -float(np.vdot(here.gradient, step))
        if decrement <= 2 * within * max(here.loss, NONE * size):
            break
        length, there = 1.0, look(at + step)
        while there.loss > here.loss - 1e-4 * length * decrement and length > 1e-6:
            length /= 2
            there = look(at + length * step)
        if there.loss >= here.loss:  # what is remembered misleads here, or nothing but rounding is left
            if not memory.pairs:
                break
            memory.pairs.clear()
            continue
        moved = length * step
        memory.add(moved, there.gradient - here.gradient)
        at, here = at + moved, there
    return at


class _Kronecker:
    """The inverse Hessian, were the spread of the labels that of the mean row in every row: one product for both."""

    def __init__(self, rows: Rows, curvature: Floats, c: float) -> None:
        self.trace = float(np.trace(curvature))
        values, turn = np.linalg.eigh(curvature)
        values = np.maximum(values, 1e-6 * len(rows.x))
        self.turn = turn.astype(np.float32)
        self.rows = rows
        self.weights = (1 / (np.outer(values, rows.spectrum) + 1 / c)).astype(np.float32)
        self.intercepts = (1 / values).astype(np.float32)

    def serves(self, curvature: Floats) -> bool:
        """Whether it is near enough to what is seen now."""
        return abs(float(np.trace(curvature)) - self.trace) <= 0.1 * self.trace

    def __call__(self, gradient: Floats) -> Floats:
        basis, turned = self.rows.basis, self.turn.T @ gradient.astype(np.float32)
        turned[:, :-1] = (turned[:, :-1] @ basis * self.weights) @ basis.T
        turned[:, -1] *= self.intercepts
        return (self.turn @ turned).astype(np.float64)


class _Search:
    """The fits of cross-validation: each begins where those with the nearest penalty have ended."""

    def __init__(self, rows: Rows, folds: list[tuple[int, int]], grid: list[float]) -> None:
        self.rows = rows
        self.folds = folds
        self.grid = grid
        self.losses: dict[float, float] = {}
        self.memory = Memory()
        self._fits: dict[tuple[int, float], Floats] = {}

    def best(self) -> float:
        """The penalty with the least loss: from the middle of the grid, one way or the other while it falls."""
        at = len(self.grid) // 2
        for way in (1, -1):
            while 0 <= at + way < len(self.grid) and self._loss(at + way) < self._loss(at):
                at += way
        self._loss(at)
        return self.grid[at]

    def held(self, c: float, order: Ints) -> Floats:
        """What each fold's fit says of the rows that it held out, in the order of the input."""
        found = np.empty((len(order), max(2, self.rows.logits)))
        for fold, (start, stop) in enumerate(self.folds):
            found[order[start:stop]] = self.rows.probabilities(start, stop, self.fit(fold, c).astype(np.float32)).T
        return found

    def fit(self, fold: int, c: float) -> Floats:
        """The fit at `c` on all rows but those of a fold."""
        if (fold, c) not in self._fits:
            start, stop = self.folds[fold]
            kept = [(0, start), (stop, len(self.rows.x))]
            self._fits[fold, c] = minimize(self.rows, kept, c, self.nearest(c), COARSE, self.memory)
        return self._fits[fold, c]

    def nearest(self, c: float) -> Floats:
        """Where to begin: the mean of what the folds have found with the nearest penalty."""
        if not self._fits:
            return self.rows.start()
        near = min((tried for _, tried in self._fits), key=lambda tried: abs(np.log(tried / c)))
        return np.asarray(np.mean([found for (_, tried), found in self._fits.items() if tried == near], axis=0))

    def _loss(self, at: int) -> float:
        c = self.grid[at]
        if c not in self.losses:
            losses, weights, judged = 0.0, 0.0, 0
            for fold, (start, stop) in enumerate(self.folds):
                if judged >= ENOUGH:
                    break
                weight = self.rows.weight[start:stop].astype(np.float64)
                said = self.rows.probabilities(start, stop, self.fit(fold, c).astype(np.float32))
                losses += float(self.rows.losses(start, stop, said) @ weight)
                weights += float(weight.sum())
                judged += stop - start
            self.losses[c] = losses / weights
        return self.losses[c]


def _tasks(ranges: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    blocks = [(at, min(at + BLOCK, stop)) for start, stop in ranges for at in range(start, stop, BLOCK)]
    for at in range(0, len(blocks), TASK):
        yield blocks[at : at + TASK]


def _eigenbasis(x: Single) -> tuple[Single, Floats]:
    """Orthonormal columns (dimension, rank) and the variance of standardized rows along each."""
    n, dimension = x.shape
    if n < dimension:  # the optimum lies in the span of the rows
        values, vectors = np.linalg.eigh((x @ x.T).astype(np.float64))
        kept = values > 1e-6 * max(values[-1], 1e-12)
        basis = x.T.astype(np.float64) @ (vectors[:, kept] / np.sqrt(values[kept]))
        return basis.astype(np.float32), values[kept] / n
    sample = x[:: max(1, n // (20 * dimension))]
    values, vectors = np.linalg.eigh((sample.T @ sample).astype(np.float64) / len(sample))
    return vectors.astype(np.float32), np.maximum(values, 0.0)
