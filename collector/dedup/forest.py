"""Minimum spanning forests and connected components of graphs given as arrays of edges, without a loop over edges.

The minimum spanning forest of the pairs within a radius has the same connected components as all of these pairs, at
every smaller radius too (Gower and Ross, 1969): of the pairs that a search finds, it is all that must be kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]


def components(n: int, first: Index, second: Index) -> Index:
    """For each of n nodes the smallest node that it is connected with."""
    return _join(np.arange(n), first, second)


def spanning_forest(n: int, first: Index, second: Index, weight: NDArray[np.integer]) -> Index:
    """Which edges are the minimum spanning forest, sorted; of equal weights the earlier edge is the lighter.

    Boruvka's algorithm: each component takes the lightest edge that leaves it, until none does. Weights are below 2^16.
    """
    order = np.argsort(weight.astype(np.uint16), kind="stable")  # a radix sort
    chosen = [np.empty(0, np.int64)]
    root, alive = np.arange(n), np.arange(len(order))
    while True:
        a, b = root[first[order[alive]]], root[second[order[alive]]]
        apart = a != b
        alive, a, b = alive[apart], a[apart], b[apart]
        if not len(alive):
            return np.sort(order[np.concatenate(chosen)])
        lightest = np.full((2, n), len(order))
        lightest[0, a[::-1]] = alive[::-1]  # assigned from the heaviest to the lightest: the last one stays
        lightest[1, b[::-1]] = alive[::-1]
        least = lightest.min(axis=0)
        picked = np.unique(least[least < len(order)])
        chosen.append(picked)
        root = _join(root, first[order[picked]], second[order[picked]])


def _join(root: Index, first: Index, second: Index) -> Index:
    """The roots when pairs of nodes are joined; a root is the smallest node of its component."""
    root = root.copy()
    while True:
        a, b = root[first], root[second]
        apart = a != b
        if not apart.any():
            return root
        np.minimum.at(root, np.maximum(a, b)[apart], np.minimum(a, b)[apart])
        while not np.array_equal(above := root[root], root):
            root = above
