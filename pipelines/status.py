"""`collect status`: how far each concept has come, and the next command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from collector.catalog import concepts, progress
from collector.records import Summary
from collector.workspace import Workspace

# The first step whose count is zero names the next command; in the order of work.
STEPS = (
    ("images", "collect crawl {concept}"),
    ("pool", "collect negatives {concept}"),
    ("tasks", "collect label push {concept}"),
    ("answered", "collect label pull {concept}"),
    ("settled", "collect agreement {concept}"),
    ("snapshots", "collect snapshot {concept}"),
    ("runs", "collect train-baseline {concept}"),
    ("predictions", "collect prelabel {concept}"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSummary(Summary):
    """Concept -> step -> how many."""

    concepts: dict[str, dict[str, int]]

    def for_people(self) -> dict[str, Any]:
        """One line for each concept."""
        return dict(self.concepts)


def status(ws: Workspace, concept: str | None = None) -> StatusSummary:
    """Count what there is of one concept or of all."""
    names = [ws.concept(concept).name] if concept else [each.name for each in concepts.all_concepts(ws.catalog)]
    found = {name: progress.counts(ws.catalog, name) for name in names}
    return StatusSummary(concepts=found, next=_next(found))


def _next(found: dict[str, dict[str, int]]) -> str:
    for name, counts in found.items():
        for step, command in STEPS:
            if not counts[step]:
                return command.format(concept=name)
    return f"collect report {next(iter(found))}" if found else "collect crawl horse --limit 500"
