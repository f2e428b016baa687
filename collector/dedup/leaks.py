"""Near-duplicates across splits: what a model learned from would be measured on.

Compared directly, every image of one split with every image of another, not along groups: two copies may hang on two
different kept images. What hashes leave open, and whatever shares points, geometry settles. A pair that a person called
different is no leak.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from urllib.parse import quote

import numpy as np

from collector.catalog import comparisons, pools
from collector.catalog.comparisons import Comparison
from collector.dedup import across, against, checking
from collector.dedup.across import Copy, Side
from collector.dedup.gallery import Gallery
from collector.dedup.relation import ordered
from collector.dedup.step import DedupConfig, current
from collector.dedup.thresholds import Limits
from collector.intake import fill_fingerprints
from collector.records import Summary
from collector.workspace import Workspace

SHOWN = 20  # pairs in the summary; the file holds all
COLUMNS = ("split", "image", "other_split", "other_image", "method", "distance", "form")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaksSummary(Summary):
    """`leaks` near-duplicate pairs by pair of splits; `pairs` are the first of them; all are in the file `path`."""

    concept: str
    images: int
    leaks: dict[str, int]
    pairs: list[str]
    threshold: int
    threshold_dct: int
    path: str


def leaks(ws: Workspace, concept: str | None = None, *, outside: str | None = None) -> LeaksSummary:
    """Compare the frozen splits of a concept, and write the pairs of copies between them to a file.

    With `outside`, compare each split with that set instead (`against.read`).

    Raises:
        UsageError: `outside` does not exist, is empty, or is nothing that can be compared with.
    """
    about = ws.concept(concept)
    fill_fingerprints(ws)
    members = {row.image for row in pools.members(ws.catalog, about.name)}
    home = {image: split for image, split in pools.splits(ws.catalog, about.name).items() if image in members}
    names = sorted(set(home.values()))
    other = against.file_name(outside) if outside else ""
    if outside:
        theirs = against.read(ws, outside)
        gallery, limits = against.limits_for(ws, len(theirs.side.names))
        ours = [gallery.rows[image] for image in sorted(home.keys() - theirs.members) if image in gallery.rows]
        found = against.copies(ws, (gallery, limits), ours, theirs)
        pairs = [f"{split} and {other}" for split in names]
    else:
        gallery, limits = current(ws)
        found = between(ws, home, gallery, limits)
        pairs = [f"{a} and {b}" for a, b in combinations(names, 2)]
    splits = [(home[each.first], other or home[each.second]) for each in found]
    counted = Counter(" and ".join(pair if outside else sorted(pair)) for pair in splits)
    path = ws.data / "leaks" / f"{quote(about.name, safe='')}{'-' + other if other else ''}.csv"
    rows = [
        (a, each.first, b, each.second, each.method, each.distance, each.form)
        for (a, b), each in zip(splits, found, strict=True)
    ]
    across.write_csv(path, COLUMNS, rows)
    return LeaksSummary(
        concept=about.name,
        images=len(home),
        leaks={pair: counted[pair] for pair in pairs},
        pairs=[_said(each, *pair) for each, pair in zip(found[:SHOWN], splits[:SHOWN], strict=True)],
        threshold=limits.phash,
        threshold_dct=limits.dct,
        path=str(path),
        next="collect dedup" if found else "collect snapshot",
        warnings=() if home else ("no split is drawn yet: `collect label push` draws them",),
    )


def between(
    ws: Workspace, home: Mapping[str, str], gallery: Gallery | None = None, limits: Limits | None = None
) -> list[Copy]:
    """The pairs of copies among images (image -> split) that lie in different splits, sorted."""
    if gallery is None or limits is None:
        gallery, limits = current(ws)
    inside = {image: split for image, split in home.items() if image in gallery.rows}
    sides = {}
    for name in sorted(set(inside.values())):
        rows = sorted(gallery.rows[image] for image, split in inside.items() if split == name)
        sides[name] = across.of_rows(gallery, np.array(rows, np.int64))
    found: dict[tuple[str, str], Copy] = {}
    for a, b in combinations(sides, 2):
        for each in across.copies(sides[a], sides[b], limits):
            found[min(each.first, each.second), max(each.first, each.second)] = each
    said = comparisons.verdicts(ws.catalog)
    shown = [
        *(Copy(row.first, row.second, "geometry", int(row.distance)) for row in _by_points(ws, gallery, limits, sides)),
        *(Copy(*pair, "person", 0) for pair, verdict in said.items() if verdict.same),
    ]
    for each in shown:
        if each.first in inside and each.second in inside and inside[each.first] != inside[each.second]:
            found.setdefault((each.first, each.second), each)
    return sorted(each for pair, each in found.items() if pair not in said or said[pair].same)


def _by_points(ws: Workspace, gallery: Gallery, limits: Limits, sides: Mapping[str, Side]) -> list[Comparison]:
    """What geometry shows to be the same, of all pairs that it was ever asked about, and of those that cross now."""
    mode = ws.section(DedupConfig).geometry
    if mode == "off":
        return []
    checked = checking.known(ws, gallery)
    rows = {name: [gallery.rows[image] for image in side.names] for name, side in sides.items()}
    for a, b in combinations(sides, 2):
        pairs = {ordered(rows[a][i], rows[b][j]) for i, j in across.grey(sides[a], sides[b], limits)}
        if mode == "all":
            pairs.update(checking.sharing_points(ws, gallery, rows[a], rows[b]))
        checking.settle(ws, gallery, sorted(pairs), checked)
    return [row for row in checked.values() if row.same]


def _said(each: Copy, split: str, other: str) -> str:
    shown = f"{each.distance} bits of {each.method}" if each.method in ("phash", "dct") else f"by {each.method}"
    second = each.second[:12] if len(each.second) == 64 else each.second
    return f"{each.first[:12]} ({split}) and {second} ({other}): {shown}"
