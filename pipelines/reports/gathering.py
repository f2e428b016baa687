"""The pages about where images come from: crawl, duplicates, negatives, credits. None means: that step has not run."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from itertools import islice
from typing import Any

from collector.catalog import funnel, images, pools
from collector.catalog.models import Origin
from collector.catalog.pools import Duplicate
from collector.splits import NEGATIVE_SOURCES
from pipelines.reports import charts
from pipelines.reports.contact_sheet import PER_PAGE, license_name, license_of, web_link
from pipelines.reports.material import Material

SAMPLE = 60  # pictures on the crawl page
TOP = 15  # creators
LARGE_SHARE = 0.1  # a creator with more of the images than this is marked
COPIES = 8  # shown of one group
CREDITS = 2000  # rows on the page; the CSV file has all
TIERS = {
    "near": "close to the concept in WordNet: at most 3 steps to a common parent",
    "mid": "up to 6 steps to a common parent",
    "far": "further away",
    "given": "from a folder or a search that was named as negative",
}


def crawl(of: Material) -> dict[str, Any] | None:
    """Candidates, refusals by reason, licenses and creators, source by source."""
    names = funnel.sources(of.catalog, of.name)
    if not names:
        return None
    seen, kept, refused = images.counts(of.catalog, of.name)
    tally = {
        (source, license_name(code, version)): n
        for (source, code, version), n in funnel.licenses(of.catalog, of.name).items()
    }
    unlicensed = sum(origin.license == "unlicensed" for origin in of.origins.values())
    creators = funnel.creators(of.catalog, of.name)
    return {
        "seen": seen,
        "kept": kept,
        "refused": sorted(refused.items(), key=lambda item: (-item[1], item[0])),
        "details": funnel.refusals(of.catalog, of.name),
        "sources": {name: images.counts(of.catalog, of.name, [name]) for name in names},
        "licenses": sorted(
            {name for _, name in tally}, key=lambda name: (name != license_name("unlicensed", ""), name)
        ),
        "license_of": tally,
        "unlicensed": unlicensed / kept if kept else 0.0,
        "creators": creators[:TOP],
        "more_creators": max(0, len(creators) - TOP),
        "large": kept * LARGE_SHARE,
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


def credits(of: Material) -> dict[str, Any] | None:
    """Whom to name: each licensed image with title, creator, page and license; the rest is counted."""
    if not of.origins:
        return None
    owed = _owed(of)
    silent = Counter(
        (origin.source, license_of(origin)) for origin in of.origins.values() if origin.license in _UNCREDITED
    )
    return {
        "rows": [(origin, license_of(origin)) for origin in islice(owed, CREDITS)],
        "total": len(owed),
        "nameless": sum(not origin.creator.strip() for origin in owed),
        "silent": sorted(silent.items()),
    }


def credits_csv(of: Material) -> bytes:
    """The credits of every image as CSV in UTF-8; no cell can be taken for a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["image", "title", "creator", "creator_url", "page", "source", "license", "license_url"])
    for each in sorted(of.origins.values(), key=_credit_order):
        links = (web_link(each.creator_url), web_link(each.page), web_link(each.license_url))
        row = [
            each.image,
            each.title,
            each.creator,
            *links[:2],
            each.source,
            license_of(each),
            links[2],
        ]
        writer.writerow([_no_formula(cell) for cell in row])
    return text.getvalue().encode("utf-8-sig")  # with the mark, without which Excel reads another encoding


_UNCREDITED = ("own", "unlicensed")


def _owed(of: Material) -> list[Origin]:
    return sorted((each for each in of.origins.values() if each.license not in _UNCREDITED), key=_credit_order)


def _credit_order(each: Origin) -> tuple[str, ...]:
    return each.source, each.creator, each.title, each.image


def _no_formula(cell: str) -> str:
    """Spreadsheets run cells that begin so (OWASP, "CSV Injection"); a leading quote makes them text."""
    risky = cell.lstrip()[:1] in tuple("=+-@\uff1d\uff0b\uff0d\uff20") or cell[:1] in tuple("\t\r\n")
    return f"'{cell}" if risky else cell
