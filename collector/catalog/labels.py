"""Queries over annotators, rounds, tasks and annotations.

Annotation rows are only ever added. An answer that was edited or withdrawn is a new row that `supersedes` the one
before it; the *current* answers are the rows that nothing supersedes and that are not themselves `deleted`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from collector.catalog.database import Catalog, insert_or_ignore, now, storable
from collector.catalog.images import FEW
from collector.catalog.tables import annotation, annotator, guideline, prediction, round_, sentinel, task

ANYBODY = "anybody"  # who gets the tasks of a project that all share: the first who opens them
NOT_YET = 0  # a task that is planned, and not known to be in Label Studio
GONE = -1  # a task whose project was deleted there; its answers are kept


class Round(NamedTuple):
    """One campaign of a concept: what annotators are asked, and how. `projects` is annotator -> Label Studio's id.

    `guideline` is the text in force; `people` None: everybody; `template` None: our own page.
    """

    id: int
    concept: str
    name: str
    purpose: str
    labels: list[str]
    guideline: str
    guideline_hash: str
    overlap: int
    blind: bool
    proposals: bool
    projects: dict[str, int]
    several: bool | None = None
    order: str | None = None
    people: list[str] | None = None
    template: str | None = None


class Task(NamedTuple):
    """One image for one annotator. `proposal` and `model_run` describe the prediction that is shown, if any."""

    id: int
    round: int
    image: str
    annotator: str
    project: int
    studio_task: int
    prediction: int | None
    proposal: str | None
    score: float | None
    model_run: str | None


class Planned(NamedTuple):
    """A task to be: the image, who gets it, and the prediction to show."""

    image: str
    annotator: str
    prediction: int | None = None


class Current(NamedTuple):
    """One answer as it stands: `state` is answered, unsure ("can't tell") or skipped; `label` is None unless answered.

    `heads` also gives rows whose `state` is deleted. `guideline` is the hash of the text that was shown. `origin` is
    the file that an answer was imported from; such an answer has no task and nothing of Label Studio.
    """

    id: int
    task: int | None
    image: str
    annotator: str
    state: str
    label: str | None
    note: str
    seconds: float | None
    proposal: str | None
    proposal_kept: bool | None
    studio_annotation: int | None
    studio_updated_at: str | None
    studio_updated_by: str | None
    guideline: str | None = None
    origin: str | None = None


class Guess(NamedTuple):
    """A prediction with its row id; `score` is the probability of `label`."""

    id: int
    label: str
    score: float


def current(catalog: Catalog, concept: str, *, sentinels: bool = False) -> list[Current]:
    """The standing answers of a concept in the order they came in: the last one of each annotator to each task.

    Answers to sentinels judge the annotator, not the image: they are left out unless asked for.
    """
    planted = frozenset() if sentinels else _sentinel_tasks(catalog, concept)
    last: dict[tuple[int, int], Current] = {}  # two machines that read in one answer at once both add a head for it
    for row in heads(catalog, concept):
        last[(row.task or 0, row.studio_annotation) if row.studio_annotation else (0, -row.id)] = row
    standing: dict[tuple[int | None, str, str], Current] = {}
    for row in sorted(last.values()):  # by id: a row that took the place of an earlier one is as late as it is
        if row.state != "deleted" and row.task not in planted:
            standing[row.task, row.image, row.annotator] = row
    return sorted(standing.values())


def heads(catalog: Catalog, concept: str) -> list[Current]:
    """The last row of every answer that was ever seen, withdrawn ones (`deleted`) included, by id."""
    later = sa.select(annotation.c.supersedes).where(annotation.c.supersedes.is_not(None))
    query = (
        sa.select(*(annotation.c[name] for name in Current._fields))
        .where(annotation.c.concept == concept, annotation.c.id.not_in(later))
        .order_by(annotation.c.id)
    )
    with catalog.read() as connection:
        return [Current(*row) for row in connection.execute(query)]


def add_annotations(catalog: Catalog, rows: Sequence[Mapping[str, Any]]) -> int:
    """Append annotation rows; a row whose `content` is there already is left out. Returns how many are new."""
    if not rows:
        return 0
    seen_at = now()
    values = [storable({**row, "seen_at": seen_at}) for row in rows]
    with catalog.write() as connection:
        return connection.execute(postgresql.insert(annotation).on_conflict_do_nothing(), values).rowcount


def add_annotators(catalog: Catalog, emails: Mapping[str, str]) -> None:
    """Write down who annotates (name -> e-mail address); known names stay as they are."""
    with catalog.write() as connection:
        for name, email in emails.items():
            connection.execute(insert_or_ignore(annotator, {"name": name, "email": email, "added_at": now()}))


def annotators(catalog: Catalog) -> dict[str, str]:
    """E-mail address -> name of everybody who ever annotated."""
    with catalog.read() as connection:
        return {row.email: row.name for row in connection.execute(sa.select(annotator))}


def open_round(catalog: Catalog, concept: str, name: str, values: Mapping[str, Any]) -> Round:
    """The round of that name, opened with `values` if there is none; only its overlap and guideline change later."""
    row = {"concept": concept, "name": name, "projects": {}, "opened_at": now(), **values}
    mine = sa.and_(round_.c.concept == concept, round_.c.name == name)
    with catalog.write() as connection:
        connection.execute(insert_or_ignore(round_, row))
        connection.execute(sa.update(round_).where(mine).values(overlap=values["overlap"]))
        found = Round(*connection.execute(sa.select(*(round_.c[field] for field in Round._fields)).where(mine)).one())
        if _version(connection, found.id) == 0:
            _add_version(connection, found.id, found.guideline, found.guideline_hash)
    return found


def rounds(catalog: Catalog, concept: str) -> dict[str, Round]:
    """Name -> round of a concept, oldest first."""
    query = sa.select(*(round_.c[field] for field in Round._fields)).where(round_.c.concept == concept)
    with catalog.read() as connection:
        return {row.name: Round(*row) for row in connection.execute(query.order_by(round_.c.id))}


def set_projects(catalog: Catalog, round_id: int, projects: Mapping[str, int]) -> None:
    """Write down which Label Studio project belongs to each annotator of a round."""
    with catalog.write() as connection:
        connection.execute(sa.update(round_).where(round_.c.id == round_id).values(projects=dict(projects)))


def tasks(catalog: Catalog, concept: str) -> list[Task]:
    """Every task of a concept, in the order they were planned."""
    query = (
        sa.select(
            *(task.c[name] for name in Task._fields[:7]), prediction.c.label, prediction.c.score, prediction.c.model_run
        )
        .join(round_, task.c.round == round_.c.id)
        .outerjoin(prediction, task.c.prediction == prediction.c.id)
        .where(round_.c.concept == concept)
        .order_by(task.c.id)
    )
    with catalog.read() as connection:
        return [Task._make(row) for row in connection.execute(query)]


def plan(catalog: Catalog, round_id: int, rows: Iterable[Planned]) -> int:
    """Write down, in one transaction, which tasks are to be made. Returns how many are new."""
    made = {"round": round_id, "project": NOT_YET, "studio_task": NOT_YET, "pushed_at": now()}
    values = [{**made, **row._asdict()} for row in rows]
    count = sa.select(sa.func.count()).where(task.c.round == round_id)
    with catalog.write() as connection:
        before = connection.execute(count).scalar_one()
        if values:
            connection.execute(postgresql.insert(task).on_conflict_do_nothing(), values)
        return int(connection.execute(count).scalar_one() - before)


def place(catalog: Catalog, project: int, studio_tasks: Mapping[int, int]) -> None:
    """Write down where tasks (row id -> Label Studio's task id) are."""
    if not studio_tasks:
        return
    moved = (
        sa.update(task)
        .where(task.c.id == sa.bindparam("row"))
        .values(project=project, studio_task=sa.bindparam("there"), pushed_at=now())
    )
    with catalog.write() as connection:
        connection.execute(moved, [{"row": row, "there": there} for row, there in studio_tasks.items()])


def show(catalog: Catalog, predictions: Mapping[int, int]) -> None:
    """Write down which prediction (task row id -> prediction id) is shown now."""
    if not predictions:
        return
    changed = sa.update(task).where(task.c.id == sa.bindparam("row")).values(prediction=sa.bindparam("shown"))
    with catalog.write() as connection:
        connection.execute(changed, [{"row": row, "shown": shown} for row, shown in predictions.items()])


def guesses(catalog: Catalog, concept: str, model_run: str, images: Collection[str] | None = None) -> dict[str, Guess]:
    """Image -> what a model said of it, of all images or of some."""
    query = sa.select(prediction.c.image, *(prediction.c[name] for name in Guess._fields)).where(
        prediction.c.concept == concept, prediction.c.model_run == model_run
    )
    asked = sorted(images or ())
    few = [query.where(prediction.c.image.in_(asked[start : start + FEW])) for start in range(0, len(asked), FEW)]
    with catalog.read() as connection:
        return {
            row.image: Guess(*row[1:])
            for each in ([query] if images is None else few)
            for row in connection.execute(each)
        }


def guideline_in_force(catalog: Catalog, round_id: int) -> str:
    """The hash of the text that annotators of a round are shown now: an answer read in now was given under it."""
    with catalog.read() as connection:
        return str(connection.execute(sa.select(round_.c.guideline_hash).where(round_.c.id == round_id)).scalar_one())


def guideline_version(catalog: Catalog, round_id: int) -> int:
    """The number of the text in force, from 1."""
    with catalog.read() as connection:
        return max(1, _version(connection, round_id))


def put_guideline(catalog: Catalog, round_id: int, text: str, digest: str) -> int:
    """Put another text in force, and return its version; read in the answers that were given under the last one first.

    Earlier versions stay in the table `guideline`.
    """
    with catalog.write() as connection:
        version = _add_version(connection, round_id, text, digest)
        values = {"guideline": text, "guideline_hash": digest}
        connection.execute(sa.update(round_).where(round_.c.id == round_id).values(values))
    return version


def _version(connection: sa.Connection, round_id: int) -> int:
    query = sa.select(sa.func.max(guideline.c.version)).where(guideline.c.round == round_id)
    return connection.execute(query).scalar() or 0


def _add_version(connection: sa.Connection, round_id: int, text: str, digest: str) -> int:
    version = _version(connection, round_id) + 1
    row = {"round": round_id, "version": version, "text": text, "hash": digest, "shown_at": now()}
    connection.execute(sa.insert(guideline).values(storable(row)))
    return version


def _sentinel_tasks(catalog: Catalog, concept: str) -> frozenset[int]:
    query = (
        sa.select(task.c.id)
        .join(sentinel, sa.and_(sentinel.c.round == task.c.round, sentinel.c.image == task.c.image))
        .join(round_, task.c.round == round_.c.id)
        .where(round_.c.concept == concept)
    )
    with catalog.read() as connection:
        return frozenset(connection.execute(query).scalars())
