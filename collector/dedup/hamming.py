"""Exact search for hashes that differ in few bits: no pair is missed, whatever the radius.

Multi-index hashing (Norouzi, Punjani and Fleet, "Fast Exact Search in Hamming Space with Multi-Index Hashing", 2014) by
the generalized pigeonhole principle (Qin et al., "GPH: Similarity Search in Hamming Space", 2018). Hashes are cut into
chunks, and chunk k has a reach r_k, where sum(r_k + 1) = radius + 1. A pair that differs in more than r_k bits of every
chunk differs in more than `radius` bits; so every pair within the radius meets in some chunk, where its two values
differ by one of the masks of at most r_k bits. The cuts and reaches taken are those that a sample of the data says cost
least: chunks whose values crowd together get no reach. Where brute force costs less still (large radii), it is taken.

In a chunk, hashes are sorted by their value there and compared as tiles, some by some, so that the numpy calls stay
long whether a bucket holds one hash or thousands. Memory: 100 bytes a hash of 64 bits, 300 bytes a hash of 256 bits,
70 bytes a pair found, and 20 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise
from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collector.errors import CollectError

Words = NDArray[np.uint64]  # (words, n): a row of first words, a row of second words ...
Index = NDArray[np.int64]

CELLS = 1 << 17  # comparisons at once: their differences take 1 MB
COLUMNS = 1 << 12  # of them in a row: numpy is slower in shorter rows
CROWD = 1 << 13  # hashes in a bucket that is searched like a set of its own
PENDING = 1 << 20  # pairs verified at once
MOST = 20_000_000  # pairs in one answer
FEW = 10_000_000  # pairs that are compared sooner than planned for
SAMPLE = 1 << 16  # pairs drawn for the estimates
CUTS = (3, 4, 5, 6, 8)  # how many chunks a word is cut into
SIDES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # hashes along a tile


class Pairs(NamedTuple):
    """Pairs of hashes by their indices, sorted by (first, second), each once, with their distances in bits."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.uint16]


def near_pairs(hashes: NDArray[np.uint64], radius: int) -> Pairs:
    """All pairs first < second among `hashes`, (n,) or (n, words), that differ in at most `radius` bits.

    Equal hashes are pairs as well: n of them make n (n - 1) / 2, so collapse them before (`np.unique`). More than
    20 million pairs are a CollectError.
    """
    words = _words(hashes)
    return _search(words, words, radius)


def near_between(queries: NDArray[np.uint64], hashes: NDArray[np.uint64], radius: int) -> Pairs:
    """All pairs of a query (first) and a hash (second) that differ in at most `radius` bits; otherwise `near_pairs`."""
    return _search(_words(queries), _words(hashes), radius)


