"""Copies between two sets of pictures: two splits, or ours and somebody else's. Every pair of the two is looked at."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collector import durable
from collector.credits import no_formula
from collector.dedup import dihedral
from collector.dedup.gallery import Gallery, Rows
from collector.dedup.hamming import near_between
from collector.dedup.thresholds import Limits
from collector.fingerprints import DIHEDRAL


class Side(NamedTuple):
    """One set, as far as it is known: `files` and `contents` are sha256, empty where unknown.

    `by_phash` and `by_dct` are the rows whose hashes are known and mean something.
    """

    names: Sequence[str]
    files: Sequence[str]
    contents: Sequence[str]
    phash: NDArray[np.uint64]
    dct: NDArray[np.uint64]  # (n, 4)
    by_phash: Rows
    by_dct: Rows


class Copy(NamedTuple):
    """A picture of the one set that is a copy of one of the other.

    `distance` is in bits of the hash of `method`, or the number of points that geometry carries onto each other.
    """

    first: str
    second: str
    method: str  # file, pixels, phash, dct, geometry, person
    distance: int
    form: str = ""


def of_rows(gallery: Gallery, rows: Rows) -> Side:
    """Some images of a gallery as a set."""
    names = [gallery.names[row] for row in rows.tolist()]
    clear = np.flatnonzero(gallery.clear[rows])
    contents = [gallery.contents[row] for row in rows.tolist()]
    return Side(names, names, contents, gallery.phash[rows], gallery.dct[rows], clear, clear)


def copies(ours: Side, theirs: Side, limits: Limits) -> list[Copy]:
    """All pairs of copies that equal bytes, pixels or hashes show, each once, by what shows it best; sorted."""
    found: dict[tuple[int, int], Copy] = {}
    for method, some in (
        ("file", _equal(ours.files, theirs.files)),
        ("pixels", _equal(ours.contents, theirs.contents)),
        ("phash", _near(ours, theirs, limits.phash)),
        ("dct", _near_in_any_form(ours, theirs, limits.dct)),
    ):
        for i, j, distance, form in some:
            found.setdefault((i, j), Copy(ours.names[i], theirs.names[j], method, distance, form))
    return sorted(found.values())


def grey(ours: Side, theirs: Side, limits: Limits) -> set[tuple[int, int]]:
    """The pairs that hashes leave open, and those that they show to be copies, as places in both sets."""
    near = (*_near(ours, theirs, limits.grey_phash), *_near_in_any_form(ours, theirs, limits.grey_dct))
    return {(i, j) for i, j, _, _ in near}


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table of pairs, whole or not at all; no cell can be taken for a formula."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow(columns)
    table.writerows([no_formula(str(cell)) for cell in row] for row in rows)
    with durable.explained(path):
        durable.make_folder(path.parent)
        durable.save(path, text.getvalue().encode("utf-8-sig", "replace"))


def _equal(ours: Sequence[str], theirs: Sequence[str]) -> Iterator[tuple[int, int, int, str]]:
    places = defaultdict(list)
    for j, value in enumerate(theirs):
        if value:
            places[value].append(j)
    for i, value in enumerate(ours):
        for j in places.get(value, ()):
            yield i, j, 0, ""


def _near(ours: Side, theirs: Side, radius: int) -> Iterator[tuple[int, int, int, str]]:
    i, j = ours.by_phash, theirs.by_phash
    if len(i) and len(j):
        first, second, distance = near_between(ours.phash[i], theirs.phash[j], radius)
        for a, b, away in zip(i[first].tolist(), j[second].tolist(), distance.tolist(), strict=True):
            yield a, b, away, ""


def _near_in_any_form(ours: Side, theirs: Side, radius: int) -> Iterator[tuple[int, int, int, str]]:
    i, j = ours.by_dct, theirs.by_dct
    for near in dihedral.between(ours.dct[i], theirs.dct[j], radius) if len(i) and len(j) else ():
        first, second = i[near.first], j[near.second]
        forms = dihedral.exact(ours.dct[first], theirs.dct[second])[1].tolist()
        for a, b, away, form in zip(first.tolist(), second.tolist(), near.distance.tolist(), forms, strict=True):
            yield a, b, away, DIHEDRAL[form]
