"""Makes Label Studio equal to the plan in the catalog: one project for each (round, annotator), and its tasks.

One project for each annotator makes work blind by construction: Label Studio shows everybody in a project all answers
in it. A round that is not blind has one project for all. A push that was killed anywhere is completed, not repeated, by
the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from collector import durable
from collector.catalog import labels as rows
from collector.catalog import rounds as book
from collector.catalog.labels import ANYBODY, GONE, Round, Task
from collector.errors import CollectError
from collector.records import Concept
from collector.store import Preview
from collector.workspace import Workspace
from labeling import template
from labeling.config import LabelConfig
from labeling.interface import (
    SUFFIXES,
    UNSURE,
    Item,
    Proposal,
    instruction,
    interface,
    object_path,
    shown_path,
    version_line,
)
from labeling.lifecycle import images_of
from labeling.studio import BATCH, TITLE_LENGTH, Studio, batches

HOLDOUT, POOL, PROPOSALS, DISPUTED = "holdout", "pool", "proposals", "disputed"  # what a round is for


def title(concept: str, name: str, annotator: str) -> str:
    """The title of the project of one annotator in one round; unique, and short enough for Label Studio."""
    whole = f"{concept} / {name} / {annotator}"
    if len(whole) <= TITLE_LENGTH:
        return whole
    return f"{whole[: TITLE_LENGTH - 9]} {hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def shared(round_: Round) -> bool:
    """Whether all annotators of a round work in one project, where each could look at the answers of the others."""
    return not round_.blind and set(round_.projects) <= {ANYBODY}


@dataclass(frozen=True, slots=True)
class Projects:
    """The projects of a concept in Label Studio; `warnings` collects what was odd there."""

    ws: Workspace
    concept: Concept
    studio: Studio
    warnings: list[str] = field(default_factory=list)

    def realize(self, round_: Round) -> None:
        """Make the projects of a round, and in them the tasks that are missing; restore what was changed by hand."""
        mine: defaultdict[str, list[Task]] = defaultdict(list)
        for task in rows.tasks(self.ws.catalog, self.concept.name):
            if task.round == round_.id and task.project != GONE:
                mine[task.annotator].append(task)
        known = self.studio.projects()
        version = rows.guideline_version(self.ws.catalog, round_.id)
        projects: dict[str, int] = {}
        fresh: set[str] = set()
        for name in mine:
            called = title(self.concept.name, round_.name, name)
            project = round_.projects.get(name, 0)
            if called not in known and project in known.values() and self._is_ours(project, mine[name]):
                self.studio.change_project(project, title=called)
                self.warnings.append(f"the project `{called}` was renamed in Label Studio; it has its name again")
                known[called] = project
            if called in known:
                projects[name] = known[called]
            else:
                projects[name] = self._create(round_, called, version)
                fresh.add(name)
        if projects.items() - round_.projects.items():
            rows.set_projects(self.ws.catalog, round_.id, {**round_.projects, **projects})
        answered = {row.task for row in rows.current(self.ws.catalog, self.concept.name, sentinels=True)}
        for done, (name, project) in enumerate(projects.items()):
            self.ws.progress(f"filling round {round_.name} for {name}", done, len(projects))
            gone = {task.id for task in mine[name] if task.project not in (0, project) and task.id in answered}
            rows.place(self.ws.catalog, GONE, dict.fromkeys(gone, GONE))
            there = 0 if name in fresh else self._check_project(round_, name, project, version)
            self._import(round_, project, [task for task in mine[name] if task.id not in gone], there)

    def _is_ours(self, project: int, tasks: Sequence[Task]) -> bool:
        """Whether a project shows pictures of ours; its number proves nothing, since servers may be exchanged."""
        return not self.studio.items(project).keys().isdisjoint(task.image for task in tasks)

    def _create(self, round_: Round, called: str, version: int) -> int:
        project = self.studio.create_project(
            called,
            page_of(round_),
            instruction(round_.guideline, version),
            proposals=round_.proposals,
            overlap=round_.overlap if shared(round_) else 1,
        )
        self.studio.serve_images(project, str(images_of(self.ws) / "objects"))
        return project

    def _check_project(self, round_: Round, name: str, project: int, version: int) -> int:
        """Restore what somebody changed by hand and the round fixes; how many tasks there are in the project."""
        found = self.studio.project(project)
        called = title(self.concept.name, round_.name, name)
        if sorted(template.choices(found.page)) != sorted([*round_.labels, UNSURE]):
            self.warnings.append(
                f"the labels of the project `{called}` were changed in Label Studio; they are restored"
            )
            self.studio.change_project(project, label_config=page_of(round_))
        if version_line(version) not in found.instruction:
            self.studio.change_project(project, expert_instruction=instruction(round_.guideline, version))
        if shared(round_) and found.overlap != round_.overlap:
            self.studio.change_project(project, maximum_annotations=round_.overlap)
        self.studio.serve_images(project, str(images_of(self.ws) / "objects"))
        return found.tasks

    def _import(self, round_: Round, project: int, tasks: Sequence[Task], there: int) -> None:
        """Import what is missing, and write down Label Studio's ids after each batch.

        Label Studio never notices a second import itself. Where it holds as many tasks as we know, up to the same id,
        none of the missing can be there; else a push was killed or somebody worked by hand, and the project is read.
        """
        missing = [task for task in tasks if task.project != project or task.studio_task <= 0]
        known_last = max((task.studio_task for task in tasks if task.project == project), default=0)
        as_known = there == len(tasks) - len(missing)
        if not as_known or (there and self.studio.last_task(project, there) != known_last):
            known = self._known(round_, project, tasks, there)
            missing = [task for task in tasks if task.id not in known]
        check_proposals(round_, missing)
        kinds = self._show({task.image for task in missing})
        if kinds:
            self.studio.serve_images(project, str(images_of(self.ws) / "shown"))
        for done, batch in enumerate(batches(missing)):
            self.ws.progress(f"importing into round {round_.name}", done, math.ceil(len(missing) / BATCH))
            items = [Item(task.image, proposal_of(task), kind=kinds.get(task.image, "")) for task in batch]
            ids = self.studio.import_items(project, items)
            rows.place(self.ws.catalog, project, dict(zip((task.id for task in batch), ids, strict=True)))

    def _known(self, round_: Round, project: int, tasks: Sequence[Task], there: int) -> dict[int, int]:
        """Task -> Label Studio's id, of the tasks that are in a project, after writing down what we did not know."""
        found = self.studio.items(project)
        known = {task.id: found[task.image].id or 0 for task in tasks if task.image in found}
        if there > len(known):
            self.warnings.append(f"{there - len(known)} tasks of round `{round_.name}` were made by hand or doubled")
        ours = [task for task in tasks if task.id in known]
        rows.place(
            self.ws.catalog,
            project,
            {task.id: known[task.id] for task in ours if (task.project, task.studio_task) != (project, known[task.id])},
        )
        return known

    def _show(self, images: Collection[str]) -> dict[str, str]:
        """Put previews where the page finds them; image -> suffix of the original, where it is large.

        The original gets a second name (a hard link, no copy) with its suffix: browsers save a file without one.
        """
        root = images_of(self.ws)
        kinds, files = {}, {}
        for image, row in book.large(self.ws.catalog, self.ws.section(LabelConfig).preview_above).items():
            suffix = SUFFIXES.get(row.format)
            if image in images and suffix is not None:
                kinds[image] = suffix
                jpeg = self.ws.store.get_preview(Preview(row.pack, row.offset, row.size))
                files[str(root / shown_path(image, ".preview.jpg"))] = jpeg
        with durable.explained(root):
            durable.write_all(files, set())
            for image, suffix in kinds.items():
                _link(root / object_path(image), root / shown_path(image, suffix))
        return kinds


def page_of(round_: Round) -> str:
    """The labeling page of a round, as Label Studio's XML."""
    return round_.template or interface(round_.labels, several=bool(round_.several))


def proposal_of(task: Task) -> Proposal | None:
    """What Label Studio shows with a task."""
    if task.proposal is None or task.score is None or task.model_run is None:
        return None
    return Proposal(task.proposal, task.score, task.model_run)


def check_proposals(round_: Round, tasks: Sequence[Task]) -> None:
    """Refuse proposals that the page cannot show, before anything is sent."""
    for task in tasks:
        shown = proposal_of(task)
        if shown and round_.purpose == HOLDOUT:
            raise CollectError(
                f"image {task.image[:12]} is held out and must not be shown with a proposal",
                hint="this is a bug in collect; nothing was sent",
            )
        if shown and (shown.label not in round_.labels or not 0.0 <= shown.score <= 1.0):
            raise CollectError(
                f"the model {shown.model_version} proposes `{shown.label}` with score {shown.score} for image "
                f"{task.image[:12]}: not a label of the round with a probability",
                hint="train a model on the labels of this concept, then `collect prelabel`",
            )


def _link(source: Path, target: Path) -> None:
    with contextlib.suppress(FileExistsError):
        os.link(source, target)
