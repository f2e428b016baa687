"""Which pictures are worth a label: acquisition functions of active learning, numpy only.

Scores are higher where a label tells more. Vectors are (images, dimension), in half or single precision: the matrix is
read in chunks, so a million pictures of 512 figures take one gigabyte, and one chunk more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.calibrate import Floats, Single

Vectors = NDArray[np.floating[Any]]
Rows = NDArray[np.int64]
MOST_CLUSTERS = 500
SAMPLE = 20_000  # rows that clusters are found on
NEIGHBORS = 20  # whose mean distance says how typical a row is
CROWD = 2000  # rows of a cluster among which neighbors are sought
CHUNK = 8192  # rows of a matrix that are in single precision at once
BLOCK = 1024  # rows whose distances are brought up to date at once
FEW = 32  # rows whose gains are
ROWS = 4096  # rows that are compared each with each
BREADTH = 25  # doubtful rows looked at for each one wanted


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


def k_center(vectors: Vectors, centers: Vectors, count: int) -> tuple[list[int], Floats]:
    """Rows that lie far from all centers and from each other, farthest first, and the score that each was taken for.

    Each next row is the one farthest from its nearest center, and then is a center itself (greedy k-center: Gonzalez,
    Theoretical Computer Science 38 (1985) 293; as active learning: Sener and Savarese, ICLR 2018). Without any center
    the row nearest to the mean begins.

    Scores only fall as centers come, so a row is looked at again only when its last score is the highest of all
    (Minoux, 1978): the rows are those of the plain algorithm.
    """
    count = min(count, len(vectors))
    if not count:
        return [], np.zeros(0)
    chosen: list[int] = [] if len(centers) else [_most_central(vectors)]
    near = nearest(vectors, centers if len(centers) else vectors[chosen])
    known = np.full(len(vectors), len(chosen))  # how many of the chosen rows `near` has seen
    scores = np.sqrt(near)
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
            scores[block] = np.where(scores[block] < 0, -1.0, np.sqrt(near[block]))
            continue
        chosen.append(first)
        reached.append(float(scores[first]))
        scores[first] = -1.0
    return chosen, np.array(reached)


def hybrid(
    vectors: Vectors, centers: Vectors, doubt: Floats, labels: int, count: int, rng: np.random.Generator
) -> tuple[list[int], Floats]:
    """Rows whose labels would settle the most doubt, and how much each settles: doubt x squared distance, added up.

    Of the doubtful rows those are taken that cover them best (`coverage`), a thousand at a time. With two
    labels one is mostly rare, and its images hide among few doubtful ones: 25 are looked at for each one wanted. With
    more, every kind has its doubts, and a narrow choice misses kinds: all are looked at that have half of the doubt.
    """
    left = np.argsort(-doubt, kind="stable")
    chosen: list[int] = []
    settled: list[float] = []
    while len(chosen) < min(count, len(vectors)):
        part = min(ROWS // 4, count - len(chosen))
        wide = BREADTH * part
        if labels > 2:
            total = doubt[left].cumsum()
            wide = max(wide, int(np.searchsorted(total, total[-1] / 2)) + 1)
        rows = left[:wide]
        if len(rows) > ROWS:
            rows = rows[:ROWS] if labels == 2 else np.sort(rng.permutation(rows)[:ROWS])
        places, found = coverage(vectors[rows], np.concatenate([centers, vectors[chosen]]), part, doubt[rows])
        chosen += rows[places].tolist()
        settled += found.tolist()
        left = left[~np.isin(left, rows[places])]
    return chosen, np.minimum.accumulate(settled) if settled else np.zeros(0)


def coverage(vectors: Vectors, centers: Vectors, count: int, weight: Floats) -> tuple[list[int], Floats]:
    """Rows that stand for the most weight, one after the other, and how much each takes away.

    What a row weighs counts by its squared distance to the nearest center, and a row that becomes a center takes away
    what it brings nearer. So an outlier stands for itself alone, and rows that are alike share one label. This is
    facility location by the greedy algorithm, which reaches 63 % of the best at the least (Wei, Iyer and Bilmes,
    "Submodularity in data subset selection and active learning", ICML 2015).

    What a row takes away only shrinks as centers come, so it is computed again only when it is the most of all (Minoux,
    1978). All distances between the rows are in memory: 64 MB for 4,096.
    """
    single, heavy = vectors.astype(np.float32), weight.astype(np.float32)
    apart = np.concatenate(list(_distances(single, single)))
    near = nearest(single, centers) if len(centers) else apart.max(axis=1)
    gain = np.concatenate([_gain(apart[at : at + BLOCK], near, heavy) for at in range(0, len(apart), BLOCK)])
    known = np.zeros(len(single), dtype=np.int64)  # how many of the chosen rows `gain` has seen
    chosen: list[int] = []
    taken: list[float] = []
    while len(chosen) < min(count, len(single)):
        first = int(gain.argmax())
        if known[first] < len(chosen):
            block = np.argpartition(-gain, min(FEW, len(gain) - 1))[:FEW]
            block = block[(known[block] < len(chosen)) & (gain[block] >= 0)]
            gain[block] = _gain(apart[block], near, heavy)
            known[block] = len(chosen)
            continue
        chosen.append(first)
        taken.append(float(gain[first]))
        near = np.minimum(near, apart[first])
        gain[first] = -1.0
    return chosen, np.array(taken)


def _gain(apart: Single, near: Single, weight: Single) -> Single:
    return np.asarray(np.maximum(near - apart, 0) @ weight)


def nearest(vectors: Vectors, centers: Vectors) -> Single:
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
