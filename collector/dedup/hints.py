"""Pairs that something else than their hashes suggests: seen on one page, under one title or file name, or sharing
points. Only geometry decides whether they are copies (collector/dedup/checking.py).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import combinations
from urllib.parse import unquote, urlsplit

from collector.catalog.comparisons import Place
from collector.dedup.gallery import Gallery

MOST = 12  # images; a page, title or name of more says little
SHORTEST = 6  # letters of a title or name that says anything
_SIZE = re.compile(
    r"([-_.@ ]*(\d{2,5}x\d{2,5}|\d{2,5}px|\d+x|thumb(nail)?|small|medium|large|scaled|preview|orig(inal)?))+$"
)
_WIDTH = re.compile(r"^\d{2,5}px[-_]")  # Wikimedia writes a thumbnail's width before its name


def of_places(gallery: Gallery, places: Iterable[Place]) -> defaultdict[int, set[int]]:
    """Row -> rows that share a page, a title or the stem of a file name with it, where at most a few do."""
    by_key: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for place in places:
        row = gallery.rows.get(place.image)
        if row is None or not gallery.alive[row]:
            continue
        for kind, key in (("page", place.page), ("title", _title(place.title)), ("stem", stem(place.url))):
            if key:
                by_key[kind, key].add(row)
    found: defaultdict[int, set[int]] = defaultdict(set)
    for rows in by_key.values():
        if len(rows) <= MOST:
            add(found, combinations(sorted(rows), 2))
    return found


def add(found: defaultdict[int, set[int]], pairs: Iterable[tuple[int, int]]) -> None:
    """Adds pairs, both ways."""
    for first, second in pairs:
        found[first].add(second)
        found[second].add(first)


def stem(url: str) -> str:
    """The name of a file without its extension and what says how large it is; empty where that says little."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return ""
    name = unquote(path).rpartition("/")[2].rpartition(".")[0].lower()
    name = _SIZE.sub("", _WIDTH.sub("", name))
    return name if len(name) >= SHORTEST else ""


def _title(title: str) -> str:
    text = " ".join(title.lower().split())
    return text if len(text) >= SHORTEST else ""


def pairs(hinted: Mapping[int, set[int]]) -> list[tuple[int, int]]:
    """Each pair once, sorted."""
    return sorted((row, other) for row, others in hinted.items() for other in others if row < other)
