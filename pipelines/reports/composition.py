"""The page about what the images are like: sources and licenses, creators, hosts, sizes, formats and dates."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from collector.catalog import funnel
from collector.catalog.sightings import Seen
from collector.credits import plain
from collector.licenses import title
from collector.splits import NEGATIVE_SOURCES
from pipelines.pages import charts
from pipelines.reports.material import Material

TOP = 15  # rows of a list
LARGE_SHARE = 0.2  # a creator, or a host, with more of the images than this is the data set
MOST_CHANGES = 50  # rows of what a recheck found
CHANGES = {"license-changed": "another license", "withdrawn": "withdrawn", "dead": "its page is gone"}
YEAR = re.compile(r"(1[0-9]{3}|20[0-9]{2})(?![0-9])")


class Ranking(NamedTuple):
    """The most frequent values with their images, how many more there are, and of how many images in all."""

    rows: list[tuple[str, int]]
    more: int
    of: int


def composition(of: Material) -> dict[str, Any] | None:
    """Each image counts once, by the sighting that speaks for it; None before the first image."""
    if not of.origins:
        return None
    table = Counter((seen.found.source, title(seen.found.license)) for seen in of.origins.values())
    sources = sorted({source for source, _ in table})
    gathered = [seen for seen in of.origins.values() if seen.found.source not in NEGATIVE_SOURCES]
    creators = _ranking(plain(seen.found.creator) for seen in gathered)
    hosts = _ranking(_host(seen) for seen in gathered)
    changed = sorted((seen for seen in of.seen if seen.state != "live"), key=lambda seen: seen.seen_at, reverse=True)
    shapes = funnel.shapes(of.catalog, of.name)
    years = [int(found[1]) for seen in gathered if (found := YEAR.match(str(seen.found.facts.get("date", ""))))]
    return {
        "images": len(of.origins),
        "gathered": len(gathered),
        "table": table,
        "sources": sources,
        "by_source": Counter(seen.found.source for seen in of.origins.values()),
        "licenses": sorted({license for _, license in table}, key=lambda license: (license != "no license", license)),
        "unlicensed": sum(seen.found.license.code == "unlicensed" for seen in of.origins.values()) / len(of.origins),
        "creators": creators,
        "named": sum(1 for seen in gathered if seen.found.creator.strip()),
        "hosts": hosts,
        "large": LARGE_SHARE,
        "sizes": charts.sizes([min(each.width, each.height) for each in shapes]),
        "middle": sorted(min(each.width, each.height) for each in shapes)[len(shapes) // 2],
        "formats": _ranking(each.format + (" (animated)" if each.frames > 1 else "") for each in shapes),
        "megabytes": sum(each.bytes for each in shapes) / 1e6,
        "years": _years(years),
        "dated": len(years),
        "changed": [(seen.found, title(seen.found.license), CHANGES.get(seen.state, seen.state)) for seen in changed],
        "most": MOST_CHANGES,
    }


def _ranking(values: Iterable[str]) -> Ranking:
    tally = Counter(values)
    total = tally.total()
    tally.pop("", 0)
    ranked = sorted(tally.items(), key=lambda item: (-item[1], item[0]))
    return Ranking(ranked[:TOP], max(0, len(ranked) - TOP), total)


def _host(seen: Seen) -> str:
    try:
        return urlsplit(seen.found.final_url or seen.found.url).hostname or ""
    except ValueError:
        return ""


def _years(years: list[int]) -> str:
    """A chart of the years in which pictures were made; none for fewer than two of them."""
    if len(set(years)) < 2:
        return ""
    first, last = min(years), max(years)
    step = 1 + (last - first) // 60  # years in one bar
    bars = (last - first) // step + 1
    return charts.histogram(years, (first - 0.5, first + bars * step - 0.5), bars, ("made in", "images"))
