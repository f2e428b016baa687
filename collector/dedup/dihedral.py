"""Pictures that are alike in any of the 8 forms of the 256-bit hash: mirrored, upside down, turned.

Mirroring and turning only invert those bits whose frequency is odd one way (`fingerprints.dct`). With the bits sorted
into four words by that, the distances of four forms are sums of the same four counts, and all 8 forms cost twice what
one costs. Every pair is compared, so no radius loses any: about 10 ns a pair, on all cores.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collector.dedup import hamming
from collector.fingerprints import dihedral

ROWS, COLUMNS = 32, 8192  # pairs compared at once: what fits into a core's cache
STRIP = 256  # queries of one thread at a time

Hashes = NDArray[np.uint64]  # (n, 4)


class Near(NamedTuple):
    """Pairs within a radius: rows of the queries, rows of the hashes, bits in the best of the 8 forms."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.int64]


def between(queries: Hashes, hashes: Hashes, radius: int, *, start: int | None = None) -> Iterator[Near]:
    """All pairs of a query and a hash within `radius` bits, a strip of queries at a time.

    With `start`, the queries are `hashes[start:]`, and each is compared with the hashes before it only.
    """
    words = np.ascontiguousarray(_by_parity(hashes).T)
    asked = np.ascontiguousarray(np.stack([_by_parity(queries), _by_parity(queries, turned=True)]).transpose(0, 2, 1))

    def strip(begin: int) -> Near:
        stop = min(begin + STRIP, len(queries))
        last = len(hashes) if start is None else start + stop
        first, second, distance = (
            np.concatenate(columns)
            for columns in zip(_NONE, *_strip(asked[:, :, begin:stop], words[:, :last], radius), strict=True)
        )
        first = first + begin
        keep = second < first + start if start is not None else np.ones(len(first), bool)
        # Distances are counted modulo 256: the negative of a picture comes out as the picture itself.
        zero = np.flatnonzero(distance == 0)
        keep[zero] &= exact(queries[first[zero]], hashes[second[zero]])[0] == 0
        return Near(first[keep].astype(np.int64), second[keep].astype(np.int64), distance[keep].astype(np.int64))

    cores = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(cores, thread_name_prefix="comparing") as threads:
        for wave in range(0, len(queries), cores * STRIP):  # no more is found than is asked for
            yield from threads.map(strip, range(wave, min(wave + cores * STRIP, len(queries)), STRIP))


_NONE = (np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.uint8))


def exact(a: Hashes, b: Hashes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each row of `a` and the same row of `b` (or the only one): bits in the best form of `a`, and which it is."""
    if not len(a) or not len(b):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    away = np.bitwise_count(dihedral(a) ^ b[None]).sum(axis=2, dtype=np.int64)
    form = away.argmin(axis=0)
    return np.take_along_axis(away, form[None], axis=0)[0], form


def from_one(forms: NDArray[np.uint64], hashes: Hashes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """From one hash in its 8 forms (8, 4) to each of the hashes: bits in the best form, and which it is."""
    away = np.bitwise_count(forms[:, None] ^ hashes[None]).sum(axis=2, dtype=np.int64)
    form = away.argmin(axis=0)
    return away[form, np.arange(len(hashes))], form


def nearest(rows: NDArray[np.int64], hashes: Hashes) -> NDArray[np.int64]:
    """For some rows of `hashes`: bits to the nearest other row, in the best form; 256 where there is no other."""
    found = np.full(len(rows), 256)
    others = np.delete(np.arange(len(hashes)), rows)
    for form in dihedral(hashes[rows]):
        if len(others):
            found = np.minimum(found, hamming.nearest(form, hashes[others])[1])
        among = np.bitwise_count(form[:, None] ^ hashes[rows][None]).sum(axis=2, dtype=np.int64)
        np.fill_diagonal(among, 256)
        found = np.minimum(found, among.min(axis=1, initial=256))
    return found


def _strip(
    asked: NDArray[np.uint64], words: NDArray[np.uint64], radius: int
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8]]]:
    differing = np.empty((ROWS, COLUMNS), np.uint64)
    counts = np.empty((6, ROWS, COLUMNS), np.uint8)
    for begin in range(0, asked.shape[2], ROWS):
        for left in range(0, words.shape[1], COLUMNS):
            part = words[:, left : left + COLUMNS]
            rows, columns = min(ROWS, asked.shape[2] - begin), part.shape[1]
            best = np.full((rows, columns), 255, np.uint8)
            for query in asked[:, :, begin : begin + rows]:
                _best_form(query, part, differing[:rows, :columns], counts[:, :rows, :columns], best)
            near = best <= radius
            if near.any():
                row, column = np.nonzero(near)
                yield (row + begin).astype(np.int32), (column + left).astype(np.int32), best[near]


def _best_form(
    query: NDArray[np.uint64],
    words: NDArray[np.uint64],
    differing: NDArray[np.uint64],
    counts: NDArray[np.uint8],
    best: NDArray[np.uint8],
) -> None:
    """Lower `best` to the least distance of four forms, modulo 256; all in place."""
    a, b, c, d, total, other = counts
    for word, count in enumerate((a, b, c, d)):
        np.bitwise_xor(query[word][:, None], words[word], out=differing)
        np.bitwise_count(differing, out=count)
    np.add(a, b, out=total)
    np.add(c, d, out=other)
    np.subtract(a, b, out=a)
    np.subtract(c, d, out=c)
    for one, two, inverted in ((total, other, 0), (a, c, 128)):  # upright, then mirrored
        np.add(one, two, out=b)
        b += inverted
        np.minimum(best, b, out=best)
        np.subtract(one, two, out=b)  # upside down, then turned by 180 degrees
        b += 128
        np.minimum(best, b, out=best)


def _by_parity(hashes: Hashes, *, turned: bool = False) -> NDArray[np.uint64]:
    """The bits of each hash, transposed if asked, in four words: (vertical, horizontal) even-even, -odd, odd-, -odd."""
    bits = np.unpackbits(hashes.astype(">u8").view(np.uint8).reshape(-1, 32), axis=1).reshape(-1, 16, 16)
    if turned:
        bits = bits.transpose(0, 2, 1)
    odd, even = slice(0, None, 2), slice(1, None, 2)  # the first row is frequency 1
    parts = [bits[:, v, h].reshape(len(bits), 64) for v in (even, odd) for h in (even, odd)]
    return np.packbits(np.stack(parts, axis=1), axis=2).view(">u8")[..., 0].astype(np.uint64)
