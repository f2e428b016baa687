"""`crawl`: fetch license-clean images of a concept until it holds as many as were asked for.

Scrapy runs in child processes (process.py, children.py), because its reactor cannot be started twice in one; so a
notebook can crawl as often as it likes, and the memory goes back. All that they learn is in the catalog when they end.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from collector import durable, licenses
from collector.catalog import crawls
from collector.catalog.database import now
from collector.errors import ServiceDown, UsageError
from collector.records import Concept, Summary
from collector.registry import did_you_mean
from collector.spiders import lists
from collector.spiders.children import file_name, run
from collector.spiders.config import CrawlConfig, SourcesConfig
from collector.spiders.facets import Facets
from collector.spiders.reasons import TRANSIENT
from collector.spiders.sources import SourcesSummary, choose, names, sources
from collector.workspace import Workspace

__all__ = ["CrawlSummary", "Facets", "SourcesSummary", "crawl", "sources"]
MOST_HOSTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CrawlSummary(Summary):
    """What crawling has given a concept so far: seen = kept + repeats + all of `rejected`.

    `kept` are distinct images, `repeats` places that showed one of them again, `new` the images of this run.
    `sources`, `licenses` and `hosts` count an image where it was seen first; of hosts, the 20 with most images.
    `planned`, `asked` and `notes` are for a dry run: what would be fetched, which searches were sent, what sources
    made of the words. `down` are sources that stopped answering before `limit` was reached: the same command continues
    later. `binds` is what the crawl waited for most: processor, disk, network or searches.
    """

    concept: str
    limit: int
    kept: int
    seen: int
    rejected: dict[str, int]
    repeats: int
    new: int
    sources: dict[str, dict[str, int]]
    licenses: dict[str, int]
    hosts: dict[str, int]
    seconds: float = 0.0
    binds: str = ""
    planned: tuple[str, ...] = field(default=())
    asked: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=())
    down: tuple[str, ...] = field(default=())

    def for_people(self) -> dict[str, Any]:
        """Without what is empty."""
        shown = ("concept", "limit", "kept", "seen", "new")
        return {name: value for name, value in self.as_json().items() if value or name in shown}


def crawl(  # noqa: PLR0913  # one for each option of the command
    ws: Workspace,
    concept: str,
    *,
    limit: int | None = None,
    sources: Sequence[str] | None = None,
    query: str | None = None,
    label: str | None = None,
    license: str | None = None,
    commercial: bool = False,
    modify: bool = False,
    facets: Facets | None = None,
    processes: int | None = None,
    dry_run: bool = False,
    **options: Any,
) -> CrawlSummary:
    """Fetch images until `concept` holds `limit` from crawling; a word that is no concept yet becomes one.

    Args:
        ws: the workspace.
        concept: name of a concept, or a new word.
        limit: images that the concept should hold from crawling in the end; default `crawl.limit`.
        sources: names of the sources to ask; default those that are enabled.
        query: search for this instead of the concept's own words.
        label: what is found is collected as this label; default the concept, or each label by its own words.
        license: preset of licenses to accept; default `crawl.license`.
        commercial: accept only licenses that allow commercial use.
        modify: accept only licenses that allow modified copies.
        facets: what the pictures must be like.
        processes: crawling processes; default `crawl.processes`.
        dry_run: ask for one page of search results, fetch no file, and tell what would be fetched.
        **options: `url` and `browser` for the source `site`, `urls` (files) for the source `urls`, `retry_failed`
            to look again at what failed for the moment, `until_known` to end searches after so many known in a row.

    Raises:
        UsageError: an unknown or refused source, preset, label or limit.
        Busy: the concept is being crawled already.
        ServiceDown: no source answers.
    """
    config = ws.section(CrawlConfig)
    limit = config.limit if limit is None else limit
    if limit < 1:
        raise UsageError(f"a limit of {limit} images cannot be fetched", hint="ask for 1 or more")
    asked, warnings = choose(ws, sources or _implied(options))
    if files := options.get("urls"):
        lists.check([Path(each) for each in files], ws.section(SourcesConfig).urls)
    preset = licenses.check_preset(license or config.license)
    allowed = licenses.allowed(preset, commercial=commercial, modify=modify)
    about = ws.described(concept) if dry_run else ws.concept(concept, create=True)
    known = names(ws)
    first = crawls.first_seen(ws.catalog, about.name, known)
    before, began = first.total(), time.monotonic()
    told: dict[str, Any] = {}
    if before < limit or dry_run:
        order = {
            "config": str(ws.settings.path),
            "concept": about.name,
            "queries": _queries(about, query, label),
            "sources": asked,
            "known_sources": list(known),
            "kept": _by(first, 0),
            "license": preset,
            "allowed": allowed,
            "facets": asdict(facets or Facets()),
            "options": options,
            "limit": limit,
            "dry_run": dry_run,
        }
        with ws.lock(f"crawl-{file_name(about.name)}"):
            ws.progress(f"crawling {about.name}: {', '.join(asked)}", before, limit)
            told = run(ws, order, processes=1 if dry_run else processes or config.processes)
    seconds = round(time.monotonic() - began, 3)
    summary = replace(_summary(ws, about, before, limit, told), seconds=seconds)
    if told and not told["seen"] and set(told["down"]) == set(asked):
        why = "; ".join(f"{name}: {reason}" for name, reason in sorted(told["ended"].items()))
        raise ServiceDown(f"no source can be asked: {why}", hint="check the network, then run the same command again")
    summary = _warned(summary, warnings, told)
    if told and not dry_run:
        _log(ws, summary, told)
    return summary


def _implied(options: Mapping[str, Any]) -> list[str] | None:
    """The source that options speak to, where they speak to one."""
    implied = [name for name, option in (("site", "url"), ("urls", "urls")) if options.get(option)]
    return implied or None


def _queries(about: Concept, query: str | None, label: str | None) -> list[tuple[str, str]]:
    if label is not None and label not in about.labels:
        raise UsageError(
            f"`{label}` is not a label of `{about.name}`{did_you_mean(label, about.labels)}",
            hint=f"labels: {', '.join(about.labels)}",
        )
    if query is not None:
        return [(label or about.positive, query)]
    found = [(each, words) for each, several in about.queries.items() if label in (None, each) for words in several]
    if not found:
        raise UsageError(f"`{about.name}` has no search words for `{label}`", hint="give them with --query")
    return found


def _summary(ws: Workspace, about: Concept, before: int, limit: int, told: Mapping[str, Any]) -> CrawlSummary:
    known = names(ws)
    tally = crawls.tally(ws.catalog, about.name, known)
    first = crawls.first_seen(ws.catalog, about.name, known)
    by_source = _by(first, 0)
    return CrawlSummary(
        concept=about.name,
        limit=limit,
        kept=tally.kept,
        seen=tally.seen,
        rejected=tally.rejected,
        repeats=tally.seen - tally.kept - sum(tally.rejected.values()),
        new=tally.kept - before,
        sources={
            name: {"seen": each.seen, "kept": by_source[name], "refused": sum(each.rejected.values())}
            for name in known
            if (each := crawls.tally(ws.catalog, about.name, [name])).seen
        },
        licenses=dict(sorted(_by(first, 1).items())),
        hosts=dict(_by(first, 3).most_common(MOST_HOSTS)),
        binds=str(told.get("binds", "")),
        planned=tuple(told.get("planned", ())),
        asked={name: tuple(urls) for name, urls in told.get("asked", {}).items()} if told.get("planned") else {},
        notes=tuple(f"{name}: {text}" for name, texts in told.get("notes", {}).items() for text in texts),
        down=tuple(told.get("down", ())) if tally.kept < limit else (),
        next="collect dedup",
    )


def _by(first: Mapping[tuple[str, str, str, str], int], part: int) -> Counter[str]:
    """The images of `crawls.first_seen` by source (part 0), license (1), creator (2) or host (3)."""
    found: Counter[str] = Counter()
    for place, number in first.items():
        found[place[part]] += number
    return found


def _warned(summary: CrawlSummary, warnings: list[str], told: Mapping[str, Any]) -> CrawlSummary:
    reasons = "; ".join(f"{name}: {why}" for name, why in sorted(told.get("ended", {}).items()) if why)
    if summary.kept < summary.limit and not summary.planned and reasons:
        warnings = [f"{summary.kept} of {summary.limit} images: {reasons}", *warnings]
    later = sum(number for reason, number in summary.rejected.items() if reason in TRANSIENT)
    if later and summary.kept < summary.limit:
        again = f"`collect crawl {summary.concept} --retry-failed` looks at them again"
        warnings = [*warnings, f"{later} files could not be fetched for the moment: {again}"]
    return replace(summary, warnings=tuple(warnings))


def _log(ws: Workspace, summary: CrawlSummary, told: Mapping[str, Any]) -> None:
    """Keep the figures of this run, and Scrapy's, as one JSON file."""
    path = ws.data / "logs" / f"crawl-{file_name(summary.concept)}-{now().replace(':', '')}.json"
    record = {"summary": summary.as_json(), "ended": told["ended"], "scrapy": told["stats"]}
    durable.save(path, json.dumps(record, indent=1, default=str).encode())
