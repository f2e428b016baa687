"""Percentile bootstrap over tasks (Efron and Tibshirani, An Introduction to the Bootstrap, ch. 13).

A figure is a function of *weights*, tasks x draws: how often each task counts. All ones give the figure itself; the
columns that come from drawing tasks with replacement give its interval. So nothing is written twice, and all figures
of one table see the same draws.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from labeling.agreement.answers import Floats, Ints

Weights = Floats | NDArray[np.uint8]
Figure = Callable[[Weights], Floats]  # weights, tasks x draws -> figures x draws

_BLOCK = 128  # draws at a time, fewer where they would be more than
_BLOCK_BYTES = 50_000_000
_EXACT = 20_000_000  # weights in all, up to which they are double precision; above, a byte each, since memory is slow
_CHUNK = 4096  # tasks summed in single precision before the sum goes on in double


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval over `tasks` tasks; where it is undefined, nan and the `reason`."""

    value: float
    low: float
    high: float
    tasks: int
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Figures with their intervals, one entry each; nan where undefined."""

    value: Floats
    low: Floats
    high: Floats

    def estimate(self, i: int, tasks: int, reason: str = "") -> Estimate:
        """The figure number `i`; the reason is kept only where it is undefined."""
        value = float(self.value[i])
        if math.isnan(value):
            return undefined(tasks, reason)
        return Estimate(value, float(self.low[i]), float(self.high[i]), tasks)


def undefined(tasks: int, reason: str) -> Estimate:
    """No figure, and why."""
    return Estimate(math.nan, math.nan, math.nan, tasks, reason)


def estimate(figures: Sequence[Figure], tasks: int, *, draws: int = 1000, seed: int = 0) -> list[Estimates]:
    """Each figure with its 95 % interval over `draws` samples of all tasks; no draws, no interval.

    Draw by draw, `default_rng(seed).integers(0, tasks, tasks)` says which tasks are in the sample. Draws in which a
    figure is undefined are left out of its interval.
    """
    with one_thread():
        values = [figure(np.ones((tasks, 1)))[:, 0] for figure in figures]
        drawn: list[list[Floats]] = [[] for _ in figures]
        for weights in _ahead(samples(tasks, draws, seed, exact=tasks * draws <= _EXACT)):
            for figure, blocks in zip(figures, drawn, strict=True):
                blocks.append(figure(weights).astype(_precision(weights), copy=False))
    found = []
    for value, blocks in zip(values, drawn, strict=True):
        low, high = percentiles(np.concatenate(blocks, axis=1) if blocks else np.empty((len(value), 0)))
        found.append(Estimates(value, low, high))
    return found


def in_order(codes: Ints, size: int) -> Ints:
    """The stable order of codes below `size`; numpy sorts short integers by counting, in a tenth of the time."""
    return np.argsort(codes.astype(np.min_scalar_type(size)), kind="stable")


def one_thread() -> AbstractContextManager[Any]:
    """Inside, each matrix product runs on one core: the many small ones here would wait for each other's threads."""
    limited: AbstractContextManager[Any] = _libraries().limit(limits=1, user_api="blas")
    return limited


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def samples(tasks: int, draws: int, seed: int, *, exact: bool) -> Iterator[Weights]:
    """How often each task is drawn, tasks x some draws at a time; in bytes unless `exact`.

    That one of many tasks is drawn more than 255 times does not happen: the chance is below 1e-500.
    """
    rng = np.random.default_rng(seed)
    dtype = np.float64 if exact else np.uint8
    size = max(1, min(draws, _BLOCK, _BLOCK_BYTES // (np.dtype(dtype).itemsize * max(1, tasks))))
    for start in range(0, draws if tasks else 0, size):
        counts = np.empty((min(size, draws - start), tasks), dtype=dtype)
        for row in counts:
            row[:] = np.bincount(rng.integers(0, tasks, tasks), minlength=tasks)
        yield np.ascontiguousarray(counts.T)


def _precision(weights: Weights) -> type[np.floating[Any]]:
    """What sums over weights are taken in."""
    return np.float32 if weights.dtype == np.uint8 else np.float64


def percentiles(values: Floats) -> tuple[Floats, Floats]:
    """The 2.5th and the 97.5th percentile of each row, linear between ranks, nan left out."""
    ordered = np.sort(values, axis=1)  # nan goes last
    last = (~np.isnan(ordered)).sum(axis=1) - 1
    if not values.shape[1]:
        return np.full(len(values), np.nan), np.full(len(values), np.nan)

    def at(share: float) -> Floats:
        rank = np.maximum(last, 0) * share
        below = rank.astype(np.int64)
        above = np.minimum(below + 1, np.maximum(last, 0))
        rows = np.arange(len(ordered))
        a, b = ordered[rows, below].astype(np.float64), ordered[rows, above].astype(np.float64)
        between: Floats = a + (b - a) * (rank - below)
        return between

    return at(0.025), at(0.975)


def totals(terms: Floats) -> Figure:
    """The weighted column sums of per-task terms (tasks x figures)."""

    def figure(weights: Weights) -> Floats:
        sums, precision = np.zeros((terms.shape[1], weights.shape[1])), _precision(weights)
        for start in range(0, len(terms), _CHUNK):
            part, drawn = (each[start : start + _CHUNK].astype(precision, copy=False) for each in (terms, weights))
            sums += part.T @ drawn
        return sums

    return figure


def grouped(terms: Floats, task: Ints, group: Ints, groups: int) -> Figure:
    """The weighted column sums of per-answer terms (answers x columns) in each group: groups x columns x draws.

    `task` names the task whose weight an answer has, `group` its group; many groups of few answers are fine.
    """
    order = in_order(group, groups)
    ordered, rows = terms[order], task[order]
    bounds = np.searchsorted(group[order], np.arange(groups + 1)).tolist()

    def sums(weights: Weights) -> Floats:
        precision = _precision(weights)
        found = np.zeros((groups, ordered.shape[1], weights.shape[1]), dtype=precision)
        for g, (begin, end) in enumerate(itertools.pairwise(bounds)):
            for a in range(begin, end, _CHUNK):
                b = min(a + _CHUNK, end)
                drawn = weights.take(rows[a:b], axis=0).astype(precision, copy=False)
                found[g] += ordered[a:b].astype(precision, copy=False).T @ drawn
        return found

    return sums


def _ahead(blocks: Iterator[Weights]) -> Iterator[Weights]:
    """The same blocks, each made on another core while the one before it is used."""
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = worker.submit(next, blocks, None)
            yield block
