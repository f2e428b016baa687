"""Draw negatives that are made like the positives: as large and as wide, as strongly compressed, from the same sources.

What a file is like is its *stratum*. Each stratum gives as many negatives as the positives' share of it asks for, and
inside a stratum a keyed hash draws. Where one has too few the draw stays short: filling it from others would bring the
shortcut back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from collector.metadata import Header
from collector.splits import position

LONG_SIDES = (240, 320, 400, 480, 512, 640, 800, 1024, 1280, 1600, 2048, 3072, 4096)  # pixels; usual sizes begin one
ASPECTS = (0.9, 1.1, 1.4)  # upright, square, 4:3, wider
QUALITIES = (30, 50, 70, 80, 88, 94, 97)  # of libjpeg


class Stratum(NamedTuple):
    """What a file is like, as far as it is matched, in steps; `quality` is -1 for what is no JPEG."""

    long_side: int
    aspect: int
    quality: int
    source: str


def stratum(header: Header, source: str) -> Stratum:
    """The stratum of a file with this header, found at `source`."""
    quality = -1 if header.quality is None else bisect_right(QUALITIES, header.quality)
    long_side, aspect = bisect_right(LONG_SIDES, header.long_side), bisect_right(ASPECTS, header.aspect)
    return Stratum(long_side, aspect, quality, source)


def matched(candidates: Mapping[str, Stratum], positives: Iterable[Stratum], wanted: int, key: str) -> list[str]:
    """At most `wanted` of the candidates (id -> stratum), spread over the strata as the positives are.

    A larger draw contains every smaller one.
    """
    strata, shape = comparable(candidates, positives)
    left = places(shape, wanted)
    drawn = []
    for name in sorted(strata, key=lambda name: (position(f"{key}:{name}"), name)):
        if left[strata[name]] > 0:
            left[strata[name]] -= 1
            drawn.append(name)
    return drawn


def comparable(
    candidates: Mapping[str, Stratum], positives: Iterable[Stratum]
) -> tuple[dict[str, Stratum], list[Stratum]]:
    """Both as they are, or without their sources where they share none: then no draw could match these."""
    strata, shape = dict(candidates), list(positives)
    if {each.source for each in shape}.isdisjoint(each.source for each in strata.values()):
        strata = {name: each._replace(source="") for name, each in strata.items()}
        shape = [each._replace(source="") for each in shape]
    return strata, shape


def places(positives: Iterable[Stratum], wanted: int) -> Counter[Stratum]:
    """How many of `wanted` images each stratum gives: proportional to the positives, by the method of Webster.

    No stratum gives fewer when more are wanted (Balinski and Young, Fair Representation, 1982), as it could with
    largest remainders.
    """
    votes = Counter(positives)
    ahead = {place: -(-n * wanted // votes.total()) + 1 for place, n in votes.items()}
    seats = [((seat + 0.5) / votes[place], place) for place, n in ahead.items() for seat in range(n)]
    return Counter(place for _, place in sorted(seats)[:wanted])
