"""Which pictures are worth a label: acquisition functions of active learning, numpy only.

Scores are higher where a label tells more. Vectors are (images, dimension), in half or single precision: the matrix is
read in chunks, so a million pictures of 512 figures take one gigabyte, and one chunk more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.calibrate import Floats

Vectors = NDArray[np.floating[Any]]
Rows = NDArray[np.int64]
MOST_CLUSTERS = 500
SAMPLE = 20_000  # rows that clusters are found on
NEIGHBORS = 20  # whose mean distance says how typical a row is
CROWD = 2000  # rows of a cluster among which neighbors are sought
CHUNK = 8192  # rows of a matrix that are in single precision at once
BLOCK = 1024  # rows whose distances are brought up to date at once


def entropy(probabilities: Floats) -> Floats:
    """Shannon entropy of each row in nats: 0 is certain, log(labels) knows nothing (Settles, 2009, 3.1)."""
    return np.asarray(-(probabilities * np.log(np.maximum(probabilities, 1e-300))).sum(axis=-1))


def margin(probabilities: Floats) -> Floats:
    """1 - (first - second): 1 where two labels are equally likely (Scheffer, Decomain and Wrobel, IDA 2001)."""
    first = np.partition(probabilities, -2, axis=-1)
    return np.asarray(1 - (first[..., -1] - first[..., -2]))


def bald(members: Floats) -> Floats:
    """How much the members of an ensemble disagree, (members, images, labels): mutual information in nats.

    Entropy of the mean less mean of the entropies: what no member knows (noise) cancels out (Houlsby, Huszar,
    Ghahramani and Lengyel, arXiv:1112.5745, with members in place of draws from a posterior).
    """
    return np.asarray(entropy(members.mean(axis=0)) - entropy(members).mean(axis=0))


def directions(vectors: Vectors) -> NDArray[np.float16]:
    """Vectors of length 1, in half precision: between them distances are those of angles."""
    single = vectors.astype(np.float32)
    length = np.linalg.norm(single, axis=1, keepdims=True)
    return np.asarray((single / np.maximum(length, 1e-12)).astype(np.float16))


def k_center(vectors: Vectors, centers: Vectors, count: int, weight: Floats | None = None) -> tuple[list[int], Floats]:
    """Rows that lie far from all centers and from each other, farthest first, and the score that each was taken for.

    Each next row is the one farthest from its nearest center, and then is a center itself (greedy k-center: Gonzalez,
    Theoretical Computer Science 38 (1985) 293; as active learning: Sener and Savarese, ICLR 2018). With `weight`, such
    as the uncertainty of a model, distances are multiplied by it: a batch of doubtful pictures that are not all of one
    kind (Zhdanov, arXiv:1901.05954, weighs k-means likewise). Without any center the row nearest to the mean begins.

    Scores only fall as centers come, so a row is looked at again only when its last score is the highest of all
    (Minoux, 1978): the rows are those of the plain algorithm.
    """
    weight = np.ones(len(vectors)) if weight is None else weight
    count = min(count, len(vectors))
    if not count:
        return [], np.zeros(0)
    chosen: list[int] = [] if len(centers) else [_most_central(vectors)]
    near = nearest(vectors, centers if len(centers) else vectors[chosen])
    known = np.full(len(vectors), len(chosen))  # how many of the chosen rows `near` has seen
    scores = _score(near, weight)
    reached = [float(scores.max())] * len(chosen)
    scores[chosen] = -1.0
    while len(chosen) < count:
        first = int(scores.argmax())
        if known[first] < len(chosen):
            block = np.argpartition(-scores, min(BLOCK, len(scores) - 1))[:BLOCK]
            block = block[known[block] < len(chosen)]
            for seen in np.unique(known[block]):
                rows = block[known[block] == seen]
                near[rows] = np.minimum(near[rows], nearest(vectors[rows], vectors[chosen[seen:]]))
            known[block] = len(chosen)
            scores[block] = np.where(scores[block] < 0, -1.0, _score(near[block], weight[block]))
            continue
        chosen.append(first)
        reached.append(float(scores[first]))
        scores[first] = -1.0
    return chosen, np.array(reached)


def _score(near: Floats, weight: Floats) -> Floats:
    return np.asarray(weight * np.sqrt(near))


def nearest(vectors: Vectors, centers: Vectors) -> Floats:
    """The squared distance of each row to its nearest center, (images,)."""
    return np.concatenate([part.min(axis=1) for part in _distances(vectors, centers)])


def _distances(vectors: Vectors, centers: Vectors) -> Iterator[NDArray[np.float32]]:
    """Squared distances of a chunk of rows to all centers, (rows, centers), chunk by chunk."""
    fixed = centers.astype(np.float32)
    size = (fixed**2).sum(axis=1)
    rows = max(1, min(CHUNK, 64 * CHUNK // max(1, len(fixed))))
    for start in range(0, len(vectors), rows):
        part = vectors[start : start + rows].astype(np.float32)
        yield np.maximum((part**2).sum(axis=1)[:, None] + size - 2 * part @ fixed.T, 0)


def _most_central(vectors: Vectors) -> int:
    middle = vectors.mean(axis=0, dtype=np.float64, keepdims=True)
    return int(nearest(vectors, middle).argmin())


def typical(vectors: Vectors, centers: Vectors, count: int, rng: np.random.Generator) -> tuple[list[int], Floats]:
    """Rows for the first labels of all, before a model knows anything, and how typical each is.

    The rows fall into as many clusters as there will be labels; of each, the largest and those without a center first,
    the row with the nearest neighbors is taken (TypiClust: Hacohen, Dekel and Weinshall, ICML 2022, with k-means on a
    sample of the rows). How typical: 1 / the mean distance to its nearest neighbors in the cluster.
    """
    count = min(count, len(vectors))
    clusters = max(1, min(len(centers) + count, MOST_CLUSTERS, len(vectors) // 2))
    drawn = np.sort(rng.permutation(len(vectors))[:SAMPLE])
    means = _k_means(vectors[drawn], clusters, rng)
    home = _assigned(vectors, means)
    covered = np.bincount(_assigned(centers, means), minlength=clusters)
    size = np.bincount(home, minlength=clusters)
    waiting = [_by_typicality(vectors, np.flatnonzero(home == k), rng) for k in range(clusters)]
    chosen: list[int] = []
    scores: list[float] = []
    while len(chosen) < count:
        k = min((k for k in range(clusters) if waiting[k]), key=lambda k: (covered[k], -size[k], k))
        score, row = waiting[k].pop()
        covered[k] += 1
        chosen.append(row)
        scores.append(score)
    return chosen, np.array(scores)


def _by_typicality(vectors: Vectors, rows: Rows, rng: np.random.Generator) -> list[tuple[float, int]]:
    """(typicality, row), the most typical last."""
    if len(rows) < 2:
        return [(0.0, int(row)) for row in rows]
    crowd = vectors[rng.permutation(rows)[:CROWD]]
    wide = min(NEIGHBORS + 1, len(crowd))  # a row of the crowd is its own nearest neighbor, at distance 0
    parts = [np.partition(part, wide - 1, axis=1)[:, :wide] for part in _distances(vectors[rows], crowd)]
    typicality = (wide - 1) / np.maximum(np.sqrt(np.concatenate(parts)).sum(axis=1, dtype=np.float64), 1e-6)
    order = np.lexsort((-rows, typicality))
    return [(float(typicality[at]), int(rows[at])) for at in order]


def _k_means(vectors: Vectors, clusters: int, rng: np.random.Generator, rounds: int = 10) -> Vectors:
    """Cluster means by Lloyd's algorithm; an empty cluster keeps its mean.

    It begins with rows that are drawn by their squared distance to those before (k-means++: Arthur and Vassilvitskii,
    SODA 2007).
    """
    begun = [int(rng.integers(len(vectors)))]
    near = nearest(vectors, vectors[begun])
    while len(begun) < clusters:
        chance = near.cumsum(dtype=np.float64)
        begun.append(min(int(np.searchsorted(chance, rng.random() * chance[-1], side="right")), len(vectors) - 1))
        near = np.minimum(near, nearest(vectors, vectors[begun[-1:]]))
    means = vectors[begun].astype(np.float32)
    for _ in range(rounds):
        home = _assigned(vectors, means)
        order = np.argsort(home, kind="stable")
        filled, first = np.unique(home[order], return_index=True)
        sums = np.add.reduceat(vectors[order].astype(np.float32), first, axis=0)
        means[filled] = sums / np.bincount(home, minlength=clusters)[filled, None]
    return means


def _assigned(vectors: Vectors, means: Vectors) -> Rows:
    if not len(vectors):
        return np.zeros(0, dtype=np.int64)
    return np.concatenate([part.argmin(axis=1) for part in _distances(vectors, means)])
