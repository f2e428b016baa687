"""The linear head: multinomial logistic regression on features, its penalty chosen by cross-validation.

Penalized log loss is convex, so a fit is its one optimum whatever finds it. What finds it here is L-BFGS (Nocedal and
Wright, Numerical Optimization, 2006, algorithm 7.4) in the eigenbasis of the features' covariance, started from a
diagonal estimate of the Hessian: that of each label is nearly its mean p (1 - p) times the covariance. About ten looks
at the data do, where scikit-learn needs hundreds; every fit begins where the one before has ended.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.calibrate import Floats, Ints
from pipelines.config import TrainConfig
from pipelines.predict import Head

Single = NDArray[np.float32]
ENOUGH = 2000  # held-out images that tell the penalties of a grid apart; more folds than hold them only add time
BLOCK = 1024  # rows at once: they stay in the processor's cache between the two products with them
TASK = 8  # blocks that a thread takes; sums are added in the order of tasks, so threads change no bit
MEMORY = 10  # pairs that L-BFGS remembers
STEPS = 200
COARSE, FINE = 1e-3, 1e-4  # how far a fit may be from its least loss, as a share: in the search, and in the end

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
        found = minimize(rows, [(0, len(order))], c, search.nearest(0, c))
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
    """Over some rows: weighted log loss, its gradient (dimension + 1, logits), and p (1 - p) of each logit."""

    loss: float
    gradient: Floats
    curvature: Floats


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a fit in the eigenbasis of their covariance, sorted by fold; two labels are one logit.

    `spectrum` has the eigenvalues and last a 1 for the intercept.
    """

    x: Single
    target: Ints | Floats
    weight: Single
    balanced: bool
    mean: Floats
    scale: Floats
    basis: Single
    spectrum: Floats
    logits: int
    pool: ThreadPoolExecutor

    @classmethod
    def of(cls, given: Examples, order: Ints, *, balanced: bool, pool: ThreadPoolExecutor) -> Rows:
        """Standardize, rotate and sort; a feature that hardly varies is left unscaled."""
        mean = given.matrix.mean(axis=0, dtype=np.float64)
        spread = given.matrix.std(axis=0, dtype=np.float64)
        scale = np.where(spread > 1e-6, spread, 1.0)
        x = given.matrix[order]
        x -= mean.astype(np.float32)
        x /= scale.astype(np.float32)
        basis, spectrum = _eigenbasis(x)
        parts = [slice(start, start + BLOCK * TASK) for start in range(0, len(x), BLOCK * TASK)]
        x = np.concatenate(list(pool.map(lambda part: x[part] @ basis, parts)))
        labels, target = len(given.labels), given.target[order]
        weight = np.ones(len(x), dtype=np.float32)
        if balanced:
            share = np.bincount(target, minlength=labels) if target.ndim == 1 else target.sum(axis=0)
            each = len(x) / (np.count_nonzero(share) * np.maximum(share, 1e-12))
            weight = (each[target] if target.ndim == 1 else target @ each).astype(np.float32)
        logits = 1 if labels == 2 else labels
        return cls(x, target, weight, balanced, mean, scale, basis, spectrum, logits, pool)

    def start(self) -> Floats:
        """Parameters that give every row the shares of the labels: (dimension + 1, logits), the intercept last."""
        size = max(2, self.logits)
        sums = np.bincount(self.target, self.weight, size) if self.target.ndim == 1 else self.weight @ self.target
        logs = np.log(sums + 0.5)
        found = np.zeros((self.x.shape[1] + 1, self.logits))
        found[-1] = logs[1] - logs[0] if self.logits == 1 else logs - logs.mean()
        return found

    def probabilities(self, start: int, stop: int, parameters: Single) -> Single:
        """Of every label for rows start to stop: (rows, labels)."""
        logits = self.x[start:stop] @ parameters[:-1]
        logits += parameters[-1]
        if self.logits == 1:
            logits = np.hstack([np.zeros_like(logits), logits])
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=1, keepdims=True)
        return np.asarray(logits)

    def sums(self, ranges: Sequence[tuple[int, int]], parameters: Floats) -> Sums:
        """Loss, gradient and curvature over ranges of rows."""
        single = parameters.astype(np.float32)
        done = self.pool.map(lambda blocks: self._sums(blocks, single), _tasks(ranges))
        loss, gradient, curvature = (np.sum(part, axis=0, dtype=np.float64) for part in zip(*done, strict=True))
        return Sums(float(loss), np.asarray(gradient), np.asarray(curvature))

    def _sums(self, blocks: Sequence[tuple[int, int]], parameters: Single) -> tuple[float, Single, Single]:
        loss, gradient = 0.0, np.zeros_like(parameters)
        curvature = np.zeros(self.logits, dtype=np.float32)
        for start, stop in blocks:
            p = self.probabilities(start, stop, parameters)
            weight, target = self.weight[start:stop], self.target[start:stop]
            loss += float(log_losses(p, target) @ weight)
            kept = p[:, -self.logits :]
            curvature += weight @ kept - np.einsum("n,nk,nk->k", weight, kept, kept)
            residual(p, target)
            if self.balanced:
                kept *= weight[:, None]
            gradient[:-1] += self.x[start:stop].T @ kept
            gradient[-1] += kept.sum(axis=0)
        return loss, gradient, curvature

    def head(self, parameters: Floats, labels: Sequence[str]) -> Head:
        """The parameters as a head on the features as they were given."""
        weights, bias = (self.basis @ parameters[:-1]).T, parameters[-1]
        if self.logits == 1:
            weights, bias = np.vstack([np.zeros_like(weights), weights]), np.array([0.0, bias[0]])
        return Head(tuple(labels), weights, bias, self.mean, self.scale)


