"""What to crawl for negatives: the searches that would fill the tiers, as commands to type."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass

from collector.catalog import pools, sightings
from collector.negatives.config import QUOTED, NegativesConfig
from collector.negatives.meaning import understood
from collector.negatives.words import search_words
from collector.records import Concept, Summary
from collector.splits import enroll
from collector.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSummary(Summary):
    """What to crawl: `wanted` and `have` negatives by tier, search `words` by tier, and the `commands` to type."""

    concept: str
    synsets: dict[str, str]
    wanted: dict[str, int]
    have: dict[str, int]
    words: dict[str, tuple[str, ...]]
    commands: tuple[str, ...]


def plan(ws: Workspace, concept: str | None = None, *, ratio: float | None = None) -> PlanSummary:
    """Say which searches would fill the tiers of a concept's negatives; nothing is fetched.

    Raises:
        UsageError: a label of the concept has no synset.
    """
    config = ws.section(NegativesConfig)
    about = ws.concept(concept)
    knows = understood(ws, about, needed=True)
    enroll(ws, about)
    pool = pools.members(ws.catalog, about.name)
    quotas = config.quotas.of(round((ratio or config.ratio) * sum(row.role == "positive" for row in pool)))
    have = Counter(row.tier for row in pool if row.role == "negative")
    words = search_words(config, knows, ws.seed)
    seen = sightings.latest(ws.catalog, about.name)
    held = len({each.image for each in seen if each.found.url.startswith("http")})  # what the limit of a crawl counts
    commands = []
    for tier in QUOTED:
        lacking = quotas[tier] - have[tier]
        several = words[tier][: max(0, lacking)]
        for n, word in enumerate(several):
            held += lacking // len(several) + (n < lacking % len(several))
            commands.append(_command(about, held, "--query", word, "--label", about.negative))
    if commands:
        commands.append(_command(about, held, "--source", "openimages"))
    return PlanSummary(
        concept=about.name,
        synsets=knows.synsets,
        wanted=quotas,
        have={tier: have[tier] for tier in QUOTED},
        words=words,
        commands=tuple(commands),
        next=f"collect negatives {shlex.quote(about.name)}",
    )


def _command(about: Concept, limit: int, *options: str) -> str:
    return shlex.join(["collect", "crawl", about.name, *options, "--limit", str(limit)])
