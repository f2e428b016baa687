"""The long table that all figures are computed from: who gave which label to which task."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

MISSING = -1

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answers:
    """Who answered what, as a long table sorted by task, then annotator: one entry for each answer.

    `task`, `annotator` and `label` are indices into `tasks`, `annotators` and `labels`. "Can't tell" is an answer whose
    label is `MISSING`. An annotator has at most one answer to a task; a dense matrix of a crowd would be mostly empty.
    """

    tasks: tuple[str, ...]
    annotators: tuple[str, ...]
    labels: tuple[str, ...]
    task: Ints
    annotator: Ints
    label: Ints

    @classmethod
    def tabulate(cls, rows: Iterable[tuple[str, str, str | None]], labels: Sequence[str] = ()) -> Answers:
        """The table of (task, annotator, label or None) rows, tasks and annotators sorted by name.

        Where an annotator answered one task several times, the last row counts. Labels that are not among `labels`
        follow them, sorted.
        """
        latest = {(task, annotator): label for task, annotator, label in rows}
        tasks = sorted({task for task, _ in latest})
        annotators = sorted({annotator for _, annotator in latest})
        given = {label for label in latest.values() if label is not None}
        names = (*labels, *sorted(given - set(labels)))
        row, column, value = ({name: i for i, name in enumerate(axis)} for axis in (tasks, annotators, names))
        table = sorted(
            (row[task], column[annotator], MISSING if label is None else value[label])
            for (task, annotator), label in latest.items()
        )
        columns = np.array(table, dtype=np.int64).reshape(-1, 3).T
        return cls(tuple(tasks), tuple(annotators), names, *columns)

    @cached_property
    def matrix(self) -> Ints:
        """Tasks x annotators, `MISSING` where there is no label: for small tables."""
        dense = np.full((len(self.tasks), len(self.annotators)), MISSING, dtype=np.int64)
        dense[self.task, self.annotator] = self.label
        return dense

    def counts(self) -> Ints:
        """Votes, tasks x labels."""
        shape = len(self.tasks), len(self.labels)
        labeled = self.label != MISSING
        cells = self.task[labeled] * shape[1] + self.label[labeled]
        return np.bincount(cells, minlength=shape[0] * shape[1]).astype(np.int64, copy=False).reshape(shape)

    def labeled(self) -> Answers:
        """The same tasks with those answers that are labels."""
        return self.only(self.label != MISSING)

    def pairable(self) -> NDArray[np.bool_]:
        """Which answers are labels of a task with two labels or more: all that agreement is measured on."""
        labeled = self.label != MISSING
        several = np.bincount(self.task[labeled], minlength=len(self.tasks)) >= 2
        found: NDArray[np.bool_] = labeled & several[self.task]
        return found

    def compact(self, chosen: NDArray[np.bool_]) -> Answers:
        """The chosen answers and the tasks that they are of, numbered anew."""
        kept = np.zeros(len(self.tasks), dtype=bool)
        kept[self.task[chosen]] = True
        names = tuple(itertools.compress(self.tasks, kept.tolist()))
        place = np.cumsum(kept) - 1
        task = place[self.task[chosen]]
        return Answers(names, self.annotators, self.labels, task, self.annotator[chosen], self.label[chosen])

    def only(self, chosen: NDArray[np.bool_]) -> Answers:
        """The chosen answers; tasks, annotators and labels keep their numbers."""
        columns = (column[chosen] for column in (self.task, self.annotator, self.label))
        return Answers(self.tasks, self.annotators, self.labels, *columns)
