"""A committee of heads: each learns the same features under other weights, so that they differ where data lack."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipelines.calibrate import Floats
from pipelines.head import Examples, Rows, minimize
from pipelines.predict import Head


def committee(given: Examples, c: float, members: int, seed: int) -> list[Head]:
    """Heads with the inverse penalty `c`, each on a bootstrap of the examples.

    It is the Bayesian bootstrap (Rubin, Annals of Statistics 9 (1981) 130): every image counts, by a weight drawn from
    an exponential distribution, so that no member misses a rare label altogether.
    """
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(seed)
    whole = [(0, len(given.matrix))]
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = Rows.of(given, np.arange(len(given.matrix)), balanced=False, pool=pool)
        at = minimize(rows, whole, c, rows.start())  # where each member begins
        found = []
        for _ in range(members):
            weight = rng.exponential(size=len(rows.x)).astype(np.float32)
            drawn = replace(rows, weight=weight)
            found.append(drawn.head(minimize(drawn, whole, c, at), given.labels))
        return found


def votes(heads: list[Head], vectors: NDArray[np.float32]) -> Floats:
    """What each member says: (members, images, labels)."""
    return np.stack([head.probabilities(vectors) for head in heads])