def log_losses(probabilities: Single, target: Ints | Floats) -> Floats:
    """The log loss of each row, in nats."""
    floor = np.finfo(np.float32).tiny
    if target.ndim == 1:
        return np.asarray(-np.log(np.maximum(probabilities[np.arange(len(target)), target], floor)), dtype=np.float64)
    return np.asarray(-(target * np.log(np.maximum(probabilities, floor))).sum(axis=1), dtype=np.float64)


def residual(probabilities: Single, target: Ints | Floats) -> None:
    """Turn probabilities into probabilities minus target, in place."""
    if target.ndim == 1:
        probabilities[np.arange(len(target)), target] -= 1
    else:
        probabilities -= target


def minimize(rows: Rows, ranges: Sequence[tuple[int, int]], c: float, start: Floats, within: float = FINE) -> Floats:
    """The parameters with the least penalized log loss over ranges of rows, sought from `start`."""
    ridge = np.append(np.full(rows.x.shape[1], 1 / c), 0.0)[:, None]
    size = sum(stop - start_ for start_, stop in ranges)

    def look(parameters: Floats) -> Sums:
        seen = rows.sums(ranges, parameters)
        loss = seen.loss + 0.5 * float((ridge * parameters**2).sum())
        return Sums(loss, seen.gradient + ridge * parameters, seen.curvature)

    at, here = start, look(start)
    pairs: deque[tuple[Floats, Floats]] = deque(maxlen=MEMORY)
    for _ in range(STEPS):
        diagonal = rows.spectrum[:, None] * np.maximum(here.curvature, 1e-6 * size) + ridge
        step = -_inverse_times(here.gradient, pairs, diagonal)
        decrement = -float((here.gradient * step).sum())
        if decrement <= 2 * within * max(here.loss, NONE * size):
            break
        length, there = 1.0, look(at + step)
        while there.loss > here.loss - 1e-4 * length * decrement and length > 1e-6:
            length /= 2
            there = look(at + length * step)
        moved, turned = length * step, there.gradient - here.gradient
        if float((moved * turned).sum()) > 0:
            pairs.append((moved, turned))
        at, here = at + moved, there
    return at


def _inverse_times(gradient: Floats, pairs: Sequence[tuple[Floats, Floats]], diagonal: Floats) -> Floats:
    """The inverse Hessian, as L-BFGS knows it, times a gradient."""
    q, steps = gradient.copy(), []
    for moved, turned in reversed(pairs):
        rho = 1 / float((moved * turned).sum())
        a = rho * float((moved * q).sum())
        q -= a * turned
        steps.append((a, rho))
    q /= diagonal
    for (moved, turned), (a, rho) in zip(pairs, reversed(steps), strict=True):
        q += moved * (a - rho * float((turned * q).sum()))
    return q


class _Search:
    """The fits of cross-validation: each begins at the nearest penalty that its fold has seen."""

    def __init__(self, rows: Rows, folds: list[tuple[int, int]], grid: list[float]) -> None:
        self.rows = rows
        self.folds = folds
        self.grid = grid
        self.losses: dict[float, float] = {}
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
            found[order[start:stop]] = self.rows.probabilities(start, stop, self.fit(fold, c).astype(np.float32))
        return found

    def fit(self, fold: int, c: float) -> Floats:
        """The fit at `c` on all rows but those of a fold."""
        if (fold, c) not in self._fits:
            start, stop = self.folds[fold]
            kept = [(0, start), (stop, len(self.rows.x))]
            self._fits[fold, c] = minimize(self.rows, kept, c, self.nearest(fold, c), COARSE)
        return self._fits[fold, c]

    def nearest(self, fold: int, c: float) -> Floats:
        """Where to begin: the fit of this fold with the nearest penalty, else of the first one."""
        for each in (fold, 0):
            known = [tried for at, tried in self._fits if at == each]
            if known:
                return self._fits[each, min(known, key=lambda tried: abs(np.log(tried / c)))]
        return self.rows.start()

    def _loss(self, at: int) -> float:
        c = self.grid[at]
        if c not in self.losses:
            losses, weights, judged = 0.0, 0.0, 0
            for fold, (start, stop) in enumerate(self.folds):
                if judged >= ENOUGH:
                    break
                weight = self.rows.weight[start:stop].astype(np.float64)
                said = self.rows.probabilities(start, stop, self.fit(fold, c).astype(np.float32))
                losses += float(log_losses(said, self.rows.target[start:stop]) @ weight)
                weights += float(weight.sum())
                judged += stop - start
            self.losses[c] = losses / weights
        return self.losses[c]


def _tasks(ranges: Sequence[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    blocks = [(at, min(at + BLOCK, stop)) for start, stop in ranges for at in range(start, stop, BLOCK)]
    for at in range(0, len(blocks), TASK):
        yield blocks[at : at + TASK]


def _eigenbasis(x: Single) -> tuple[Single, Floats]:
    """Orthonormal columns (dimension, rank) and the variance of standardized rows along each, then 1."""
    n, dimension = x.shape
    if n < dimension:  # the optimum lies in the span of the rows
        values, vectors = np.linalg.eigh((x @ x.T).astype(np.float64))
        kept = values > 1e-6 * max(values[-1], 1e-12)
        basis = x.T.astype(np.float64) @ (vectors[:, kept] / np.sqrt(values[kept]))
        return basis.astype(np.float32), np.append(values[kept] / n, 1.0)
    sample = x[:: max(1, n // (20 * dimension))]
    values, vectors = np.linalg.eigh((sample.T @ sample).astype(np.float64) / len(sample))
    return vectors.astype(np.float32), np.append(np.maximum(values, 0.0), 1.0)
