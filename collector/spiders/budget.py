"""`Budget`: how many images may still be fetched, shared by all spiders of one crawl.

A place is taken before a request is sent and given back when the picture is refused, so kept + in flight never exceeds
the limit. Every source has an equal share; what exhausted sources leave goes to those that have more.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping

from collector.records import Outcome, Rejected

AT_ONCE = 16  # files on their way or waiting for intake: what a kill can lose, and what waits in memory


class Budget:
    """Places for `limit` images; `held` is what the concept has already, image -> the source that gave it first."""

    def __init__(self, limit: int, sources: Iterable[str], held: Mapping[str, str]) -> None:
        self.limit = limit
        self.held = set(held)
        self.kept = Counter(held.values())
        self.flying: Counter[str] = Counter()
        self.active = set(sources)
        self.closed = False
        self._changed = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether no more images are wanted."""
        return self.closed or len(self.held) >= self.limit

    async def take(self, source: str) -> bool:
        """Wait for a place; False when the crawl is over."""
        while not self.over:
            if self._has_place(source):
                self.flying[source] += 1
                return True
            await self._changed.wait()
        return False

    def settle(self, source: str, outcome: Outcome) -> None:
        """Tell what became of a place: a new image fills it, anything else gives it back."""
        self.flying[source] -= 1
        if not isinstance(outcome, Rejected) and outcome.image not in self.held:
            self.held.add(outcome.image)
            self.kept[source] += 1
        self._wake()

    def leave(self, source: str) -> None:
        """The source has nothing more to give; its unused share goes to the others."""
        self.active.discard(source)
        self._wake()

    def close(self) -> None:
        """Let nobody take a place any more."""
        self.closed = True
        self._wake()

    def _has_place(self, source: str) -> bool:
        flying = self.flying.total()
        if flying >= AT_ONCE or len(self.held) + flying >= self.limit:
            return False
        gone = sum(self.kept[each] + self.flying[each] for each in {*self.kept, *self.flying} - self.active)
        share = -(-(self.limit - gone) // len(self.active))
        return self.kept[source] + self.flying[source] < share

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
