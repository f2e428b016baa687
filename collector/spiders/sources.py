"""`collect sources`: where pictures come from, what is ready, and which well-known places are refused, and why."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from collector.errors import UsageError
from collector.records import Summary
from collector.registry import did_you_mean
from collector.spiders import BUILT_IN
from collector.spiders.config import CrawlConfig, SourceConfig, SourcesConfig
from collector.workspace import Workspace

KEYS = {
    "flickr": ("COLLECT_FLICKR_KEY",),
    "smithsonian": ("COLLECT_SMITHSONIAN_KEY",),
    "europeana": ("COLLECT_EUROPEANA_KEY",),
    "google": ("COLLECT_GOOGLE_KEY", "COLLECT_GOOGLE_ENGINE"),
}
REFUSED = {
    "unsplash": "its API terms forbid automated use and training models on its photographs",
    "pexels": "its API terms forbid to compile its photographs into a similar collection",
    "pixabay": "its API is for requests of people: systematic mass downloads are not allowed",
    "instagram": "it gives no license for its pictures, and its terms forbid automated collection",
}
OPTIONS = {"site": "--url", "urls": "--urls"}
ELSEWHERE = {"folder": "pictures of your own come in by `collect import FOLDER`"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcesSummary(Summary):
    """Every source that is known by name: its state, what it gives, its limits and terms, or why it is refused."""

    sources: dict[str, dict[str, str]] = field(default_factory=dict)

    def for_people(self) -> dict[str, Any]:
        """One source after the other, a line for each thing to know."""
        return {name: [text for text in row.values() if text] for name, row in self.sources.items()}


def sources(ws: Workspace) -> SourcesSummary:
    """All sources with their state: `ready`, `needs contact`, `needs key`, `disabled`, `elsewhere` or `refused`."""
    from collector.spiders.load import load

    rows = {}
    for name in names(ws):
        spider = load(ws, name)
        rows[name] = {
            "state": state(ws, name), "gives": spider.gives, "limits": spider.limits, "terms": spider.terms
        }  # fmt: skip
    for others, called in ((ELSEWHERE, "elsewhere"), (REFUSED, "refused")):
        for name, why in others.items():
            rows[name] = {"state": called, "gives": "", "limits": "", "terms": why}
    return SourcesSummary(sources=rows, next="collect crawl WORD")


def names(ws: Workspace) -> tuple[str, ...]:
    """The names of all sources that can be crawled, plug-ins last."""
    if not ws.section(SourcesConfig).plugins:
        return tuple(BUILT_IN)
    from collector.spiders.load import plugins

    return tuple(plugins(ws))


def state(ws: Workspace, name: str) -> str:
    """`ready`, `disabled`, `needs key` with its variable, or `needs contact`.

    Wikimedia's own hosts turn away whoever does not say who they are.
    """
    if missing := missing_keys(name):
        return f"needs key: set {' and '.join(missing)}"
    if not _config(ws, name).enabled:
        return f"ready with {OPTIONS[name]}" if name in OPTIONS else "ready when named"
    return "needs contact" if lacks_contact(ws, name) else "ready"


def missing_keys(name: str) -> list[str]:
    """The environment variables with the source's keys that are not set."""
    return [variable for variable in KEYS.get(name, ()) if not os.environ.get(variable)]


def lacks_contact(ws: Workspace, name: str) -> bool:
    """Whether a source of Wikimedia would be asked without `crawl.contact`."""
    host = urlsplit(_config(ws, name).base_url).hostname or ""
    return (host == "wikimedia.org" or host.endswith(".wikimedia.org")) and not ws.section(CrawlConfig).contact


def choose(ws: Workspace, wanted: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """(sources to ask, warnings about those that are left out); a source that is named is asked even if disabled.

    Raises:
        UsageError: a source is not known, refused, or lacks a key or a contact; or none is left.
    """
    known = names(ws)
    for name in wanted or ():
        _check_name(name, known)
    hint = "set `contact` of [crawl] to your mail address"
    asked, warnings = [], []
    for name in dict.fromkeys(wanted or known):
        if not wanted and not _config(ws, name).enabled:
            continue
        if missing := missing_keys(name):
            if wanted:
                raise UsageError(f"`{name}` needs a key", hint=f"set {' and '.join(missing)} (docs/sources.md)")
        elif lacks_contact(ws, name):
            if wanted:
                raise UsageError(f"`{name}` wants to know whom to write to, and crawl.contact is empty", hint=hint)
            warnings.append(f"{name} was not asked, because it wants to know whom to write to: {hint}")
        else:
            asked.append(name)
    if not asked:
        raise UsageError("no source can be asked", hint=hint if warnings else "enable one in [sources]")
    return asked, warnings


def _check_name(name: str, known: Sequence[str]) -> None:
    if name in REFUSED:
        raise UsageError(f"`{name}` is refused: {REFUSED[name]}", hint=f"sources that work: {', '.join(known)}")
    if name in ELSEWHERE:
        raise UsageError(f"`{name}` is not crawled: {ELSEWHERE[name]}", hint="`collect import --help`")
    if name not in known:
        raise UsageError(
            f"`{name}` is not a source{did_you_mean(name, (*known, *REFUSED))}", hint="`collect sources` lists them all"
        )


def _config(ws: Workspace, name: str) -> SourceConfig:
    """The settings of a source; a plug-in is always enabled."""
    config: SourceConfig = getattr(ws.section(SourcesConfig), name, SourceConfig())
    return config