def nearest(
    queries: NDArray[np.uint64], hashes: NDArray[np.uint64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
    """For each query the index of its nearest hash (the first of several) and the distance: two arrays (queries,).

    Without `hashes`, the nearest other query. Brute force, about 1 ns a pair of 64 bits and 3 of 256: for the histogram
    of a large pool draw some thousands of queries. A ValueError if there is nothing to compare with.
    """
    left = _words(queries)
    right = left if hashes is None else _words(hashes)
    if left.shape[1] and right.shape[1] <= (hashes is None):
        raise ValueError("there are no hashes to be near to")
    beyond = 64 * len(left) + 1
    index = np.zeros(left.shape[1], dtype=np.int64)
    distance = np.full(left.shape[1], beyond, dtype=np.uint16)
    for here, there in _blocks(left.shape[1], right.shape[1], own=False):
        found = _distances(left[:, here, None], right[:, None, there])
        if hashes is None and here.start < there.stop and there.start < here.stop:
            found = found.astype(np.uint16)
            same = np.arange(max(here.start, there.start), min(here.stop, there.stop))
            found[same - here.start, same - there.start] = beyond
        best = found.argmin(axis=1)
        least = found[np.arange(len(best)), best]
        closer = np.flatnonzero(least < distance[here])
        distance[here.start + closer], index[here.start + closer] = least[closer], there.start + best[closer]
    return index, distance


class _Chunk(NamedTuple):
    """Some bits of one word, and in how many of them two hashes that meet here may differ."""

    word: int
    shift: int
    width: int
    reach: int

    def of(self, words: Words) -> Words:
        """The values of these bits, (n,), from whole hashes or from differences of hashes."""
        value: Words = (words[self.word] >> np.uint64(self.shift)) & np.uint64((1 << self.width) - 1)
        return value

    def masks(self) -> list[int]:
        """All differences of at most `reach` bits, ascending."""
        bits = range(self.width)
        return sorted(sum(1 << bit for bit in some) for k in range(self.reach + 1) for some in combinations(bits, k))


class _Plan(NamedTuple):
    """Chunks to search, none for brute force; and how many words are enough to tell most pairs apart."""

    chunks: list[_Chunk]
    tested: int


def _words(hashes: NDArray[np.uint64]) -> Words:
    if hashes.dtype != np.uint64 or hashes.ndim not in (1, 2):
        raise ValueError(f"hashes must be uint64, (n,) or (n, words), not {hashes.dtype} {hashes.shape}")
    return np.ascontiguousarray(hashes.T if hashes.ndim == 2 else hashes[None])


def _search(left: Words, right: Words, radius: int) -> Pairs:
    """The pairs of `near_between`, or those of `near_pairs` if `left` is `right`."""
    if radius < 0 or len(left) != len(right):
        raise ValueError(f"cannot compare {64 * len(left)} bits with {64 * len(right)} within {radius}")
    own = left is right
    parts = [Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint16))]
    size = 0
    chunks, tested = _plan(left, right, radius)
    meetings = [_meetings(left, right, radius, chunk, tested) for chunk in chunks]
    for k, met in enumerate(meetings or [_all_near(left, right, radius, tested)]):
        for first, second in _longer(met):
            difference = left[:, first] ^ right[:, second]
            distance = np.bitwise_count(difference).sum(axis=0, dtype=np.uint16)
            new = distance <= radius
            for earlier in chunks[:k]:  # a pair belongs to the first chunk that it meets in
                new &= np.bitwise_count(earlier.of(difference)) > earlier.reach
            first, second = first[new], second[new]
            if own:
                first, second = np.minimum(first, second), np.maximum(first, second)
            parts.append(Pairs(first, second, distance[new]))
            size += len(first)
            if size > MOST:
                raise CollectError(
                    f"more than {MOST:,} pairs of hashes lie within {radius} bits",
                    hint="lower the threshold, and leave out flat pictures",
                )
    first, second, distance = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.argsort(first * right.shape[1] + second)
    return Pairs(first[order], second[order], distance[order])


def _longer(parts: Iterator[tuple[Index, Index]]) -> Iterator[tuple[Index, Index]]:
    """The same pairs in fewer, longer arrays."""
    pending: list[tuple[Index, Index]] = []
    size = 0
    for part in parts:
        pending.append(part)
        size += len(part[0])
        if size > PENDING:
            yield np.concatenate([first for first, _ in pending]), np.concatenate([second for _, second in pending])
            pending, size = [], 0
    if pending:
        yield np.concatenate([first for first, _ in pending]), np.concatenate([second for _, second in pending])


# -- comparing everything ---------------------------------------------------------------------------------------------


