"""Which of our images show the same as pictures of somebody else's, by points that geometry verifies.

OpenCV is imported when it is needed; without it, or with `dedup.geometry = "off"`, nothing is found this way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from collector.dedup.step import DedupConfig
from collector.workspace import Workspace

if TYPE_CHECKING:
    from collector.dedup.geometry import Match, Points


def points_of(ws: Workspace) -> Callable[[NDArray[np.uint8]], Points] | None:
    """What finds the points of a gray picture; None where points are not to be looked at, or cannot be."""
    if ws.section(DedupConfig).geometry == "off":
        return None
    try:
        from collector.dedup.geometry import extract
    except ImportError:
        return None
    return extract


def points_of_images(ws: Workspace, names: Sequence[str]) -> dict[int, Points]:
    """The points of our own images, by their place in `names`."""
    if points_of(ws) is None:
        return {}
    from collector.dedup.keypoints import keypoints

    known = keypoints(ws, names)
    return {i: known[name] for i, name in enumerate(names) if name in known}


def sharing(
    ws: Workspace, names: Sequence[str], theirs: Mapping[int, Points], open_: AbstractSet[tuple[str, int]]
) -> Iterator[tuple[str, int, Match]]:
    """The pairs (our image, their number) that show the same, upright or mirrored; `open_` ones are asked about too."""
    from collector.dedup.keypoints import keypoints, verified
    from collector.dedup.visual_words import candidates_between

    pool = list(theirs)
    for flipped in (False, True):
        points = keypoints(ws, names, mirrored=flipped)
        there = [name for name in names if name in points]
        found = candidates_between([points[name] for name in there], [theirs[j] for j in pool])
        asked = {(there[a], pool[b]) for a, b in zip(found.first.tolist(), found.second.tolist(), strict=True)}
        inside = set(there)
        pairs = sorted(asked | {(name, j) for name, j in open_ if name in inside and j in theirs})
        matches = verified(ws, [(points[name], theirs[j]) for name, j in pairs])
        for (name, j), match in zip(pairs, matches, strict=True):
            if match.same:
                yield name, j, match._replace(mirrored=flipped)
