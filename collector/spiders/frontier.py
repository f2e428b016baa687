"""Which pages of a site come next; kept as a cursor, so that a killed crawl goes on where it was."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from w3lib.url import canonicalize_url

BARREN = 20  # pages in a row without a new picture: a calendar, or another trap


class Stop(NamedTuple):
    """A page to look at, `depth` links away; `named`: a person named it, or it is the next page of one that is."""

    url: str
    depth: int = 0
    named: bool = True


@dataclass
class Frontier:
    """Breadth first, `near` before `far`. `open` is the page that is being read, `scrolls` how far it was scrolled.

    `most` is the budget of pages. Neither queue holds more than what the budget lets us reach.
    """

    most: int
    near: deque[Stop] = field(default_factory=deque)
    far: deque[Stop] = field(default_factory=deque)
    seen: set[str] = field(default_factory=set)
    pages: int = 0
    read: int = 0
    barren: int = 0
    open: Stop | None = None
    scrolls: int = 0

    @classmethod
    def load(cls, most: int, cursor: dict[str, Any]) -> Frontier:
        """From what `dump` gave."""
        return cls(
            most=most,
            near=deque(Stop(*each) for each in cursor["near"]),
            far=deque(Stop(*each) for each in cursor["far"]),
            seen=set(cursor["seen"]),
            pages=cursor["pages"],
            read=cursor["read"],
            barren=cursor["barren"],
            open=Stop(*cursor["open"]) if cursor["open"] else None,
            scrolls=cursor["scrolls"],
        )

    def dump(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "near": [list(each) for each in self.near],
            "far": [list(each) for each in self.far],
            "seen": sorted(self.seen),
            "pages": self.pages,
            "read": self.read,
            "barren": self.barren,
            "open": list(self.open) if self.open else None,
            "scrolls": self.scrolls,
        }

    def add(self, queue: deque[Stop], urls: Iterable[str], depth: int, *, named: bool = False) -> None:
        """Put pages that were not seen yet at the end of a queue."""
        for url in urls:
            if len(queue) >= self.most - self.pages:
                return
            mark = _mark(url)
            if mark not in self.seen:
                self.seen.add(mark)
                queue.append(Stop(url, depth, named))

    def turn(self) -> Stop | None:
        """The page to read now: the open one, or the next within the budget; None when there is none."""
        if self.open is None and self.pages < self.most and (self.near or self.far):
            self.open = (self.near or self.far).popleft()
            self.pages += 1
            self.scrolls = 0
        return self.open

    def why_over(self) -> str | None:
        """Why there is nothing more to read, None while there is."""
        if self.open is not None:
            return None
        if self.barren >= BARREN:
            return f"{BARREN} pages in a row showed nothing new"
        if self.pages >= self.most:
            return f"{self.pages} pages were looked at, the most that sources.site.pages allows"
        return None if self.near or self.far else "all its pages were looked at"


def _mark(url: str) -> str:
    return hashlib.blake2b(canonicalize_url(url).encode(), digest_size=6).hexdigest()
