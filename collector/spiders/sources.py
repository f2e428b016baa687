"""`collect sources`: where pictures come from, what is ready, and which well-known places are refused, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from collector.errors import UsageError
from collector.records import Summary
from collector.registry import did_you_mean
from collector.spiders import BUILT_IN
from collector.spiders.config import CrawlConfig, SourcesConfig
from collector.workspace import Workspace

NAMES = tuple(name for name, _ in BUILT_IN)
REFUSED = {
    "unsplash": "its API terms forbid automated use and training models on its photographs",
    "pexels": "its API terms forbid to compile its photographs into a similar collection",
    "pixabay": "its API is for requests of people: systematic mass downloads are not allowed",
    "instagram": "it gives no license for its pictures, and its terms forbid automated collection",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcesSummary(Summary):
    """Every source that is known by name: its state, what it gives, and its terms or why it is refused."""

    sources: dict[str, dict[str, str]] = field(default_factory=dict)

    def for_people(self) -> dict[str, Any]:
        """One source after the other, a line for each thing to know."""
        return {name: list(row.values()) for name, row in self.sources.items()}


def sources(ws: Workspace) -> SourcesSummary:
    """All sources with their state: `ready`, `needs contact`, `disabled` or `refused`."""
    from scrapy.utils.misc import load_object

    rows = {}
    for name, path in BUILT_IN:
        spider = load_object(path)
        rows[name] = {"state": state(ws, name), "gives": spider.gives, "terms": spider.terms}
    refused = {name: {"state": "refused", "gives": "nothing", "terms": why} for name, why in REFUSED.items()}
    return SourcesSummary(sources=rows | refused, next="collect crawl WORD")


def state(ws: Workspace, name: str) -> str:
    """`ready`, `disabled`, or `needs contact`: Wikimedia's own hosts turn away whoever does not say who they are."""
    settings = getattr(ws.section(SourcesConfig), name)
    if not settings.enabled:
        return "disabled"
    return "needs contact" if lacks_contact(ws, name) else "ready"


def lacks_contact(ws: Workspace, name: str) -> bool:
    """Whether a source of Wikimedia would be asked without `crawl.contact`."""
    host = urlsplit(base_url(ws, name)).hostname or ""
    return (host == "wikimedia.org" or host.endswith(".wikimedia.org")) and not ws.section(CrawlConfig).contact


def base_url(ws: Workspace, name: str) -> str:
    """The address of a source's API, without the `/v1` that people often copy along."""
    return str(getattr(ws.section(SourcesConfig), name).base_url).rstrip("/").removesuffix("/v1").rstrip("/")


def choose(ws: Workspace, wanted: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """(sources to ask, warnings about those that are left out); a source that is named is asked even if disabled.

    Raises:
        UsageError: a source is not known, refused, or lacks a contact; or none is left.
    """
    for name in wanted or ():
        if name in REFUSED:
            raise UsageError(f"`{name}` is refused: {REFUSED[name]}", hint=f"sources that work: {', '.join(NAMES)}")
        if name not in NAMES:
            raise UsageError(
                f"`{name}` is not a source{did_you_mean(name, (*NAMES, *REFUSED))}",
                hint="`collect sources` lists them all",
            )
    hint = "set `contact` of [crawl] to your mail address"
    asked, warnings = [], []
    for name in dict.fromkeys(wanted or NAMES):
        if lacks_contact(ws, name) and (wanted or state(ws, name) != "disabled"):
            if wanted:
                raise UsageError(f"`{name}` wants to know whom to write to, and crawl.contact is empty", hint=hint)
            warnings.append(f"{name} was not asked, because it wants to know whom to write to: {hint}")
        elif wanted or state(ws, name) == "ready":
            asked.append(name)
    if not asked:
        raise UsageError("no source can be asked", hint=hint if warnings else "enable one in [sources]")
    return asked, warnings
