"""From pairs to groups without chaining: who is set aside for whom.

`star` (default): a group is an image and copies of *it*. Images are taken best first, and each takes all copies of
itself that are left. `clique`: every two of a group are copies of each other. `component`: copies of copies belong to
the group too, which may chain strangers together. Two images that a person called different are never keeper and copy
of each other; those that a person called the same go together, whichever way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from collector.dedup.forest import components
from collector.dedup.gallery import Gallery, Rows
from collector.dedup.relation import Pair, Relation

Strictness = Literal["star", "clique", "component"]
Choose = Callable[[Sequence[int]], int]


class Group(NamedTuple):
    """One image that is kept, and its copies, sorted by id; all are rows of the gallery."""

    keeper: int
    copies: tuple[int, ...]


class Units(NamedTuple):
    """Which images people made one: the smallest row of each one's unit; and the verdicts that contradict others."""

    of: Rows
    ignored: list[Pair]


def units(gallery: Gallery, said: Mapping[Pair, bool]) -> Units:
    """Joins what was called the same, oldest verdict first, unless that would join what was called different."""
    apart = [pair for pair, same in said.items() if not same]
    joined: list[Pair] = []
    of, ignored = np.arange(len(gallery)), []
    for pair in (pair for pair, same in said.items() if same):
        ends = np.array([*joined, pair], np.int64).T
        tried = components(len(gallery), ends[0], ends[1])
        if any(tried[a] == tried[b] for a, b in apart):
            ignored.append(pair)
        else:
            of = tried
            joined.append(pair)
    return Units(of, ignored)


def connected(gallery: Gallery, edges: Iterable[tuple[Rows, Rows]]) -> list[Rows]:
    """The rows of living images that are connected with others, by component."""
    ends = [(np.empty(0, np.int64), np.empty(0, np.int64)), *edges]
    first, second = (np.concatenate([pair[side] for pair in ends]) for side in (0, 1))
    root = components(len(gallery), first, second)
    rows = np.flatnonzero(gallery.alive)
    rows = rows[np.argsort(root[rows], kind="stable")]
    cuts = np.flatnonzero(np.diff(root[rows])) + 1
    return [part for part in np.split(rows, cuts) if len(part) > 1]


def groups(members: Rows, relation: Relation, unit: Rows, choose: Choose, strictness: Strictness) -> Iterator[Group]:
    """The groups of one component. Stops where a pair must be checked first: then `relation.open` has new pairs."""
    left = members
    while len(left) > 1:
        keeper = choose(left.tolist())
        rest = left[left != keeper]
        taken = _taken(keeper, rest, relation, unit, strictness)
        if relation.open:
            return
        if taken.any():
            yield Group(keeper, tuple(rest[taken].tolist()))
        left = rest[~taken]


def _taken(keeper: int, rest: Rows, relation: Relation, unit: Rows, strictness: Strictness) -> np.ndarray:
    own = unit[rest] == unit[keeper]
    taken = own | relation.copies(keeper, rest)
    for other in rest[own].tolist():  # what is a copy of what a person called the same as the keeper
        taken |= relation.copies(other, rest)
    if strictness == "component":
        taken = _reached(rest, taken, relation)
    taken = _whole(rest, taken, unit)
    forbidden = relation.differ(keeper, rest) if relation.said else np.zeros(len(rest), bool)
    taken &= ~np.isin(unit[rest], unit[rest[forbidden]])
    return _all_alike(rest, taken, own, relation) if strictness == "clique" else taken


def _whole(rest: Rows, taken: np.ndarray, unit: Rows) -> np.ndarray:
    """Whoever is taken takes along what a person called the same."""
    return np.isin(unit[rest], unit[rest[taken]])


def _reached(rest: Rows, taken: np.ndarray, relation: Relation) -> np.ndarray:
    waiting = rest[taken].tolist()
    while waiting:
        row = waiting.pop()
        out = np.flatnonzero(~taken)
        if not len(out):
            break
        new = out[relation.copies(row, rest[out])]
        taken[new] = True
        waiting += rest[new].tolist()
    return taken


def _all_alike(rest: Rows, taken: np.ndarray, own: np.ndarray, relation: Relation) -> np.ndarray:
    """Those of the taken, in the order of their ids, that are copies of all before them."""
    kept = own.copy()
    fits = np.ones(len(rest), bool)
    for k in np.flatnonzero(taken & ~own).tolist():
        if fits[k]:
            kept[k] = True
            later = np.flatnonzero(taken & fits)
            later = later[later > k]
            fits[later] &= relation.copies(int(rest[k]), rest[later])
    return kept
