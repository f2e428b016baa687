"""Asks geometry (collector/dedup/geometry.py) about pairs that hashes leave open, and keeps what it says.

OpenCV is imported when the first pair is open, not before: a workspace of clear cases never needs it.
"""

from __future__ import annotations

from collections.abc import Iterable

from collector.catalog import comparisons
from collector.catalog.comparisons import Comparison
from collector.dedup.gallery import Gallery
from collector.dedup.relation import Pair, Relation, ordered
from collector.workspace import Workspace

Checked = dict[Pair, Comparison]
MISSING = (
    "OpenCV is missing, so pairs between `surely` and `surely not` count as no copies: install opencv-python-headless"
)


def known(ws: Workspace, gallery: Gallery) -> Checked:
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
    return settle(ws, relation.gallery, pairs, relation.checked)


def settle(ws: Workspace, gallery: Gallery, pairs: Iterable[Pair], checked: Checked) -> str:
    """Compare the pairs that are not in `checked` yet, and add them to it; returns a warning, or an empty text."""
    pairs = [pair for pair in pairs if pair not in checked]
    if not pairs:
        return ""
    names = [(gallery.names[first], gallery.names[second]) for first, second in pairs]
    try:
        from collector.dedup.geometry import ALGORITHM
        from collector.dedup.keypoints import compare
    except ImportError:
        checked.update({pair: _no(*named, "") for pair, named in zip(pairs, names, strict=True)})
        return MISSING
    ws.progress(f"checking {len(pairs)} pairs point by point", 0, None)
    found = []
    for pair, named, match in zip(pairs, names, compare(ws, names), strict=True):
        if match is None:  # the bytes of one are gone: it may be asked again once they are back
            checked[pair] = _no(*named, ALGORITHM)
            continue
        row = Comparison(*named, ALGORITHM, match.same, float(match.inliers), match.figures() if match.inliers else {})
        checked[pair] = row
        found.append(row)
    comparisons.add(ws.catalog, found)
    return ""


def _no(first: str, second: str, algorithm: str) -> Comparison:
    return Comparison(first, second, algorithm, False, 0.0)


def sharing_points(ws: Workspace, gallery: Gallery, rows: Iterable[int], others: Iterable[int] = ()) -> list[Pair]:
    """The pairs of images that share local points, mirrored or not, whatever their hashes say; none without OpenCV.

    With `others`, only pairs of one of `rows` and one of these.
    """
    try:
        from collector.dedup.keypoints import keypoints
        from collector.dedup.visual_words import candidates, candidates_between
    except ImportError:
        return []
    wanted = [gallery.names[row] for row in rows]
    against = [gallery.names[row] for row in others]
    points = keypoints(ws, [*wanted, *against])
    there, inside = ([name for name in names if name in points] for names in (wanted, against))
    mirrored = keypoints(ws, there, mirrored=True)
    there = [name for name in there if name in mirrored]
    upright, turned = [points[name] for name in there], [mirrored[name] for name in there]
    second = [gallery.rows[name] for name in inside or there]
    first = [gallery.rows[name] for name in there]
    if against:
        pool = [points[name] for name in inside]
        found = [candidates_between(queries, pool) for queries in (upright, turned)]
    else:
        found = [candidates(upright, turned)]
    pairs = {
        ordered(first[i], second[j])
        for each in found
        for i, j in zip(each.first.tolist(), each.second.tolist(), strict=True)
    }
    return sorted(pairs)
