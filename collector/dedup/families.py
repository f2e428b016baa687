"""Which pictures share points, whatever their hashes say: crops, turns, frames, screenshots, collages, mirrored ones.

Images that hashes connect are one family, and the largest speaks for it: points need to be searched once a family, and
a picture that was reposted a hundred times does not drown the votes for its crops. Each pair that shares points is
verified at once: only those that are the same picture connect anything, so that no web of chance likenesses makes one
component of the whole pool.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from collector.catalog.pools import Candidate
from collector.dedup import checking
from collector.dedup.forest import components
from collector.dedup.gallery import Gallery, Rows
from collector.dedup.relation import Pair
from collector.workspace import Workspace


class Families(NamedTuple):
    """`of`: for each row the one that speaks for its family; `alike`: which of these show the same, both ways."""

    of: Rows
    alike: Mapping[int, set[int]]

    @classmethod
    def none(cls, gallery: Gallery) -> Families:
        """Each image for itself, and nothing known of any."""
        return cls(np.arange(len(gallery)), {})


def speakers(gallery: Gallery, sure: Iterable[tuple[Rows, Rows]], known: Mapping[str, Candidate]) -> Rows:
    """For each row the largest living image that `sure` pairs connect with it."""
    first, second = (np.concatenate([np.empty(0, np.int64), *side]) for side in zip(*sure, strict=True))
    root = components(len(gallery), first, second)
    area = np.array([known[name].area if name in known else 0 for name in gallery.names], np.int64)
    order = np.lexsort((np.arange(len(gallery)), -area, ~gallery.alive))
    best = np.full(len(gallery), len(gallery))
    np.minimum.at(best, root[order], np.arange(len(order)))
    return np.asarray(order[best[root]], np.int64)


def families(ws: Workspace, gallery: Gallery, of: Rows, checked: checking.Checked) -> tuple[Families, str]:
    """The families that show the same picture, verified; what is found goes to `checked`. Also a warning, or ''."""
    speaking = np.unique(of[gallery.alive])
    pairs = checking.sharing_points(ws, gallery, speaking.tolist())
    warning = checking.settle(ws, gallery, pairs, checked)
    return Families(of, both_ways(pair for pair in pairs if pair in checked and checked[pair].same)), warning


def both_ways(pairs: Iterable[Pair]) -> dict[int, set[int]]:
    """Row -> the rows that it is paired with."""
    found: dict[int, set[int]] = {}
    for first, second in pairs:
        found.setdefault(first, set()).add(second)
        found.setdefault(second, set()).add(first)
    return found
