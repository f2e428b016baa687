"""`recheck`: ask every source again whether its pictures are still there, and under which license.

A license can be stated anew and a picture withdrawn after it was fetched; a Creative Commons license cannot be revoked,
so what was said at first stays in the catalog beside what is said now. The questions are asked by a child process, as
those of a crawl, and under the same manners.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from collector.catalog import sightings
from collector.catalog.sightings import Seen
from collector.errors import UsageError
from collector.licenses import PRESETS, title
from collector.records import Summary
from collector.spiders.children import run
from collector.spiders.config import CrawlConfig
from collector.spiders.facets import Facets
from collector.spiders.sources import lacks_contact, missing_keys, names
from collector.workspace import Workspace

EVERY = "every-concept"  # names the log


@dataclass(frozen=True, slots=True, kw_only=True)
class RecheckSummary(Summary):
    """What sources say now of the pictures they showed: asked = unchanged + all of `changed` + unanswered.

    Figures count sightings. `changed` says by state how many are new: `license-changed`, `withdrawn`, `dead`, and
    `live` for those that came back; `changes` has a line for each. `later` are due too, but beyond the limit. `down`
    are sources that stopped answering: the same command continues later.
    """

    concept: str
    asked: int
    unchanged: int
    changed: dict[str, int]
    unanswered: int
    later: int
    changes: tuple[str, ...]
    down: tuple[str, ...]


def recheck(
    ws: Workspace, concept: str | None = None, *, older_than: float = 0.0, limit: int | None = None
) -> RecheckSummary:
    """Ask the sources about the pictures of a concept, or of all concepts, the oldest check first.

    Args:
        ws: the workspace.
        concept: its name; None for all.
        older_than: leave out what was checked within so many days.
        limit: most sightings to ask about.

    Raises:
        UsageError: the limit or the days make no sense, or there is no such concept.
        Busy: another recheck runs.
    """
    if older_than < 0 or (limit is not None and limit < 1):
        raise UsageError("a recheck wants a limit of 1 or more, and days of 0 or more", hint="`collect recheck --help`")
    about = ws.concept(concept).name if concept is not None else None
    asked, warnings = _askable(ws)
    since = (datetime.now(UTC) - timedelta(days=older_than)).isoformat(timespec="milliseconds")
    every = sorted(sightings.latest(ws.catalog, about, asked), key=lambda seen: (seen.read_at, seen.id))
    old = [seen for seen in every if seen.read_at <= since]
    due = old[:limit]
    told: dict[str, Any] = {}
    if due:
        with ws.lock("recheck"):
            told = run(ws, _order(ws, about, due), processes=1)
    now = {_key(seen): seen for seen in sightings.latest(ws.catalog, about, asked)}
    pairs = [(seen, now[_key(seen)]) for seen in due if _key(seen) in now]
    changed = [(before, after) for before, after in pairs if after.revision > before.revision]
    unchanged = sum(before.id == after.id and after.checked_at > before.checked_at for before, after in pairs)
    down = tuple(told.get("down", ()))
    return RecheckSummary(
        concept=about or "",
        asked=len(due),
        unchanged=unchanged,
        changed=dict(sorted(Counter(after.state for _, after in changed).items())),
        unanswered=len(due) - unchanged - len(changed),
        later=len(old) - len(due),
        changes=tuple(change(before, after) for before, after in changed),
        down=down,
        warnings=(*(f"{name} is not asked any further: {told['ended'].get(name, '')}" for name in down), *warnings),
        next=f"collect report {about}" if about and changed else "",
    )


def change(before: Seen, after: Seen) -> str:
    """What has changed, on one line: source and id, the licenses or the state, and the page."""
    found = after.found
    was, is_now = title(before.found.license), title(found.license)
    said = f"{was} -> {is_now}" if was != is_now else f"{after.state} (was {was})"
    return f"{found.concept}: {found.source} {found.source_id}: {said} {found.page or found.url}"


def _askable(ws: Workspace) -> tuple[list[str], list[str]]:
    """(sources that can be asked now, warnings about those that cannot)."""
    stored = {seen.found.source for seen in sightings.latest(ws.catalog)} & set(names(ws))
    asked, warnings = [], []
    for name in sorted(stored):
        if missing := missing_keys(name):
            warnings.append(f"{name} is not asked: set {' and '.join(missing)}")
        elif lacks_contact(ws, name):
            warnings.append(f"{name} is not asked: set `contact` of [crawl] to your mail address")
        else:
            asked.append(name)
    return asked, warnings


def _order(ws: Workspace, concept: str | None, due: Sequence[Seen]) -> dict[str, Any]:
    """An order for process.py: spiders of `rechecking` know from `options` what to ask about."""
    by_source: dict[str, list[int]] = {}
    for seen in due:
        by_source.setdefault(seen.found.source, []).append(seen.id)
    preset = ws.section(CrawlConfig).license
    return {
        "kind": "recheck",
        "config": str(ws.settings.path),
        "concept": concept or EVERY,
        "queries": [],
        "sources": list(by_source),
        "known_sources": [],
        "kept": {},
        "license": preset,
        "allowed": PRESETS[preset],
        "facets": asdict(Facets()),
        "options": {"of": concept, "due": by_source},
        "limit": len(due),
        "dry_run": True,  # takes no picture in
    }


def _key(seen: Seen) -> tuple[str, str, str, str]:
    return seen.found.concept, seen.found.source, seen.found.source_id, seen.image
