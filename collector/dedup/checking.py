"""Asks geometry (collector/dedup/geometry.py) about pairs that hashes leave open, and keeps what it says.

OpenCV is imported when the first pair is open, not before: a workspace of clear cases never needs it.
"""

from __future__ import annotations

from collections.abc import Iterable

from collector.catalog import comparisons
from collector.catalog.comparisons import Comparison
from collector.dedup.gallery import Gallery
from collector.dedup.relation import Pair, Relation
from collector.workspace import Workspace

MISSING = (
    "OpenCV is missing, so pairs between `surely` and `surely not` count as no copies: install opencv-python-headless"
)


def known(ws: Workspace, gallery: Gallery) -> dict[Pair, Comparison]:
    """What geometry has said so far; empty without OpenCV."""
    try:
        from collector.dedup.geometry import ALGORITHM
    except ImportError:
        return {}
    rows = gallery.rows
    return {
        (rows[row.first], rows[row.second]): row
        for row in comparisons.compared(ws.catalog, ALGORITHM)
        if row.first in rows and row.second in rows
    }


def check(ws: Workspace, relation: Relation) -> str:
    """Settle all open pairs; returns a warning, or an empty text."""
    pairs = sorted(relation.open)
    relation.open.clear()
    names = [(relation.gallery.names[first], relation.gallery.names[second]) for first, second in pairs]
    try:
        from collector.dedup.geometry import ALGORITHM
        from collector.dedup.keypoints import compare
    except ImportError:
        relation.checked.update({pair: _no(*named, "") for pair, named in zip(pairs, names, strict=True)})
        return MISSING
    ws.progress(f"checking {len(pairs)} pairs point by point", 0, None)
    found = []
    for pair, named, match in zip(pairs, names, compare(ws, names), strict=True):
        if match is None:  # the bytes of one are gone: it may be asked again once they are back
            relation.checked[pair] = _no(*named, ALGORITHM)
            continue
        figures = {
            "scale": round(match.scale, 3),
            "rotation": round(match.rotation, 1),
            "mirrored": match.mirrored,
            "spread": round(match.spread, 3),
        }
        row = Comparison(*named, ALGORITHM, match.same, float(match.inliers), figures if match.inliers else {})
        relation.checked[pair] = row
        found.append(row)
    comparisons.add(ws.catalog, found)
    return ""


def _no(first: str, second: str, algorithm: str) -> Comparison:
    return Comparison(first, second, algorithm, False, 0.0)


def sharing_points(ws: Workspace, gallery: Gallery, rows: Iterable[int]) -> list[Pair]:
    """The pairs of images that share local points, whatever their hashes say; none without OpenCV."""
    try:
        from collector.dedup.keypoints import keypoints
        from collector.dedup.visual_words import candidates
    except ImportError:
        return []
    wanted = [gallery.names[row] for row in rows]
    points = keypoints(ws, wanted)
    there = [name for name in wanted if name in points]
    found = candidates([points[name] for name in there])
    at = [gallery.rows[name] for name in there]
    return [(at[i], at[j]) for i, j in zip(found.first.tolist(), found.second.tolist(), strict=True)]
