"""`pull` fetches what people answered.

It writes new rows only: an answer that was edited, withdrawn or skipped is a row of its own, so nothing that a person
did is overwritten.
"""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from collector.catalog import labels as rows
from collector.catalog.history import added, newest
from collector.catalog.labels import GONE, NOT_YET
from collector.errors import CollectError, UsageError
from collector.records import Summary
from collector.workspace import Workspace
from labeling.lifecycle import running
from labeling.reader import read_in


@dataclass(frozen=True, slots=True, kw_only=True)
class PullSummary(Summary):
    """Standing answers after this pull: in all, of each annotator, and how many are skips or "can't tell".

    `tasks` are in Label Studio, `answered` of them have an answer. `new`, `changed` and `deleted` count the rows that
    this pull added.
    """

    tasks: int
    answered: int
    annotations: int
    annotators: dict[str, int]
    new: int
    changed: int
    deleted: int
    skipped: int
    unsure: int


def pull(ws: Workspace, concept: str | None = None) -> PullSummary:
    """Write down every answer that is new or changed since the last pull, and every one that is gone.

    May run at any time: while people label, beside another pull, after a crash. A second pull adds nothing.

    Raises:
        ServiceDown: Label Studio is not running.
    """
    chosen = ws.concept(concept)
    with running(ws).connect() as studio:
        found = read_in(ws, chosen, studio)
    return _summary(ws, chosen.name, found.added, found.warnings)


def _summary(ws: Workspace, concept: str, counts: Mapping[str, int], warnings: Iterable[str]) -> PullSummary:
    tasks = {task.id for task in rows.tasks(ws.catalog, concept) if task.project not in (GONE, NOT_YET)}
    standing = rows.current(ws.catalog, concept, sentinels=True)
    states = Counter(row.state for row in standing)
    return PullSummary(
        tasks=len(tasks),
        answered=len({row.task for row in standing} & tasks),
        annotations=len(standing),
        annotators=dict(sorted(Counter(row.annotator for row in standing).items())),
        new=counts.get("new", 0),
        changed=counts.get("changed", 0),
        deleted=counts.get("deleted", 0),
        skipped=states["skipped"],
        unsure=states["unsure"],
        warnings=tuple(warnings),
        next=f"collect agreement {shlex.quote(concept)}",
    )


def follow(ws: Workspace, concept: str | None = None, *, every: float = 10.0) -> PullSummary:
    """Pull every `every` seconds until Ctrl-C; how it stands then, with the rows and warnings of all pulls.

    A server that goes away is waited for; one that is not there at the beginning is an error. Between two pulls it
    rests at least twice as long as one takes, so that people who label do not feel it.
    """
    name, before, begun, took = ws.concept(concept).name, newest(ws.catalog), time.monotonic(), 0.0
    first: PullSummary | None = None
    warnings: dict[str, None] = {}
    try:
        with running(ws).connect() as studio:
            studio.check()
        while True:
            started = time.monotonic()
            try:
                last = pull(ws, name)
                took = time.monotonic() - started
                first = first or last
                warnings |= dict.fromkeys(last.warnings)
                ws.progress(_pace(first, last, time.monotonic() - begun), last.answered, last.tasks)
            except UsageError:
                raise
            except CollectError as error:
                ws.progress(f"following: waiting, {error.message}", 0, None)
            time.sleep(max(every, 2 * took))
    except KeyboardInterrupt:
        return _summary(ws, name, added(ws.catalog, name, before), warnings)


def _pace(first: PullSummary, last: PullSummary, seconds: float) -> str:
    """Answers an hour since we began to follow, and when the rest would be done at that rate."""
    given = last.answered - first.answered
    if given <= 0:
        return "following: no new answer yet" if last.answered < last.tasks else "following: every task is answered"
    left_h = (last.tasks - last.answered) * seconds / given / 3600
    left = f"{left_h:.1f} h" if left_h >= 1 else f"{60 * left_h:.0f} min"
    return f"following: {3600 * given / seconds:.0f} tasks an hour, {left} left"
