"""The page about negatives: where they are from, which may show the concept, and what gives them away unseen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

from collector.catalog import consensus, funnel, pools, suspects
from collector.catalog.exclusions import exclusions
from collector.catalog.pools import PoolRow
from collector.catalog.suspects import Suspect
from collector.licenses import title
from collector.negatives import TIERS
from collector.negatives.step import REASONS
from collector.splits import NEGATIVE_SOURCES
from pipelines.config import ShortcutsConfig
from pipelines.metrics import at_most
from pipelines.pages import charts
from pipelines.reports.contact_sheet import PER_PAGE, Picture
from pipelines.reports.material import Material
from pipelines.shortcuts import ORIGIN, Shortcut, measure, numbers, words

PAIRS = 20  # suspects shown, each beside a positive
DRAWN = {
    "long side": "longer side, pixels",
    "aspect": "width over height",
    "bytes per pixel": "bytes for a pixel",
    "JPEG quality": "JPEG quality, -1: no JPEG",
}
DIFFERENT = 0.1  # a word is shown when its shares in the two classes differ by this much
MOST_WORDS = 12


class Word(NamedTuple):
    """One value of a feature, and its share of the positives and of the negatives."""

    feature: str
    value: str
    positives: float
    negatives: float


def negatives(of: Material) -> dict[str, Any] | None:
    """Everything about the class that is not the concept; None before the first negative or exclusion."""
    pool = pools.members(of.catalog, of.name)
    ours = [row for row in pool if row.role == "negative"]
    excluded = exclusions(of.catalog, of.name, NEGATIVE_SOURCES, REASONS)
    if not ours and not excluded:
        return None
    said = {row.image: row.label for row in consensus.settled(of.catalog, of.name) if row.label}
    listed = suspects.of(of.catalog, of.name)
    return {
        "positives": sum(row.role == "positive" for row in pool),
        "negatives": len(ours),
        "excluded": sorted(excluded.items(), key=lambda item: (-item[1], item[0])),
        "details": funnel.refusals(of.catalog, of.name),
        **_origins(of, ours),
        **_judged(of, ours, said),
        "suspects": [_pair(of, each, said) for each in listed[:PAIRS]],
        "listed": len(listed),
        **_shortcut(of, pool),
        **_samples(of, ours, PER_PAGE - 2 * min(PAIRS, len(listed))),
    }


def _origins(of: Material, ours: Sequence[PoolRow]) -> dict[str, Any]:
    """How many negatives each tier has from each (source, license), the largest first."""
    table: Counter[tuple[str, str, str]] = Counter()
    for row in ours:
        seen = of.origins.get(row.image)
        place = (seen.found.source, title(seen.found.license)) if seen else ("not known", "not known")
        table[(*place, row.tier)] += 1
    totals: Counter[tuple[str, str]] = Counter()
    for (source, license, _), n in table.items():
        totals[source, license] += n
    return {"table": table, "places": sorted(totals.items(), key=lambda item: (-item[1], item[0]))}


def _judged(of: Material, ours: Sequence[PoolRow], said: dict[str, str]) -> dict[str, Any]:
    labels = [said[row.image] for row in ours if row.image in said]
    wrong = sum(label != of.concept.negative for label in labels)
    bound = at_most(wrong, len(labels)) if labels else None
    return {"inspected": len(labels), "contaminated": wrong, "bound": bound}


def _pair(of: Material, each: Suspect, said: dict[str, str]) -> tuple[Picture, Picture | None, Suspect, str]:
    beside = of.album.picture(each.nearest) if each.nearest else None
    return of.album.picture(each.image), beside, each, said.get(each.image, "")


def _samples(of: Material, ours: Sequence[PoolRow], room: int) -> dict[str, Any]:
    tiers: defaultdict[str, list[str]] = defaultdict(list)
    for row in ours:
        tiers[row.tier].append(row.image)
    order = [tier for tier in (*TIERS, *sorted(tiers.keys() - TIERS.keys())) if tier in tiers]
    share = room // max(len(order), 1)
    shown = [(tier, tiers[tier], tiers[tier][:share]) for tier in order]
    return {
        "tiers": [
            (tier, TIERS.get(tier, ""), len(whole), [of.album.picture(image) for image in some])
            for tier, whole, some in shown
        ]
    }


def _shortcut(of: Material, pool: Sequence[PoolRow]) -> dict[str, Any]:
    """What metadata tells of the two classes; empty without scikit-learn, or where a class has too few images."""
    nothing: dict[str, Any] = {"files": None, "everything": None, "alone": (), "histograms": [], "words": []}
    limits = of.ws.section(ShortcutsConfig)
    if find_spec("sklearn") is None:
        return {**nothing, "limits": limits}
    sides = ([row.image for row in pool if row.role == role] for role in ("positive", "negative"))
    found = measure(of.ws, of.name, *sides)
    if found.files is None:
        return {**nothing, "limits": limits}
    ours, theirs = (numbers(side.values()) for side in (found.positives, found.negatives))
    return {
        "files": found.files,
        "everything": found.everything,
        "alone": [(name, value, name in ORIGIN) for name, value in found.alone if value > 0.5],
        "histograms": [charts.two_classes(ours[name], theirs[name], axis) for name, axis in DRAWN.items()],
        "words": _words(found),
        "limits": limits,
    }


def _words(found: Shortcut) -> list[Word]:
    """The words that are much more frequent in one class, the most telling first."""
    ours, theirs = (words(side.values()) for side in (found.positives, found.negatives))
    rows = []
    for name in ours:
        counts = [(Counter(side[name]), len(side[name])) for side in (ours, theirs)]
        for value in counts[0][0].keys() | counts[1][0].keys():
            first, second = (tally[value] / n for tally, n in counts)
            rows.append(Word(name, value, first, second))
    telling = [row for row in rows if abs(row.positives - row.negatives) >= DIFFERENT and row.value != "no"]
    return sorted(telling, key=lambda row: (-abs(row.positives - row.negatives), row))[:MOST_WORDS]
