"""`Job`: one crawl, and what its spiders share."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from zlib import crc32

from collector.catalog.crawls import host_of
from collector.intake import Intake
from collector.records import Concept, Rejected, Sighting
from collector.spiders.budget import Budget
from collector.spiders.config import CrawlConfig
from collector.spiders.facets import Facets
from collector.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Shard:
    """Which of the crawling processes this is."""

    index: int = 0
    count: int = 1


@dataclass
class Job:
    """What the spiders of one process share.

    `ended` tells why each source stopped, `down` which cannot be asked, `planned` what a dry run would fetch, `asked`
    the searches that were sent, `notes` what else a source wants to be known, `waiting` how many pictures wait for
    intake. `options` are those of the command.
    """

    ws: Workspace
    concept: Concept
    queries: tuple[tuple[str, str], ...]
    preset: str
    budget: Budget
    intake: Intake
    progress: Callable[[str, Job], None]
    allowed: tuple[str, ...] = ()
    facets: Facets = field(default_factory=Facets)
    options: Mapping[str, Any] = field(default_factory=dict)
    shard: Shard = field(default_factory=Shard)
    dry_run: bool = False
    ended: dict[str, str] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    planned: list[str] = field(default_factory=list)
    asked: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    notes: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    seen: Counter[str] = field(default_factory=Counter)
    creators: Counter[str] = field(default_factory=Counter)
    hosts: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
    error: BaseException | None = None

    @cached_property
    def crawl(self) -> CrawlConfig:
        """The settings of the crawl."""
        return self.ws.section(CrawlConfig)

    def mine(self, url: str) -> bool:
        """Whether this process fetches from the host of an address; the others leave it to us."""
        return self.shard.count == 1 or crc32(host_of(url).encode()) % self.shard.count == self.shard.index

    def over_cap(self, found: Sighting) -> Rejected | None:
        """Why a candidate would give one creator or one host more than its share."""
        creators, sites = self.crawl.per_creator, self.crawl.per_site
        if creators and found.creator and self.creators[found.creator] >= creators:
            return Rejected("creator-cap", f"{creators} images of {found.creator} are kept"[:300])
        if sites and self.hosts[host_of(found.url)] >= sites:
            return Rejected("site-cap", f"{sites} images of {host_of(found.url)} are kept")
        return None

    def count(self, found: Sighting, number: int) -> None:
        """Count a place that a candidate takes (1) or gives back (-1) for its creator and its host."""
        self.creators[found.creator] += number
        self.hosts[host_of(found.url)] += number

    def fail(self, error: BaseException) -> None:
        """Stop the whole crawl because of an error that is not one picture's: a full disk, or a mistake of ours."""
        self.error = self.error or error
        self.budget.close()
