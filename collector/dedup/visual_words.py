"""Pictures that may show the same thing, found without any hash of the whole: those whose points agree.

A word is a few bits of a point's descriptor; points that share a word in one of a few tables (locality-sensitive
hashing; Indyk and Motwani, 1998) are compared in full. Words of many points say little and are left out, and a point
that agrees with points of h other pictures gives each of them 1/h of its vote (as in inverse document frequency).

Memory is 40 bytes a point, 20 kB a picture. Time grows with the points and with how many share a word, which
`FREQUENT` bounds. A word that more copies of one picture share is left out as well, and each of many copies gets
little of a vote: give one picture of those that hashes have grouped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collector.dedup.geometry import Points

STRONGEST = 500  # points of a picture that vote
ALL = 20_000_000  # points that vote, at most: from 40,000 pictures on each has fewer
TABLES = 8
BITS = 26  # of a word
NEAR = 32  # bits of 256 in which points that agree differ at most
FREQUENT = 32  # a word of more points than this is left out
SCORE = 2.0  # votes of a candidate, at least
MOST = 20  # candidates of a picture, at most
PART = 4_000_000  # points sorted at once
SLICE = 500_000  # pairs compared at once


class Candidates(NamedTuple):
    """Pairs of pictures with the votes they got, sorted by (first, second)."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    score: NDArray[np.float64]


def candidates(
    points: Sequence[Points], mirrored: Sequence[Points] = (), *, least: float = SCORE, most: int = MOST
) -> Candidates:
    """The pairs i < j of pictures whose points agree: the `most` best of each picture with at least `least` votes.

    With `mirrored`, the points of each picture's mirror image, also pairs of a picture and a mirrored part of it.
    """
    owner, words = _joined(points)
    found = _best(owner, _agreeing(owner, words, owner), len(points), least, most)
    if not mirrored:
        return found
    turned = candidates_between(mirrored, points, least=least, most=most)
    first, second = np.minimum(turned.first, turned.second), np.maximum(turned.first, turned.second)
    pairs = np.concatenate([found.first, first]) * len(points) + np.concatenate([found.second, second])
    score = np.concatenate([found.score, turned.score])
    order = np.lexsort((-score, pairs))
    unique, begins = np.unique(pairs[order], return_index=True)
    first, second = np.divmod(unique, max(1, len(points)))
    other = first < second  # a picture may be its own mirror image
    return Candidates(first[other], second[other], score[order][begins][other])


def candidates_between(
    queries: Sequence[Points], pool: Sequence[Points], *, least: float = SCORE, most: int = MOST
) -> Candidates:
    """The pairs (query, picture of the pool) whose points agree, chosen as in `candidates`."""
    owner, words = _joined([*queries, *pool])
    found = _best(owner, _agreeing(owner, words, owner >= len(queries)), len(queries) + len(pool), least, most)
    return found._replace(second=found.second - len(queries))


def _joined(points: Sequence[Points]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Whose the points that vote are (m,), and their descriptors (m, 4)."""
    most = min(STRONGEST, ALL // max(1, len(points)))
    parts = [each.descriptors[:most] for each in points]
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return owner, np.concatenate([np.empty((0, 32), np.uint8), *parts]).view(np.uint64)


def _agreeing(owner: NDArray[np.int64], words: NDArray[np.uint64], side: NDArray[np.generic]) -> NDArray[np.int64]:
    """(point, picture with an agreeing point) as point * pictures + picture, sorted; only between different sides."""
    pictures = int(owner[-1]) + 1 if len(owner) else 0
    seen = np.empty(0, np.int64)
    for table in range(TABLES):
        found = [seen]
        for p, q in _sharing(_word(words, table), side):
            near = np.bitwise_count(words[p] ^ words[q]).sum(axis=1, dtype=np.int64) <= NEAR
            p, q = p[near], q[near]
            found += [p * pictures + owner[q], q * pictures + owner[p]]
        seen = np.unique(np.concatenate(found))
    return seen


def _word(words: NDArray[np.uint64], table: int) -> NDArray[np.uint64]:
    """A 32-bit hash of the descriptor bits that a table looks at; the bits are fixed, so two runs find the same."""
    draw = np.random.default_rng(table)
    chosen = np.zeros(256, bool)
    chosen[draw.choice(256, BITS, replace=False)] = True
    masks = np.packbits(chosen).view(np.uint64)
    odd = draw.integers(0, 2**63, 4, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    mixed = np.zeros(len(words), np.uint64)
    for column in range(4):
        mixed ^= (words[:, column] & masks[column]) * odd[column]
        mixed ^= mixed >> np.uint64(29)
        mixed *= odd[column]
    return mixed >> np.uint64(32)


def _sharing(word: NDArray[np.uint64], side: NDArray[np.generic]) -> Iterator[tuple[NDArray[np.int64], ...]]:
    """The pairs of points of different sides that share a word which is not frequent, in slices."""
    parts = len(word) // PART + 1
    for part in range(parts):
        own = np.flatnonzero(word % np.uint64(parts) == part)
        packed = np.sort(word[own] << np.uint64(32) | own.astype(np.uint64))
        order = (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)
        starts = np.flatnonzero(np.diff(packed >> np.uint64(32), prepend=np.uint64(2**32)))
        sizes = np.diff(starts, append=len(packed))
        after = np.repeat(starts + sizes, sizes) - np.arange(len(packed)) - 1  # points of the same word that follow
        at = np.flatnonzero(np.repeat((sizes > 1) & (sizes <= FREQUENT), sizes))
        for step in range(1, FREQUENT):
            at = at[after[at] >= step]
            for begin in range(0, len(at), SLICE):
                p, q = order[at[begin : begin + SLICE]], order[at[begin : begin + SLICE] + step]
                other = side[p] != side[q]
                yield p[other], q[other]


def _best(owner: NDArray[np.int64], seen: NDArray[np.int64], pictures: int, least: float, most: int) -> Candidates:
    """Sum the votes of each pair of pictures; the best pairs of each picture."""
    point, other = np.divmod(seen, max(1, pictures))
    vote = 1.0 / np.bincount(point, minlength=len(owner))[point]
    first, second = np.minimum(owner[point], other), np.maximum(owner[point], other)
    pairs, which = np.unique(first * pictures + second, return_inverse=True)
    score = np.bincount(which, vote, minlength=len(pairs)) / 2  # each side has voted
    pairs, score = pairs[score >= least], score[score >= least]
    first, second = np.divmod(pairs, max(1, pictures))
    either, rows = np.concatenate([first, second]), np.tile(np.arange(len(pairs)), 2)
    order = np.lexsort((-score[rows], either))
    begins = np.flatnonzero(np.diff(either[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(begins, np.diff(begins, append=len(order)))
    kept = np.unique(rows[order[rank < most]])
    return Candidates(first[kept], second[kept], score[kept])
