"""`pull` fetches what people answered.

It writes new rows only: an answer that was edited, withdrawn or skipped is a row of its own, so nothing that a person
did is overwritten.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from collector.catalog import labels as rows
from collector.catalog.labels import Task
from collector.records import Summary
from collector.workspace import Workspace
from labeling import server
from labeling.lifecycle import folder_of
from labeling.reader import Reader
from labeling.rounds import title


@dataclass(frozen=True, slots=True, kw_only=True)
class PullSummary(Summary):
    """Standing answers after this pull: in all, of each annotator, and how many are skips or "can't tell".

    `new`, `changed` and `deleted` count the rows that this pull added.
    """

    annotations: int
    annotators: dict[str, int]
    new: int
    changed: int
    deleted: int
    skipped: int
    unsure: int


def pull(ws: Workspace, concept: str | None = None) -> PullSummary:
    """Write down every answer that is new or changed since the last pull, and every one that is gone.

    Raises:
        ServiceDown: Label Studio is not running.
    """
    chosen = ws.concept(concept)
    with server.running(folder_of(ws)).connect() as studio:
        reader = Reader(ws, chosen, studio)
        projects = studio.projects()
        mine: defaultdict[tuple[int, str], list[Task]] = defaultdict(list)
        for task in rows.tasks(ws.catalog, chosen.name):
            if task.studio_task > 0:
                mine[task.project, title(chosen.name, reader.rounds[task.round], task.annotator)].append(task)
        for done, ((project, called), tasks) in enumerate(mine.items()):
            ws.progress(f"pulling {called}", done, len(mine))
            if projects.get(called) == project:
                reader.read(studio.answers(project), {task.studio_task: task for task in tasks})
            else:
                reader.warnings.append(f"the project `{called}` is gone from Label Studio; its answers are kept here")
    standing = rows.current(ws.catalog, chosen.name)
    states = Counter(row.state for row in standing)
    return PullSummary(
        annotations=len(standing),
        annotators=dict(sorted(Counter(row.annotator for row in standing).items())),
        new=reader.added["new"],
        changed=reader.added["changed"],
        deleted=reader.added["deleted"],
        skipped=states["skipped"],
        unsure=states["unsure"],
        warnings=tuple(reader.warnings),
        next=f"collect agreement {chosen.name}",
    )
