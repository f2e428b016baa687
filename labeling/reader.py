"""Reads answers in: the difference between what Label Studio holds and what we know, as new rows.

`pull` does it, and `push` before it shows people another guideline, so that each answer carries the text it was given
under. Label Studio keeps the last version of an answer only. Here every version that was ever seen is a row: nothing
that a person answered is lost by the order in which people answer, push and pull run, or programs are killed. Answers
are told apart by what they say and by Label Studio's own id and stamps; its clock is never compared with ours.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from collector.catalog import labels as rows
from collector.catalog.labels import ANYBODY, GONE, NOT_YET, Current, Round, Task
from collector.records import Concept
from collector.workspace import Workspace
from labeling.config import LabelConfig
from labeling.interface import JOINT, Answer, in_order
from labeling.studio import Studio

MANY = 10  # so many answers do not vanish at once by a person's hand
AT_ONCE = 5000  # rows in one transaction, and in memory
WAIT_S = 600  # for another pull; 100,000 tasks take minutes
COMPARED = ("annotator", "state", "label", "note", "studio_updated_by", "studio_updated_at")
TAKEN_OVER = (*COMPARED, "seconds", "proposal", "proposal_kept", "studio_annotation", "guideline")


def read_in(ws: Workspace, concept: Concept, studio: Studio) -> Reader:
    """Write down every answer of a concept that is new or changed, and every one that is gone; what was found.

    Readers of one workspace wait for each other: the one that looked first must not write last.
    """
    with ws.lock("answers", wait_s=WAIT_S):
        reader = Reader(ws, concept, studio)
        reader.read()
    return reader


@dataclass
class Reader:
    """Turns what Label Studio holds into rows; `added` counts them as new, changed or deleted."""

    ws: Workspace
    concept: Concept
    studio: Studio
    added: Counter[str] = field(default_factory=Counter)
    notices: Counter[str] = field(default_factory=Counter)

    @property
    def warnings(self) -> list[str]:
        """What a person should know of this reading, each thing once."""
        return [notice.replace("{n}", str(count)) for notice, count in self.notices.items()]

    @cached_property
    def rounds(self) -> dict[int, Round]:
        """Id -> round."""
        return {round_.id: round_ for round_ in rows.rounds(self.ws.catalog, self.concept.name).values()}

    @cached_property
    def guidelines(self) -> dict[int, str]:
        """Round id -> hash of the text in force."""
        return {number: rows.guideline_in_force(self.ws.catalog, number) for number in self.rounds}

    @cached_property
    def users(self) -> dict[int, str]:
        """Label Studio's user id -> annotator."""
        names = rows.annotators(self.ws.catalog)
        return {number: names.get(email, email) for number, email in self.studio.users().items()}

    def read(self) -> None:
        """Read every project that holds tasks of the concept."""
        projects: defaultdict[int, list[Task]] = defaultdict(list)
        for task in rows.tasks(self.ws.catalog, self.concept.name):
            if task.project not in (GONE, NOT_YET):
                projects[task.project].append(task)
        known: defaultdict[int, dict[int, Current]] = defaultdict(dict)
        home = {task.id: project for project, tasks in projects.items() for task in tasks}
        for row in rows.heads(self.ws.catalog, self.concept.name):
            if row.task in home and row.studio_annotation is not None:
                known[home[row.task]][row.studio_annotation] = row
        for done, (project, tasks) in enumerate(projects.items()):
            self.ws.progress("reading answers", done, len(projects))
            mine: defaultdict[str, list[Task]] = defaultdict(list)
            for task in tasks:
                mine[task.image].append(task)
            if not self._read(project, mine, known[project]):
                whose = f"round {self.rounds[tasks[0].round].name} for {tasks[0].annotator}"
                self._notice(f"the project of {whose} is gone from Label Studio; its answers are kept here")

    def _read(self, project: int, mine: Mapping[str, list[Task]], known: Mapping[int, Current]) -> bool:
        """Write the rows of one project, whose tasks are `mine` by image; False when nothing of ours is there."""
        fresh: list[dict[str, Any]] = []
        seen: set[int] = set()
        ours = False
        for item, answers in self.studio.answered(project):
            given = mine.get(item.image, [])
            ours |= any(task.studio_task == item.id for task in given)
            for answer in answers:
                if given:  # by image, for somebody may have copied the task by hand
                    seen.add(answer.id)
                    fresh += self._new(answer, given, known.get(answer.id))
                else:
                    self._notice("answers to tasks that collect did not make, left in Label Studio: {n}")
            if ours and len(fresh) >= AT_ONCE:
                self._write(fresh)
                fresh = []
        if ours:
            self._write(fresh + self._gone(project, mine, seen, known))
        return ours

    def _new(self, answer: Answer, tasks: Sequence[Task], before: Current | None) -> list[dict[str, Any]]:
        """The row of an answer, if it says something new."""
        task = next((task for task in tasks if before and task.id == before.task), None)
        if task is None:
            by = self.users.get(answer.by)
            task = next((task for task in tasks if task.annotator == by), tasks[0])
        values = self._values(answer, task, before)
        if before is not None and all(getattr(before, key) == values[key] for key in COMPARED):
            return []
        self._tell(values, task, before)
        self.added["new" if before is None else "changed"] += 1
        return [self._row(task.id, task.image, values, before)]

    def _values(self, answer: Answer, task: Task, before: Current | None) -> dict[str, Any]:
        round_ = self.rounds[task.round]
        by = self._name(answer.by, before and before.annotator, task)
        label = in_order(answer.label, round_.labels) if answer.label and round_.several else answer.label
        proposal = answer.proposal or task.proposal
        if proposal and round_.several:
            proposal = in_order(proposal, round_.labels)
        seconds = answer.seconds
        return {
            "annotator": by,
            "state": answer.state,
            "label": label,
            "note": answer.note,
            "seconds": None if seconds is None else min(max(seconds, 0.0), self.ws.section(LabelConfig).max_seconds),
            "proposal": proposal,
            "proposal_kept": None if proposal is None else label == proposal,
            "studio_annotation": answer.id,
            "studio_updated_at": answer.updated_at,
            "studio_updated_by": self._name(answer.updated_by, before.studio_updated_by if before else by, task),
            "guideline": self.guidelines[task.round],
        }

    def _name(self, user: int, known: str | None, task: Task) -> str:
        """Who a user of Label Studio is; for an account that is gone, who it was, as far as can be told."""
        if user in self.users:
            return self.users[user]
        if known:
            return known
        if task.annotator == ANYBODY:
            return f"user {user}" if user else "somebody whose account is gone"
        self._notice(f"answers by an account that is gone, which count as {task.annotator}'s: {{n}}")
        return task.annotator

    def _tell(self, values: Mapping[str, Any], task: Task, before: Current | None) -> None:
        by, whose = values["studio_updated_by"], values["annotator"]
        if whose not in (task.annotator, ANYBODY) and task.annotator != ANYBODY:
            self._notice(f"{whose} answered in the project of {task.annotator}, which counts as {whose}'s: {{n}}")
        if by != whose and before is None:
            self._notice(f"answers in the name of {whose}, given by {by}: {{n}}")
        elif by != whose:
            self._notice(f"answers of {whose} changed after submission by {by}, both versions kept: {{n}}")
        round_ = self.rounds[task.round]
        said = values["label"].split(JOINT) if values["label"] and round_.several else [values["label"]]
        for label in said:
            if label is not None and label not in round_.labels:
                self._notice(f"answers that say `{label}`, no label of round {round_.name}: {{n}}")

    def _gone(
        self, project: int, mine: Mapping[str, list[Task]], seen: set[int], known: Mapping[int, Current]
    ) -> list[dict[str, Any]]:
        """The rows of answers that stand no longer; two looks must agree, for pages shift while people work."""
        standing = {number: row for number, row in known.items() if row.state != "deleted"}
        gone = standing.keys() - seen
        if not gone:
            return []
        if len(gone) >= MANY and 2 * len(gone) > len(standing):
            self._notice("{n} answers vanished from Label Studio at once; they are kept here", len(gone))
            return []
        ours = False
        for item, answers in self.studio.answered(project):
            ours |= any(task.studio_task == item.id for task in mine.get(item.image, []))
            gone -= {answer.id for answer in answers}
        if not ours:
            return []  # the whole project went meanwhile
        self.added["deleted"] += len(gone)
        return [self._deleted(standing[number]) for number in sorted(gone)]

    def _deleted(self, row: Current) -> dict[str, Any]:
        values = {key: getattr(row, key) for key in TAKEN_OVER} | {"state": "deleted", "label": None}
        return self._row(row.task, row.image, values, row)

    def _row(self, task: int | None, image: str, values: dict[str, Any], before: Current | None) -> dict[str, Any]:
        row = {"concept": self.concept.name, "task": task, "image": image, **values, "supersedes": before and before.id}
        content = json.dumps(row, sort_keys=True)
        return {**row, "content": hashlib.sha256(content.encode()).hexdigest()}

    def _write(self, fresh: Sequence[Mapping[str, Any]]) -> None:
        rows.add_annotators(self.ws.catalog, {row["annotator"]: row["annotator"] for row in fresh})
        rows.add_annotations(self.ws.catalog, fresh)

    def _notice(self, text: str, count: int = 1) -> None:
        self.notices[text] += count
