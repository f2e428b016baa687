"""Hard negatives: what a model takes for the concept, and people say that it is not, comes into the training part.

Only confirmed negatives are taken: people settled them here, or the source's people verified them there. An image that
validates or tests is never taken, nor is a copy of one, nor one that would be held out if it came into the pool by
itself: the held-out part stays a random sample that no model has chosen from. What is mined is frozen as training
before it enters the pool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from collector import quality, splits
from collector.catalog import consensus, images, pools, sightings
from collector.catalog.pools import PoolRow
from collector.catalog.sightings import Seen
from collector.negatives.guard import Guard, called_positive
from collector.records import Concept, Summary
from collector.spiders.config import CrawlConfig
from collector.workspace import Workspace
from pipelines.predict import load_model

LIMIT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class MineSummary(Summary):
    """Of `confirmed` negatives, `held_out` validate or test, or would; `in_pool` are there; others are `excluded`.

    `mined` of the rest came in, those that the run scores highest: from `lowest` to `highest`.
    """

    concept: str
    run: str
    confirmed: int
    held_out: int
    in_pool: int
    excluded: dict[str, int]
    mined: int
    lowest: float | None
    highest: float | None


def mine(ws: Workspace, concept: str | None = None, *, run: str | None = None, limit: int = LIMIT) -> MineSummary:
    """Take the confirmed negatives that a finished run scores highest into the training part, at most `limit`.

    Raises:
        UsageError: no finished run is called so.
        GateNotMet: nothing was trained yet.
    """
    about = ws.concept(concept)
    model = load_model(ws, about.name, run)
    used = model.experiment.run
    with ws.lock("negatives"):
        origins = sightings.origins(ws.catalog, about.name, ws.section(CrawlConfig).license)
        tiers = confirmed(ws, about, origins)
        home = pools.splits(ws.catalog, about.name)
        inside = {row.image for row in pools.members(ws.catalog, about.name)}
        held_out = {image for image in tiers if (home.get(image) or splits.home(ws, about, image)) != "train"}
        free = sorted(tiers.keys() - held_out - inside)
        chances = 1 - model.probabilities(ws, free)[:, -1] if free else np.zeros(0)
        score = {image: round(float(chance), 6) for image, chance in zip(free, chances, strict=True)}
        hardest = sorted(free, key=lambda image: (-score[image], image))
        taken, excluded = _guarded(ws, about, hardest, origins, limit)
        rows = [_row(about, tiers[image], origins[image], used, score[image]) for image in taken]
        # The split comes first: a pool row without one would be drawn later, perhaps for validation.
        pools.freeze_splits(ws.catalog, about.name, dict.fromkeys(taken, "train"), f"mined by run {used}")
        pools.add(ws.catalog, about.name, rows)
    return MineSummary(
        concept=about.name,
        run=used,
        confirmed=len(tiers),
        held_out=len(held_out),
        in_pool=len((tiers.keys() & inside) - held_out),
        excluded=excluded,
        mined=len(taken),
        lowest=score[taken[-1]] if taken else None,
        highest=score[taken[0]] if taken else None,
        next=f"collect label push {about.name}",
    )


def confirmed(ws: Workspace, about: Concept, origins: Mapping[str, Seen]) -> dict[str, str]:
    """Image -> tier of every image of a concept that people say does not show it, without copies and poor ones."""
    said = {row.image for row in consensus.settled(ws.catalog, about.name) if row.label == about.negative}
    verified = {image for image, seen in origins.items() if seen.found.facts.get("verified") == "negative"}
    # Tiers are those that `collect negatives` gives.
    tiers = dict.fromkeys(sorted(said), "given") | dict.fromkeys(sorted(verified), "near")
    tiers |= {row.image: row.tier for row in pools.members(ws.catalog, about.name) if row.image in tiers}
    poor = quality.excluded(ws.catalog, ws.section(quality.QualityConfig))
    out = pools.duplicates(ws.catalog).keys() | poor.keys() | (called_positive(ws, about) - said)
    return {image: tier for image, tier in tiers.items() if image in origins and image not in out}


def _guarded(
    ws: Workspace, about: Concept, ranked: Sequence[str], origins: Mapping[str, Seen], limit: int
) -> tuple[list[str], dict[str, int]]:
    """The first `limit` images that are no copies of what must stay out, and the others before them by reason."""
    picked = {row.image for row in pools.members(ws.catalog, about.name) if row.role == "negative"}
    guard = Guard(ws, about, picked)
    taken: list[str] = []
    excluded: Counter[str] = Counter()
    for image in ranked:
        if len(taken) == limit:
            break
        why = guard.judge([image])[0]
        if why is None:
            taken.append(image)
        else:
            excluded[why.reason] += 1
            images.reject(ws.catalog, origins[image].found, why)
    return taken, dict(sorted(excluded.items()))


def _row(about: Concept, tier: str, seen: Seen, run: str, score: float) -> PoolRow:
    who = {"source": seen.found.source, "creator": seen.found.creator}  # what the caps of `collect negatives` count
    checks = {**who, "mined": run, "score": score}
    reason = f"mined: run {run} gives it {score:.2f}"
    return PoolRow(seen.image, about.negative, "negative", tier, reason, checks)
