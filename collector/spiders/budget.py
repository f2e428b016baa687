"""`Budget`: how many images may still be fetched, shared by all spiders of one crawl, in however many processes.

A place is taken before a request is sent and given back when the picture is refused, so kept + in flight never exceeds
the limit. Every source has an equal share; what exhausted sources leave goes to those that have more.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

WAITING = 4  # places for each request at once: a picture that waits for a slow host or for intake stalls no other
POLL_S = 0.05  # how often another process's returned places are looked for
CELL = struct.Struct("<qq")  # (kept, in flight) of one process


class Budget:
    """Places for `limit` images; `kept` says how many of them each source has filled before.

    `at_once` bounds the pictures in flight in this process. With `shared`, other processes draw on the same limit.
    """

    def __init__(
        self, limit: int, sources: Iterable[str], kept: Mapping[str, int], *, at_once: int, shared: Shared | None = None
    ) -> None:
        self.limit = limit
        self.kept = Counter(kept)
        self.flying: Counter[str] = Counter()
        self.active = set(sources)
        self.closed = False
        self._at_once = at_once
        self._shared = shared
        self._changed = asyncio.Event()

    @property
    def filled(self) -> int:
        """Images that the concept holds."""
        return self.kept.total() + (self._shared.others()[0] if self._shared else 0)

    @property
    def over(self) -> bool:
        """Whether no more images are wanted."""
        return self.closed or self.filled >= self.limit

    async def take(self, source: str) -> bool:
        """Wait for a place; False when the crawl is over."""
        while not self.over:
            if self._take(source):
                return True
            try:
                await asyncio.wait_for(self._changed.wait(), POLL_S if self._shared else None)
            except TimeoutError:
                continue
        return False

    def settle(self, source: str, *, fills: bool) -> None:
        """Tell what became of a place: an image that is new to the concept fills it, anything else gives it back."""
        self.flying[source] -= 1
        self.kept[source] += fills
        self._tell()
        self._wake()

    def bury(self, source: str) -> None:
        """An image that filled a place turned out to be none."""
        self.kept[source] -= 1
        self._tell()
        self._wake()

    def leave(self, source: str) -> None:
        """The source has nothing more to give; its unused share goes to the others."""
        self.active.discard(source)
        self._wake()

    def close(self) -> None:
        """Let nobody take a place any more."""
        self.closed = True
        self._wake()

    def share(self, source: str) -> int:
        """How many images a source may give, as things are."""
        gone = sum(self.kept[each] + self.flying[each] for each in {*self.kept, *self.flying} - self.active)
        return -(-(self.limit - gone) // max(1, len(self.active)))

    def _take(self, source: str) -> bool:
        if self.flying.total() >= self._at_once or self.kept[source] + self.flying[source] >= self.share(source):
            return False
        if self._shared is None:
            if self.kept.total() + self.flying.total() >= self.limit:
                return False
            self.flying[source] += 1
            return True
        with self._shared.locked():
            kept, flying = self._shared.others()
            if kept + flying + self.kept.total() + self.flying.total() >= self.limit:
                return False
            self.flying[source] += 1
            self._tell()
        return True

    def _tell(self) -> None:
        if self._shared:
            self._shared.tell(self.kept.total(), self.flying.total())

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Shared:
    """What each process of a crawl has kept and has in flight, in one small file: process `index` writes its own cell.

    Every process counts what the concept held before the crawl in its own `kept`; `before` is taken off again here.
    """

    def __init__(self, path: Path, index: int, count: int, before: int) -> None:
        self._file = os.open(path, os.O_RDWR)
        self._index, self._count, self._before = index, count, before
        self.tell(before, 0)

    def tell(self, kept: int, flying: int) -> None:
        """Write our own figures."""
        os.pwrite(self._file, CELL.pack(kept - self._before, flying), self._index * CELL.size)

    def others(self) -> tuple[int, int]:
        """(images kept, pictures in flight) of all other processes together."""
        data = os.pread(self._file, self._count * CELL.size, 0)
        cells = [CELL.unpack_from(data, each * CELL.size) for each in range(len(data) // CELL.size)]
        kept = sum(cell[0] for index, cell in enumerate(cells) if index != self._index)
        return kept, sum(cell[1] for index, cell in enumerate(cells) if index != self._index)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Between reading the figures of the others and writing ours, nobody else may do the same."""
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)
