"""The pictures of an export: made by threads, written part by part, each part noted in a journal when it is durable.

Rows wait in order and a few pictures for each thread are under way, so memory does not grow with their number. A part
that the journal names is not made again.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from collector import durable
from collector.workspace import Workspace
from pipelines.export.formats import FORMATS
from pipelines.export.pictures import make
from pipelines.export.records import About, Made, Part, Written
from pipelines.manifest import ManifestRow

JOURNAL = ".parts"
THREADS = min(16, 2 * (os.cpu_count() or 1))  # decoders and hashes leave Python's lock; stores make us wait
AHEAD = 2 * THREADS
EVERY = 64  # pictures between two lines of progress


class Meter:
    """Tells how far the export is, and how fast."""

    def __init__(self, ws: Workspace, done: int, total: int) -> None:
        self._say = ws.progress
        self._begin, self._first, self._done, self._total = time.monotonic(), done, done, total

    def tick(self) -> None:
        """One more picture."""
        self._done += 1
        if self._done % EVERY == 0 or self._done == self._total:
            rate = (self._done - self._first) / max(1e-6, time.monotonic() - self._begin)
            self._say(f"exporting: {rate:.0f} img/s", self._done, self._total)


def write_parts(ws: Workspace, draft: Path, parts: Sequence[Part], about: About) -> None:
    """Write every part that the journal does not name."""
    form = FORMATS[about.options.format]
    durable.make_folder(draft / JOURNAL)
    todo = [part for part in parts if noted(draft, part) is None]
    total = sum(part.size for part in parts)
    meter = Meter(ws, total - sum(part.size for part in todo), total)
    pool = ThreadPoolExecutor(THREADS, "export")
    try:
        made = _ordered(pool, ws, (row for part in todo for row in part.rows), about)
        for part in todo:
            left_out: Counter[str] = Counter()
            pictures = _kept(made, part.size, left_out, meter)
            files, entries = form.write(draft, part, pictures, about)
            told = Written(files, entries, dict(left_out)).to_json()
            durable.write(draft / JOURNAL / f"{part.name}.json", told)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ordered(
    pool: ThreadPoolExecutor, ws: Workspace, rows: Iterable[ManifestRow], about: About
) -> Iterator[Made | str]:
    """`make` of every row, in order, with AHEAD of them under way."""
    reads = FORMATS[about.options.format].reads
    waiting: deque[Future[Made | str]] = deque()
    for row in rows:
        waiting.append(pool.submit(make, ws.store, row, about.options, reads))
        if len(waiting) >= AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _kept(made: Iterator[Made | str], many: int, left_out: Counter[str], meter: Meter) -> Iterator[Made]:
    """The next `many` pictures but those that must be left out, which are counted by reason."""
    for _ in range(many):
        each = next(made)
        meter.tick()
        if isinstance(each, str):
            left_out[each] += 1
        else:
            yield each


def noted(draft: Path, part: Part) -> Written | None:
    """What the journal says of a part, None where it is not finished."""
    try:
        return Written.from_json((draft / JOURNAL / f"{part.name}.json").read_bytes())
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
