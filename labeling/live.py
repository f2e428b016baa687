"""Where a live model may propose: in projects of the pool and of proposals, for tasks that are ours, never elsewhere.

Validation and test images are answered blind, disputes are settled without a model, and `label.no_proposal_share` of
the images stays without a proposal: none of these is ever proposed for, whoever connects the backend to which project.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from collector.catalog import labels as rows
from collector.catalog import pools
from collector.catalog import rounds as book
from collector.catalog.labels import Round, Task
from collector.errors import CollectError, GateNotMet, ServiceDown
from collector.records import Concept
from collector.workspace import Workspace
from labeling.config import LabelConfig
from labeling.lifecycle import running
from labeling.order import withheld
from labeling.projects import POOL, PROPOSALS
from labeling.studio import Studio

SERVED = re.compile(r"/data/local-files/\?d=(?:objects|shown)/../../([0-9a-f]{64})(?:\.preview\.jpg)?")


def connect(ws: Workspace, concept: Concept, url: str, model_version: str, sign_in: tuple[str, str]) -> int:
    """Connect the live backend at `url` to every project that may show proposals; returns how many there are.

    Raises:
        ServiceDown: Label Studio is not running.
        GateNotMet: there is no such project yet.
        CollectError: it cannot reach that address.
    """
    with _projects(ws, concept) as (studio, projects):
        if not projects:
            raise GateNotMet(
                f"`{concept.name}` has no tasks that may show a proposal; held-out and disputed ones never do",
                hint=f"`collect label push {concept.name}` makes some",
            )
        try:
            for project in projects:
                studio.connect_backend(project, url, model_version, sign_in)
        except ServiceDown:
            raise
        except CollectError as error:
            raise CollectError(
                f"Label Studio does not take the live backend at {url}: {error.message}",
                hint="ours may only connect to the `label.backend_port` it was started with: `collect label stop`, "
                "then `collect label start`; with `label.url` it must run on this machine",
            ) from None
        return len(projects)


def disconnect(ws: Workspace, concept: Concept) -> None:
    """Take our live backend out of every project of a concept."""
    with _projects(ws, concept) as (studio, projects):
        for project in projects:
            studio.disconnect_backend(project)


@contextmanager
def _projects(ws: Workspace, concept: Concept) -> Iterator[tuple[Studio, list[int]]]:
    with running(ws).connect() as studio:
        there = set(studio.projects().values())
        mine = {number for round_ in open_rounds(ws, concept).values() for number in round_.projects.values()}
        yield studio, sorted(mine & there)


def open_rounds(ws: Workspace, concept: Concept) -> dict[int, Round]:
    """Id -> round, of those whose tasks may show proposals."""
    found = rows.rounds(ws.catalog, concept.name).values()
    return {round_.id: round_ for round_ in found if round_.purpose in (POOL, PROPOSALS)}


def image_at(url: object) -> str | None:
    """The image of the store that Label Studio serves at `url`; None for every other address. Nothing is fetched."""
    found = SERVED.fullmatch(url) if isinstance(url, str) else None
    return found[1] if found else None


class LiveTasks:
    """What is known of the tasks of a concept; read again when one is asked for that is not known yet."""

    def __init__(self, ws: Workspace, concept: Concept) -> None:
        self.ws, self.concept = ws, concept
        self._without = ws.section(LabelConfig).no_proposal_share
        self._read()

    def find(self, project: int, asked: Sequence[Mapping[str, Any]]) -> list[Task | None]:
        """The tasks that Label Studio asks for; None for one that is not ours, or whose round shows no proposals.

        A task whose picture lies elsewhere than in the store is not ours: no other address is ever opened.
        """
        if any((project, each["id"]) not in self._tasks for each in asked):
            self._read()
        found = [self._tasks.get((project, each["id"])) for each in asked]
        places = [image_at(each["data"].get("image")) for each in asked]
        return [task if task and task.image == at else None for task, at in zip(found, places, strict=True)]

    def planted(self, task: Task) -> bool:
        """Whether its answer is known: then it shows what was planted with it, or nothing."""
        return task.image in self._planted[task.round]

    def may_show(self, task: Task) -> bool:
        """Whether a model may say something: of train, and not in the share that stays without proposals."""
        kept_blank = withheld(self.ws, self.concept.name, task.image, self._without)
        return self._splits.get(task.image) == "train" and not kept_blank

    def _read(self) -> None:
        catalog, name = self.ws.catalog, self.concept.name
        rounds = open_rounds(self.ws, self.concept)
        self._splits = pools.splits(catalog, name)
        self._planted = {number: set(book.sentinels(catalog, number)) for number in rounds}
        mine = (task for task in rows.tasks(catalog, name) if task.round in rounds and task.studio_task > 0)
        self._tasks = {(task.project, task.studio_task): task for task in mine}
