"""`Search`: the pages that a source gives for one query, and how far they have been worked off.

The cursor of the first page with an unsettled candidate is written down each time it moves, so a crawl that is killed
asks again for at most the pages that it was working on.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from collector.catalog.crawls import KnownOf, Progress
from collector.records import Sighting
from collector.spiders.asking import NothingToAsk

BARREN = 3  # pages in a row without a new candidate: the source repeats itself
EMPTY = 100  # pages in a row without any: it goes on for ever; a search cut into windows of dates has some dozens


class Page(NamedTuple):
    """One page of search results; `cursor` is plain JSON that asks for the next one, None when this was the last."""

    found: Sequence[Sighting]
    cursor: Any = None


@dataclass
class Leaf:
    """A page that is worked on: `open` counts its unsettled candidates, and one more until it is read to its end."""

    cursor: Any
    known: KnownOf
    open: int = 1


class Candidate(NamedTuple):
    """A search result, the page it stands on, and what to call when its outcome is durable."""

    found: Sighting
    known: KnownOf
    settled: Callable[[], Awaitable[None]]


class Search:
    """One query to one source. `ended` says why it stopped, None while it has not."""

    def __init__(
        self,
        page: Callable[[Any], Awaitable[Page]],
        known_of: Callable[[Sequence[Sighting]], KnownOf],
        save: Callable[[Progress], None],
        *,
        cursor: Any = None,
        until_known: int = 0,
    ) -> None:
        self.ended: str | None = None
        self._page, self._known_of, self._save = page, known_of, save
        self._until_known = until_known
        self._next = Progress(cursor, exhausted=False)
        self._saved = self._next
        self._leaves: deque[Leaf] = deque()
        self._saving = asyncio.Lock()

    async def candidates(self, handled: set[int], *, first_page_only: bool = False) -> AsyncIterator[Candidate]:
        """Candidates in the source's order, each source id once.

        `handled` are the hashes of ids, a tenth of their size, and is shared by the searches of a spider.
        """
        asked: set[str] = set()
        barren = empty = in_a_row = 0
        while True:
            key = json.dumps(self._next.cursor, sort_keys=True)
            if key in asked or barren >= BARREN or empty >= EMPTY:
                self.ended = "its pages repeat themselves"
                return
            asked.add(key)
            try:
                page = await self._page(self._next.cursor)
            except NothingToAsk as error:  # other words may be served
                self.ended = str(error)
                return
            fresh = list({each.source_id: each for each in reversed(page.found)}.values())[::-1]
            fresh = [each for each in fresh if hash(each.source_id) not in handled]
            barren = 0 if fresh or not page.found else barren + 1
            empty = 0 if page.found else empty + 1
            handled.update(hash(each.source_id) for each in fresh)
            leaf = Leaf(self._next.cursor, await asyncio.to_thread(self._known_of, fresh))
            self._leaves.append(leaf)
            self._next = Progress(page.cursor, exhausted=page.cursor is None)
            for found in fresh:
                is_known = found.source_id in leaf.known.stored or found.source_id in leaf.known.refused
                in_a_row = in_a_row + 1 if is_known else 0
                leaf.open += 1
                yield Candidate(found, leaf.known, lambda leaf=leaf: self._settle(leaf))  # type: ignore[misc]
            await self._settle(leaf)
            if page.cursor is None or first_page_only:
                self.ended = "it has no more to give"
                return
            if self._until_known and in_a_row >= self._until_known:
                self._next = Progress(None, exhausted=True)
                await self._move()
                self.ended = f"{in_a_row} results in a row are known"
                return

    async def _settle(self, leaf: Leaf) -> None:
        leaf.open -= 1
        if leaf.open == 0:
            await self._move()

    async def _move(self) -> None:
        while self._leaves and self._leaves[0].open == 0:
            self._leaves.popleft()
        async with self._saving:
            reached = Progress(self._leaves[0].cursor, exhausted=False) if self._leaves else self._next
            if reached != self._saved:
                self._saved = reached
                await asyncio.to_thread(self._save, reached)
