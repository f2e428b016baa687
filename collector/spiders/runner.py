"""`crawl`: fetch license-clean images of a concept until it holds as many as were asked for.

Scrapy runs in a child process (process.py), because its reactor cannot be started twice in one; so a notebook can
crawl as often as it likes, and the memory goes back. All that the child learns is in the catalog when it ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from collector import errors
from collector.catalog import images
from collector.config import PREFIX, Settings
from collector.errors import CollectError, ServiceDown, UsageError
from collector.licenses import check_preset
from collector.records import Concept, Summary
from collector.spiders.config import CrawlConfig
from collector.spiders.sources import NAMES, SourcesSummary, choose, sources
from collector.workspace import Workspace

__all__ = ["CrawlSummary", "SourcesSummary", "crawl", "sources"]
STOP_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CrawlSummary(Summary):
    """What crawling has given a concept so far: seen = kept + repeats + all of `rejected`.

    `kept` are distinct images, `repeats` places that showed one of them again, `new` the images of this run.
    `sources` and `licenses` count an image where it was seen first. `planned` is for a dry run: what would be fetched.
    `down` are sources that stopped answering before `limit` was reached: the same command continues later.
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
    planned: tuple[str, ...] = field(default=())
    down: tuple[str, ...] = field(default=())


def crawl(  # noqa: PLR0913  # one for each option of the command
    ws: Workspace,
    concept: str,
    *,
    limit: int | None = None,
    sources: Sequence[str] | None = None,
    query: str | None = None,
    license: str | None = None,
    dry_run: bool = False,
) -> CrawlSummary:
    """Fetch images until `concept` holds `limit` from crawling; a word that is no concept yet becomes one.

    Args:
        ws: the workspace.
        concept: name of a concept, or a new word.
        limit: images that the concept should hold from crawling in the end; default `crawl.limit`.
        sources: names of the sources to ask; default those that are enabled.
        query: search for this instead of the concept's own words.
        license: preset of licenses to accept; default `crawl.license`.
        dry_run: ask for one page of search results, fetch no file, and tell what would be fetched.

    Raises:
        UsageError: an unknown or refused source, preset or limit.
        Busy: the concept is being crawled already.
        ServiceDown: no source answers.
    """
    config = ws.section(CrawlConfig)
    limit = config.limit if limit is None else limit
    if limit < 1:
        raise UsageError(f"a limit of {limit} images cannot be fetched", hint="ask for 1 or more")
    asked, warnings = choose(ws, sources)
    preset = check_preset(license or config.license)
    about = ws.concept(concept, create=True)
    before = len(images.first_sightings(ws.catalog, about.name, NAMES))
    told: dict[str, Any] = {}
    if before < limit or dry_run:
        order = {
            "config": str(ws.settings.path),
            "concept": about.name,
            "queries": _queries(about, query),
            "sources": asked,
            "license": preset,
            "limit": limit,
            "dry_run": dry_run,
        }
        with ws.lock(f"crawl-{_file_name(about.name)}"):
            ws.progress(f"crawling {about.name}: {', '.join(asked)}", before, limit)
            told = _run(ws, order)
    summary = _summary(ws, about, before, limit, told)
    if told and not told["looked_at"] and set(told["down"]) == set(asked):
        why = "; ".join(f"{name}: {reason}" for name, reason in sorted(told["ended"].items()))
        raise ServiceDown(f"no source can be asked: {why}", hint="check the network, then run the same command again")
    return _warned(summary, warnings, told)


def _queries(about: Concept, query: str | None) -> list[tuple[str, str]]:
    if query is not None:
        return [(about.positive, query)]
    return [(label, words) for label, several in about.queries.items() for words in several]


def _file_name(concept: str) -> str:
    """A concept's name where it can be a file's name, else its hash."""
    plain = re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,60}", concept)
    return concept if plain else hashlib.sha256(concept.encode()).hexdigest()[:16]


def _run(ws: Workspace, order: dict[str, Any]) -> dict[str, Any]:
    """Run the child to its end, pass its progress on, and return what it told last."""
    log = ws.data / "logs" / f"crawl-{_file_name(order['concept'])}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("ab") as errors_to,
        subprocess.Popen(
            [sys.executable, "-m", "collector.spiders.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors_to,
            env=child_environment(ws.settings),
            start_new_session=True,  # Ctrl-C reaches us only, and we stop the child in order
        ) as child,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps({**order, "log": str(log)}).encode() + b"\n")
            child.stdin.flush()
            for line in child.stdout:
                told: dict[str, Any] = json.loads(line)
                if told["event"] == "progress":
                    ws.progress(told["text"], told["done"], told["total"])
                elif told["event"] == "error":
                    raise getattr(errors, told["kind"])(told["message"], hint=told["hint"])
                else:
                    return told
        except BrokenPipeError:
            pass  # it died before it read its order; explained below
        except BaseException:
            _stop(child)
            raise
        code = child.wait()
    raise CollectError(
        f"the crawling process stopped unexpectedly (exit {code})",
        hint=f"what was fetched is saved, the same command continues; the log is {log}",
    )


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()


def child_environment(settings: Settings) -> dict[str, str]:
    """Our environment with the settings that this workspace was opened with, so that the child reads the same."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    for dotted, name in settings.origin.items():
        if name.startswith(PREFIX):
            value: Any = settings.raw
            for key in dotted.split("."):
                value = value[key]
            environ[name] = value if isinstance(value, str) else json.dumps(value)
    package = str(Path(__file__).resolve().parents[2])
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, (package, environ.get("PYTHONPATH"))))
    return environ


def _summary(ws: Workspace, about: Concept, before: int, limit: int, told: dict[str, Any]) -> CrawlSummary:
    seen, kept, rejected = images.counts(ws.catalog, about.name, NAMES)
    first = images.first_sightings(ws.catalog, about.name, NAMES).values()
    by_source = Counter(source for source, _ in first)
    return CrawlSummary(
        concept=about.name,
        limit=limit,
        kept=kept,
        seen=seen,
        rejected=rejected,
        repeats=seen - kept - sum(rejected.values()),
        new=kept - before,
        sources={
            name: {"seen": found, "kept": by_source[name]}
            for name in NAMES
            if (found := images.counts(ws.catalog, about.name, [name])[0])
        },
        licenses=dict(sorted(Counter(code for _, code in first).items())),
        planned=tuple(told.get("planned", ())),
        down=tuple(told.get("down", ())) if kept < limit else (),
        next="collect dedup",
    )


def _warned(summary: CrawlSummary, warnings: list[str], told: dict[str, Any]) -> CrawlSummary:
    reasons = "; ".join(f"{name}: {why}" for name, why in sorted(told.get("ended", {}).items()) if why)
    if summary.kept < summary.limit and not summary.planned and reasons:
        warnings = [f"{summary.kept} of {summary.limit} images: {reasons}", *warnings]
    return replace(summary, warnings=tuple(warnings))
