"""What `pull` writes: the difference between the answers in Label Studio and those that we know, as new rows."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from collector.catalog import labels as rows
from collector.catalog.labels import Current, Task
from collector.records import Concept
from collector.workspace import Workspace
from labeling.config import LabelConfig
from labeling.interface import Answer
from labeling.studio import Studio

MANY = 10  # so many answers do not vanish at once by a person's hand
# What makes an answer another answer; a second click on "update" is none.
COMPARED = ("annotator", "state", "label", "note", "studio_updated_by")


@dataclass(slots=True)
class Reader:
    """Turns what Label Studio holds into rows; `added` counts them."""

    ws: Workspace
    concept: Concept
    studio: Studio
    added: Counter[str] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    rounds: dict[int, str] = field(init=False)
    users: dict[int, str] = field(init=False)
    known: dict[tuple[int, int], Current] = field(init=False)

    def __post_init__(self) -> None:
        self.rounds = {round_.id: round_.name for round_ in rows.rounds(self.ws.catalog, self.concept.name).values()}
        names = rows.annotators(self.ws.catalog)
        self.users = {number: names.get(email, email) for number, email in self.studio.users().items()}
        self.known = {
            (row.task, row.studio_annotation): row
            for row in rows.heads(self.ws.catalog, self.concept.name)
            if row.task is not None and row.studio_annotation is not None
        }

    def read(self, answers: list[Answer], tasks: Mapping[int, Task]) -> None:
        """Write the rows of one project; `tasks` is Label Studio's task id -> task."""
        found: list[dict[str, Any]] = []
        kinds: Counter[str] = Counter()
        seen = set()
        for answer in answers:
            task = tasks.get(answer.item)
            if task is None:
                continue  # somebody made this task by hand; it is not part of the round
            seen.add((task.id, answer.id))
            before = self.known.get((task.id, answer.id))
            values = self._values(answer, task)
            if before is None or any(getattr(before, key) != values[key] for key in COMPARED):
                kinds["new" if before is None else "changed"] += 1
                found.append(self._row(values, before))
        ids = {task.id for task in tasks.values()}
        standing = {key: row for key, row in self.known.items() if key[0] in ids and row.state != "deleted"}
        gone = [row for key, row in standing.items() if key not in seen]
        if len(gone) >= MANY and 2 * len(gone) > len(standing):
            self.warnings.append(f"{len(gone)} answers vanished from Label Studio at once; they are kept here")
        else:
            kinds["deleted"] += len(gone)
            found += [self._row(_values_of(row) | {"state": "deleted", "label": None}, row) for row in gone]
        rows.add_annotators(self.ws.catalog, {row["annotator"]: row["annotator"] for row in found})
        rows.add_annotations(self.ws.catalog, found)
        self.added += kinds

    def _values(self, answer: Answer, task: Task) -> dict[str, Any]:
        by = self.users.get(answer.by, f"user {answer.by}")
        if by != task.annotator:
            self.warnings.append(f"{by} answered in the project of {task.annotator}; the answer counts as {by}'s")
        seconds = answer.seconds
        cap = self.ws.section(LabelConfig).max_seconds
        proposal = answer.proposal or task.proposal
        return {
            "task": task.id,
            "image": task.image,
            "annotator": by,
            "state": answer.state,
            "label": answer.label,
            "note": answer.note,
            "seconds": None if seconds is None else min(max(seconds, 0.0), cap),
            "proposal": proposal,
            "proposal_kept": None if proposal is None else answer.label == proposal,
            "studio_annotation": answer.id,
            "studio_updated_at": answer.updated_at,
            "studio_updated_by": self.users.get(answer.updated_by, f"user {answer.updated_by}"),
        }

    def _row(self, values: dict[str, Any], before: Current | None) -> dict[str, Any]:
        row = {"concept": self.concept.name, **values, "supersedes": before.id if before else None}
        content = json.dumps(row, sort_keys=True)
        return {**row, "content": hashlib.sha256(content.encode()).hexdigest()}


def _values_of(row: Current) -> dict[str, Any]:
    return {key: value for key, value in row._asdict().items() if key != "id"}
