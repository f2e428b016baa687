"""Near-duplicates across splits: what a model learned from would be measured on.

Compared directly, every image of one split with every image of another, not along groups: two copies may hang on two
different kept images. A pair that a person called different is no leak.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from urllib.parse import quote

import numpy as np

from collector.catalog import comparisons, pools
from collector.dedup import across, checking
from collector.dedup.across import Copy
from collector.dedup.gallery import Gallery
from collector.dedup.step import current
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


def leaks(ws: Workspace, concept: str | None = None) -> LeaksSummary:
    """Compare the frozen splits of a concept, and write the pairs of copies between them to a file."""
    about = ws.concept(concept)
    fill_fingerprints(ws)
    members = {row.image for row in pools.members(ws.catalog, about.name)}
    home = {image: split for image, split in pools.splits(ws.catalog, about.name).items() if image in members}
    gallery, limits = current(ws)
    found = between(ws, home, gallery, limits)
    names = sorted(set(home.values()))
    counted = Counter(" and ".join(sorted((home[each.first], home[each.second]))) for each in found)
    path = ws.data / "leaks" / f"{quote(about.name, safe='')}.csv"
    rows = [
        (home[each.first], each.first, home[each.second], each.second, each.method, each.distance, each.form)
        for each in found
    ]
    across.write_csv(path, COLUMNS, rows)
    return LeaksSummary(
        concept=about.name,
        images=len(home),
        leaks={f"{a} and {b}": counted[f"{a} and {b}"] for a, b in combinations(names, 2)},
        pairs=[_said(each, home) for each in found[:SHOWN]],
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
    said, checked = comparisons.verdicts(ws.catalog), checking.known(ws, gallery).values()
    shown = [
        *(Copy(row.first, row.second, "geometry", int(row.distance)) for row in checked if row.same),
        *(Copy(*pair, "person", 0) for pair, verdict in said.items() if verdict.same),
    ]
    for each in shown:
        if each.first in inside and each.second in inside and inside[each.first] != inside[each.second]:
            found.setdefault((each.first, each.second), each)
    return sorted(each for pair, each in found.items() if pair not in said or said[pair].same)


def _said(each: Copy, home: Mapping[str, str]) -> str:
    shown = f"{each.distance} bits of {each.method}" if each.method in ("phash", "dct") else f"by {each.method}"
    return f"{each.first[:12]} ({home[each.first]}) and {each.second[:12]} ({home[each.second]}): {shown}"
