"""The pages about where images come from: crawl, duplicates, negatives. None means: that step has not run."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from collector.catalog import funnel, images, pools
from collector.catalog.pools import Duplicate
from collector.splits import NEGATIVE_SOURCES
from pipelines.reports import charts
from pipelines.reports.contact_sheet import PER_PAGE
from pipelines.reports.material import Material

SAMPLE = 60  # pictures on the crawl page
COPIES = 8  # shown of one group
TIERS = {
    "near": "close to the concept in WordNet: at most 3 steps to a common parent",
    "mid": "up to 6 steps to a common parent",
    "far": "further away",
    "given": "from a folder or a search that was named as negative",
}


def crawl(of: Material) -> dict[str, Any] | None:
    """Candidates and refusals by reason, source by source, and a sample."""
    names = funnel.sources(of.catalog, of.name)
    if not names:
        return None
    seen, kept, refused = images.counts(of.catalog, of.name)
    unlicensed = sum(each.found.license.code == "unlicensed" for each in of.origins.values())
    return {
        "seen": seen,
        "kept": kept,
        "refused": sorted(refused.items(), key=lambda item: (-item[1], item[0])),
        "details": funnel.refusals(of.catalog, of.name),
        "sources": {name: images.counts(of.catalog, of.name, [name]) for name in names},
        "unlicensed": unlicensed / kept if kept else 0.0,
        "sample": [of.album.picture(image) for image in sorted(of.found)[:SAMPLE]],
    }


def duplicates(of: Material) -> dict[str, Any] | None:
    """Every group with its keeper and its copies, those nearest the threshold first."""
    done = funnel.current_pass(of.catalog)
    if done is None:
        return None
    groups: defaultdict[str, list[Duplicate]] = defaultdict(list)
    for row in of.copies.values():
        groups[row.keeper].append(row)
    for rows in groups.values():
        rows.sort(key=lambda row: (-row.distance, row.image))
    nearest = sorted(groups.items(), key=lambda item: (-item[1][0].distance, item[0]))
    shown, room = [], PER_PAGE
    for keeper, rows in nearest:
        room -= 1 + min(len(rows), COPIES)
        if room < 0:
            break
        copies = [(of.album.picture(row.image), row) for row in rows[:COPIES]]
        shown.append((of.album.picture(keeper), copies, len(rows) - len(copies)))
    distances = [row.distance for row in of.copies.values()]
    limits = (-0.5, done.threshold + 0.5)
    axes = ("distance of a copy from its keeper, in bits of 64", "copies")
    return {
        "compared": done.images,
        "later": len(images.ids(of.catalog)) - done.images,
        "copies": len(of.copies),
        "groups": shown,
        "hidden": len(groups) - len(shown),
        "group_count": len(groups),
        "threshold": done.threshold,
        "reasons": Counter(row.reason.split(" (")[0] for row in of.copies.values()).most_common(),
        "chart": charts.histogram(distances, limits, done.threshold + 1, axes) if distances else "",
    }


def negatives(of: Material) -> dict[str, Any] | None:
    """A sample of each tier, nearest first, and what was left out."""
    pool = pools.members(of.catalog, of.name)
    tiers: defaultdict[str, list[str]] = defaultdict(list)
    for row in pool:
        if row.role == "negative":
            tiers[row.tier].append(row.image)
    excluded = images.refusals(of.catalog, of.name, NEGATIVE_SOURCES)
    if not tiers and not excluded:
        return None
    order = [tier for tier in (*TIERS, *sorted(tiers.keys() - TIERS.keys())) if tier in tiers]
    share = PER_PAGE // max(len(order), 1)
    return {
        "positives": sum(row.role == "positive" for row in pool),
        "negatives": sum(map(len, tiers.values())),
        "tiers": [
            (tier, TIERS.get(tier, ""), len(tiers[tier]), [of.album.picture(image) for image in tiers[tier][:share]])
            for tier in order
        ],
        "excluded": sorted(excluded.items(), key=lambda item: (-item[1], item[0])),
        "details": funnel.refusals(of.catalog, of.name),
    }
