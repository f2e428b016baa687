"""How close a result is to being another one: diameters, nearest neighbors, and pairs that nearly were copies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from collector.dedup import dihedral
from collector.dedup.gallery import Gallery
from collector.dedup.grouping import Group
from collector.dedup.relation import FAR, Pair, Relation
from collector.dedup.thresholds import Limits

DRAWN, LEAST = 1000, 100  # images whose nearest neighbor is looked for
COMPARED = 20_000_000  # pairs, for that
SHOWN = 12  # closest pairs of different groups
WIDEST = 400  # hashes of a group whose every pair is compared


def diameter(relation: Relation, rows: Sequence[int]) -> int:
    """The largest distance of two of some images in bits of 256; 0 where hashes mean nothing.

    Of a very large group, that of the images furthest from the first.
    """
    gallery = relation.gallery
    clear = np.array([row for row in rows if gallery.clear[row]], np.int64)
    if len(clear) < 2:
        return 0
    distinct = clear[np.unique(gallery.dct[clear], axis=0, return_index=True)[1]]
    if len(distinct) > WIDEST:
        away = relation.forms(int(clear[0]), distinct)[0]
        distinct = distinct[np.argsort(-away, kind="stable")[:WIDEST]]
    return max(int(relation.forms(row, distinct[k:])[0].max()) for k, row in enumerate(distinct.tolist()))


def nearest(gallery: Gallery) -> dict[str, int]:
    """Bits of 256 to the nearest other image -> images, over up to a thousand images drawn by their ids."""
    rows = gallery.comparable
    if len(rows) < 2:
        return {}
    drawn = np.arange(min(len(rows), max(LEAST, min(DRAWN, COMPARED // len(rows)))))
    distance, count = np.unique(dihedral.nearest(drawn, gallery.dct[rows]), return_counts=True)
    return dict(zip(map(str, distance.tolist()), count.tolist(), strict=True))


def apart(relation: Relation, groups: Iterable[Group], near: Iterable[Pair]) -> list[dict[str, Any]]:
    """The closest pairs of different groups, nearest first, with what is known of them."""
    gallery = relation.gallery
    group = {row: each.keeper for each in groups for row in (each.keeper, *each.copies)}
    found = []
    for first, second in {*near, *relation.checked}:
        together = group.get(first, first) == group.get(second, second)
        if together or not (gallery.alive[first] and gallery.alive[second]):
            continue
        figures = relation.evidence(first, np.array([second]))[0].figures
        about = {"first": gallery.names[first], "second": gallery.names[second], **figures}
        found.append((beyond(figures, relation.limits), about["first"], about["second"], about))
    return [about for *_, about in sorted(found, key=lambda each: each[:3])[:SHOWN]]


def beyond(figures: dict[str, Any], limits: Limits) -> float:
    """How far a pair is from the nearer of the two thresholds: 1 is just above it."""
    phash, dct = figures.get("phash", FAR), figures.get("dct", FAR)
    return float(min(phash / (limits.phash + 1), dct / (limits.dct + 1)))
