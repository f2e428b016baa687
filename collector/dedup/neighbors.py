"""Which images may be copies: connected by pairs of near hashes, searched exactly, and only for what is new.

Equal hashes are one. Of the pairs within the radius only the minimum spanning forest is written down, at most a row an
image, so that fifty thousand reposts of one picture make no billion rows; it has the same connected components at every
radius up to the searched one (forest.py). Inside a component every pair that matters is compared afterwards
(relation.py): nothing is lost, and the order in which images arrived leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collector.catalog import Catalog, comparisons
from collector.catalog.comparisons import Comparison
from collector.dedup import dihedral
from collector.dedup.forest import spanning_forest
from collector.dedup.gallery import Gallery, Rows
from collector.dedup.hamming import near_between, near_pairs
from collector.fingerprints import DCT, DIHEDRAL, PHASH

AT_ONCE = 5_000_000  # pairs held before all but their spanning forest are dropped
PROBE = 64  # queries that tell how many pairs there will be
RADII = {PHASH: (10, 13, 16), DCT: (64, 80, 96)}  # what is searched: the smallest that holds the limit


class Edges(NamedTuple):
    """Pairs of near images, as rows of the gallery, with their distance in bits."""

    first: Rows
    second: Rows
    distance: Rows


Search = Callable[[NDArray[np.uint64], int, int], Iterator[Edges]]


def near(catalog: Catalog, gallery: Gallery, algorithm: str, limit: int) -> Edges:
    """A forest that connects all images within `limit` bits of each other; new images are searched, and written down.

    Each clear image is also paired with the first that has the same hash, which may be itself.
    """
    radius = next((each for each in RADII[algorithm] if each >= limit), limit)
    hashes = gallery.phash if algorithm == PHASH else gallery.dct
    value, holder = _distinct(hashes)
    done = _searched(catalog, gallery, algorithm, radius)
    old = np.zeros(len(holder), bool)
    old[value[done]] = True
    holder[value[done]] = done  # the image that was searched speaks for all with its hash
    asked = np.zeros(len(holder), bool)
    asked[value[gallery.comparable]] = True
    new, known = np.flatnonzero(asked & ~old), np.flatnonzero(old)
    stored = _stored(catalog, gallery, algorithm)
    ends = value[stored.first], value[stored.second]
    kept = Edges(*(np.concatenate(column) for column in zip((*ends, stored.distance), _EMPTY, strict=True)))
    if len(new):
        order = np.concatenate([known, new])
        find = _by_mih if algorithm == PHASH else _by_form
        for found in find(hashes[holder[order]], len(known), radius):
            kept = _forest(len(holder), kept, Edges(order[found.first], order[found.second], found.distance))
        _write(catalog, gallery, algorithm, radius, (hashes, holder, new, kept))
    close, equal = kept.distance <= limit, np.flatnonzero(gallery.clear)
    return Edges(
        np.concatenate([holder[kept.first[close]], equal]),
        np.concatenate([holder[kept.second[close]], holder[value[equal]]]),
        np.concatenate([kept.distance[close], np.zeros_like(equal)]),
    )


_EMPTY = Edges(*(np.empty(0, np.int64) for _ in range(3)))


def _distinct(hashes: NDArray[np.uint64]) -> tuple[Rows, Rows]:
    """For each row the number of its hash among the distinct ones, and for each distinct one the first row with it."""
    plain = hashes if hashes.ndim == 1 else np.ascontiguousarray(hashes).view([("", np.uint64)] * hashes.shape[1])[:, 0]
    _, first, value = np.unique(plain, return_index=True, return_inverse=True)
    return value.astype(np.int64), first.astype(np.int64)


def _searched(catalog: Catalog, gallery: Gallery, algorithm: str, radius: int) -> Rows:
    beginning = f"{algorithm} <= "
    rows = {
        gallery.rows[image]
        for image, name in comparisons.searched_by(catalog, beginning)
        if image in gallery.rows and int(name.removeprefix(beginning)) >= radius
    }
    return np.array(sorted(rows), np.int64)


def _stored(catalog: Catalog, gallery: Gallery, algorithm: str) -> Edges:
    rows = [
        (gallery.rows[row.first], gallery.rows[row.second], int(row.distance))
        for row in comparisons.compared(catalog, algorithm)
        if row.first in gallery.rows and row.second in gallery.rows
    ]
    return Edges(*np.array(rows, np.int64).reshape(-1, 3).T)


def _by_mih(hashes: NDArray[np.uint64], start: int, radius: int) -> Iterator[Edges]:
    """Pairs of the hashes from `start` on with all, by multi-index hashing, in groups that fit into memory."""
    queries = np.arange(start, len(hashes))
    probe = queries[:: max(1, -(-len(queries) // PROBE))]
    each = max(1.0, len(near_between(hashes[probe], hashes, radius).first) / len(probe))
    size = max(PROBE, int(AT_ONCE / each))
    if not start and len(queries) <= size:
        yield Edges(*(column.astype(np.int64) for column in near_pairs(hashes, radius)))
        return
    for begin in range(0, len(queries), size):
        part = queries[begin : begin + size]
        first, second, distance = near_between(hashes[part], hashes, radius)
        first = part[first]
        once = (second < start) | (second < first)
        yield Edges(first[once], second[once].astype(np.int64), distance[once].astype(np.int64))


def _by_form(hashes: NDArray[np.uint64], start: int, radius: int) -> Iterator[Edges]:
    for found in dihedral.between(hashes[start:], hashes, radius, start=start):
        yield Edges(found.first + start, found.second, found.distance)


def _forest(n: int, kept: Edges, found: Edges) -> Edges:
    both = Edges(*(np.concatenate(columns) for columns in zip(kept, found, strict=True)))
    chosen = spanning_forest(n, *both)
    return Edges(*(column[chosen] for column in both))


def _write(
    catalog: Catalog, gallery: Gallery, algorithm: str, radius: int, found: tuple[NDArray[np.uint64], Rows, Rows, Edges]
) -> None:
    hashes, holder, new, kept = found
    ends = np.sort(np.stack([holder[kept.first], holder[kept.second]]), axis=0)  # rows are sorted as ids are
    first, second = ends.tolist()
    forms = dihedral.exact(hashes[ends[0]], hashes[ends[1]])[1].tolist() if algorithm == DCT else [0] * len(first)
    rows = [
        Comparison(gallery.names[i], gallery.names[j], algorithm, True, float(away), _form(form))
        for i, j, away, form in zip(first, second, kept.distance.tolist(), forms, strict=True)
    ]
    comparisons.add(catalog, rows, {f"{algorithm} <= {radius}": [gallery.names[row] for row in holder[new].tolist()]})


def _form(form: int) -> dict[str, str]:
    """The evidence of a pair: how the first must be turned to look like the second."""
    return {"form": DIHEDRAL[form]} if form else {}