def _distances(left: Words, right: Words) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The number of bits that differ, summed over the words (the first axis); the others are broadcast."""
    total: NDArray[np.uint8] | NDArray[np.uint16] = np.bitwise_count(left[0] ^ right[0])
    for k, (a, b) in enumerate(zip(left[1:], right[1:], strict=True), 2):
        total = np.add(total, np.bitwise_count(a ^ b), dtype=np.uint8 if 64 * k < 256 else np.uint16)
    return total


def _blocks(rows: int, columns: int, own: bool) -> Iterator[tuple[slice, slice]]:
    """Blocks of at most CELLS comparisons, row by row; of one set against itself those that hold first < second."""
    for a in range(0, rows, CELLS // COLUMNS):
        for b in range(a if own else 0, columns, COLUMNS):
            yield slice(a, min(a + CELLS // COLUMNS, rows)), slice(b, min(b + COLUMNS, columns))


def _all_near(left: Words, right: Words, radius: int, tested: int) -> Iterator[tuple[Index, Index]]:
    """Brute force: the pairs (first < second, if `left` is `right`) within the radius in the first `tested` words."""
    own = left is right
    for here, there in _blocks(left.shape[1], right.shape[1], own):
        distances = _distances(left[:tested, here, None], right[:tested, None, there])
        first, second = np.divmod(np.flatnonzero(distances <= radius), there.stop - there.start)
        first, second = first + here.start, second + there.start
        kept = first < second if own else slice(None)
        yield first[kept], second[kept]


# -- what to search ---------------------------------------------------------------------------------------------------


def _plan(left: Words, right: Words, radius: int) -> _Plan:
    """The chunks of the least estimated cost, in nanoseconds of one core; see the head of this file."""
    own, counts = left is right, (left.shape[1], right.shape[1])
    pairs = counts[0] * (counts[0] - 1) // 2 if own else counts[0] * counts[1]
    if not pairs:
        return _Plan([], len(left))
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, count, SAMPLE) for count in counts)
    if own:
        second = (first + 1 + rng.integers(0, counts[0] - 1, SAMPLE)) % counts[0]
    drawn = left[:, first] ^ right[:, second]
    partial = np.cumsum(np.bitwise_count(drawn), axis=0, dtype=np.uint16)
    per_cell = [0.9 * (k + 1) + 40 * float(np.mean(near <= radius)) for k, near in enumerate(partial)]
    tested = int(np.argmin(per_cell)) + 1
    best: list[_Chunk] = []
    cost = pairs * per_cell[tested - 1]
    for cuts in CUTS if pairs > FEW else ():
        spots = [_Chunk(word, *place, 0) for word in range(len(left)) for place in _places(cuts)]
        costs = [_costs(spot, drawn, counts, own, per_cell[tested - 1]) for spot in spots]
        reaches = [-1] * len(spots)
        for _ in range(radius + 1):  # each time where one bit more costs least
            more = [each[reach + 2] - each[reach + 1] for each, reach in zip(costs, reaches, strict=True)]
            reaches[int(np.argmin(more))] += 1
        total = sum(each[reach + 1] for each, reach in zip(costs, reaches, strict=True))
        if total < cost:
            chosen = zip(spots, reaches, strict=True)
            best, cost = [spot._replace(reach=reach) for spot, reach in chosen if reach >= 0], total
    return _Plan(best, tested)


def _places(cuts: int) -> list[tuple[int, int]]:
    """(shift, width) of the chunks of a word."""
    ends = [64 * k // cuts for k in range(cuts + 1)]
    return [(low, high - low) for low, high in pairwise(ends)]


def _costs(spot: _Chunk, drawn: Words, counts: tuple[int, int], own: bool, per_cell: float) -> list[float]:
    """Estimated nanoseconds of a chunk by its reach: no reach at all, 0 bits, 1 bit, ..., all of them, and no more."""
    met = np.cumsum(np.bincount(np.bitwise_count(spot.of(drawn)), minlength=spot.width + 1)) / SAMPLE
    masks = np.cumsum([comb(spot.width, k) for k in range(spot.width + 1)])
    met = np.maximum(met, masks / 2.0**spot.width)  # no data is spread better than evenly
    build = 4.0 * 2**spot.width + 60.0 * sum(counts)
    halves = 2 if own else 1
    size = np.sqrt(counts[0] * counts[1])
    crowd, bucket = 1 + size * met[0], 1 + size / 2.0**spot.width  # hashes in buckets: the large, and most
    lookups = masks * (50_000 + 8 * counts[0] / bucket / halves)
    compared = met[0] * (1.4 + 30 / crowd) + (met - met[0]) * (1.4 + 30 / bucket)
    return [0.0, *(build + lookups + compared * per_cell * size**2 / halves).tolist(), np.inf]


# -- comparing what meets in a chunk ----------------------------------------------------------------------------------


class _Table:
    """Hashes sorted by their value in a chunk; hashes of one value lie together, in a bucket."""

    def __init__(self, words: Words, chunk: _Chunk, tested: int) -> None:
        value = chunk.of(words).astype(np.uint16 if chunk.width <= 16 else np.uint32)
        self.order: Index = np.argsort(value, kind="stable")
        self.value = np.append(value[self.order].astype(np.int64), np.full(max(SIDES), -1))
        self.count = np.bincount(value, minlength=1 << chunk.width)
        self.start = np.cumsum(self.count) - self.count
        self.crowded = (self.count > CROWD) & (2 * self.count**2 < len(value) ** 2)
        rows = [(chunk.word + 1 + k) % len(words) for k in range(tested)]  # the chunk's own word tells least
        self.words = np.zeros((tested, len(value) + max(SIDES)), np.uint64)
        for row, word in zip(self.words, rows, strict=True):
            row[: len(value)] = words[word][self.order]

    def tiles(self, side: int) -> Index:
        """Where tiles of `side` hashes begin, in the sorted order; the last of a bucket reaches over its end."""
        each = -(-self.count // side)
        rank = np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each)
        begin: Index = np.repeat(self.start, each) + side * rank
        return begin

    def bucket(self, value: int) -> Index:
        """The hashes that have this value."""
        return self.order[self.start[value] : self.start[value] + self.count[value]]


def _meetings(left: Words, right: Words, radius: int, chunk: _Chunk, tested: int) -> Iterator[tuple[Index, Index]]:
    """The pairs that meet in a chunk, each once, and may lie within the radius as far as the tested words say."""
    own = left is right
    a = _Table(left, chunk, tested)
    b = a if own else _Table(right, chunk, tested)
    for x, y in _crowd_pairs(a, b, chunk, own):
        some = left[:, x]
        found = _search(some, some if own and x is y else right[:, y], radius)
        yield x[found.first], y[found.second]
    side = _side(a, b, chunk, tested)
    steps = np.arange(side)[:, None]
    for x, y in _tile_pairs(a, b, chunk, side, own):
        firsts, seconds = a.words.take(x + steps, axis=1), b.words.take(y + steps, axis=1)
        near = np.flatnonzero(_distances(firsts[:, :, None], seconds[:, None]) <= radius)
        cell, tile = np.divmod(near, len(x))
        x, y = x[tile], y[tile]
        i, j = x + cell // side, y + cell % side
        kept = (a.value[i] == a.value[x]) & (b.value[j] == b.value[y])
        if own:
            kept &= i < j
        yield a.order[i[kept]], b.order[j[kept]]


def _crowd_pairs(a: _Table, b: _Table, chunk: _Chunk, own: bool) -> Iterator[tuple[Index, Index]]:
    """The hashes of crowded buckets that meet: each pair is a search of its own, or would cost the square of them."""
    crowds = np.flatnonzero(a.crowded).tolist()
    for mask in chunk.masks() if crowds else []:
        for value in crowds:
            if b.crowded[value ^ mask] and not (own and value ^ mask < value):
                first = a.bucket(value)
                yield first, first if own and not mask else b.bucket(value ^ mask)


def _side(a: _Table, b: _Table, chunk: _Chunk, tested: int) -> int:
    """The side of tiles that costs least: large ones compare more in a call, small ones waste less in small buckets."""

    masks = len(chunk.masks())

    def cost(side: int) -> float:
        first, second = (-(-np.where(table.crowded, 0, table.count) // side) for table in (a, b))
        met = float(first @ second) + (masks - 1) * float(first.sum()) * float(second.sum()) / (1 << chunk.width)
        return met * (25.0 + tested * (2.0 * side + 1.2 * side**2))

    return min(SIDES, key=cost)


def _tile_pairs(a: _Table, b: _Table, chunk: _Chunk, side: int, own: bool) -> Iterator[tuple[Index, Index]]:
    """Where tiles begin that hold pairs whose values differ by a mask, in slices of at most CELLS comparisons.

    Of one set against itself each pair of tiles comes once, lower value first; a tile also meets itself.
    """
    tiles = everything = a.tiles(side)
    values = a.value[tiles]
    some_crowded = bool(a.crowded.any() and b.crowded.any())
    top = 0
    for mask in chunk.masks():
        if own and mask.bit_length() > top:  # of v and v ^ mask, the one without the mask's highest bit is lower
            top = mask.bit_length()
            tiles = everything[a.value[everything] >> (top - 1) & 1 == 0]
            values = a.value[tiles]
        other = values ^ mask
        begin = tiles if own and not mask else b.start[other]
        left = b.start[other] + b.count[other] - begin
        if some_crowded:
            left[a.crowded[values] & b.crowded[other]] = 0
        met = np.flatnonzero(left)
        yield from _runs(tiles[met], begin[met], left[met], side)


def _runs(x: Index, y: Index, left: Index, side: int) -> Iterator[tuple[Index, Index]]:
    """Tile x against the tiles from y on that hold `left` hashes: all x against their first, then the rest."""
    size = CELLS // side**2
    for low in range(0, len(x), size):
        yield x[low : low + size], y[low : low + size]
    more = np.flatnonzero(left > side)
    x, y, tiles = x[more], y[more] + side, (left[more] - 1) // side
    ends = np.cumsum(tiles)
    begin = 0
    while begin < len(x):
        base = ends[begin - 1] if begin else 0
        stop = max(begin + 1, int(np.searchsorted(ends, base + size, side="right")))
        part = tiles[begin:stop]
        rank = np.arange(part.sum()) - np.repeat(np.cumsum(part) - part, part)
        first, second = np.repeat(x[begin:stop], part), np.repeat(y[begin:stop], part) + side * rank
        for low in range(0, len(first), size):
            yield first[low : low + size], second[low : low + size]
        begin = stop
