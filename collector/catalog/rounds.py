"""Queries over who annotates, which rounds show what, and the known answers planted among the tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from collector.catalog.database import Catalog, now, storable
from collector.catalog.tables import (
    annotation,
    annotator,
    guideline,
    image,
    model_run,
    prediction,
    round_,
    sentinel,
    task,
)

ACTIVE, REMOVED = "active", "removed"


class Person(NamedTuple):
    """Somebody who annotates. `state` is active or removed, None for one who is known from elsewhere."""

    name: str
    email: str
    state: str | None
    share: float | None


class Pace(NamedTuple):
    """What one annotator did: tasks that he was given, and the seconds of each of his answers."""

    tasks: int
    seconds: list[float | None]


class Sentinel(NamedTuple):
    """An image whose answer is known, planted in a round; `proposal` is a wrong proposal that is shown with it."""

    image: str
    label: str
    proposal: str | None
    why: str


class Large(NamedTuple):
    """An image whose original is large, and where its preview lies."""

    image: str
    format: str
    pack: str
    offset: int
    size: int


def people(catalog: Catalog) -> dict[str, Person]:
    """Name -> person, for everybody who ever annotated."""
    query = sa.select(*(annotator.c[name] for name in Person._fields)).order_by(annotator.c.name)
    with catalog.read() as connection:
        return {row.name: Person(*row) for row in connection.execute(query)}


def put_people(catalog: Catalog, rows: Iterable[Person]) -> None:
    """Write down who annotates; a known name gets the new address, state and share."""
    with catalog.write() as connection:
        for row in rows:
            values = storable(row._asdict())
            change = {name: values[name] for name in ("email", "state", "share")}
            insert = postgresql.insert(annotator).values(**values, added_at=now())
            connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=change))


def paces(catalog: Catalog) -> dict[str, Pace]:
    """Annotator -> what he was given and did, over all concepts; skips and corrected answers are not counted twice."""
    given = sa.select(task.c.annotator, sa.func.count().label("tasks")).group_by(task.c.annotator)
    later = sa.select(annotation.c.supersedes).where(annotation.c.supersedes.is_not(None))
    done = sa.select(annotation.c.annotator, annotation.c.seconds).where(
        annotation.c.state != "deleted", annotation.c.id.not_in(later)
    )
    with catalog.read() as connection:
        tasks = {row.annotator: row.tasks for row in connection.execute(given)}
        seconds: dict[str, list[float | None]] = {}
        for row in connection.execute(done):
            seconds.setdefault(row.annotator, []).append(row.seconds)
    return {name: Pace(tasks.get(name, 0), seconds.get(name, [])) for name in {*tasks, *seconds}}


def sentinels(catalog: Catalog, round_id: int) -> dict[str, Sentinel]:
    """Image -> known answer, of one round."""
    query = sa.select(*(sentinel.c[name] for name in Sentinel._fields)).where(sentinel.c.round == round_id)
    with catalog.read() as connection:
        return {row.image: Sentinel(*row) for row in connection.execute(query)}


def plant(catalog: Catalog, round_id: int, rows: Sequence[Sentinel]) -> None:
    """Write known answers down, before their tasks are made; those that are there stay as they are."""
    if rows:
        values = [{"round": round_id, "planted_at": now(), **storable(row._asdict())} for row in rows]
        with catalog.write() as connection:
            connection.execute(postgresql.insert(sentinel).on_conflict_do_nothing(), values)


def newest_model(catalog: Catalog, concept: str) -> str | None:
    """The model that was written down last, of those with predictions for the concept."""
    judged = sa.exists().where(prediction.c.model_run == model_run.c.id, prediction.c.concept == concept)
    query = sa.select(model_run.c.id).where(judged).order_by(model_run.c.made_at.desc(), model_run.c.id).limit(1)
    with catalog.read() as connection:
        return connection.execute(query).scalar()


def large(catalog: Catalog, above: int) -> dict[str, Large]:
    """Image -> where its preview lies, of the images that have one and whose original has more than `above` bytes."""
    query = sa.select(
        image.c.id, image.c.format, image.c.preview_pack, image.c.preview_offset, image.c.preview_bytes
    ).where(image.c.bytes > above, image.c.preview_pack.is_not(None))
    with catalog.read() as connection:
        return {row.id: Large(*row) for row in connection.execute(query)}


def planted(catalog: Catalog, concept: str) -> dict[tuple[int, str], Sentinel]:
    """(round, image) -> known answer, of all rounds of a concept."""
    query = (
        sa.select(sentinel.c.round, *(sentinel.c[name] for name in Sentinel._fields))
        .join(round_, sentinel.c.round == round_.c.id)
        .where(round_.c.concept == concept)
    )
    with catalog.read() as connection:
        return {(row[0], row.image): Sentinel(*row[1:]) for row in connection.execute(query)}


def guidelines(catalog: Catalog, concept: str) -> dict[str, str]:
    """Hash -> text of every guideline that annotators of a concept were shown, oldest first."""
    query = (
        sa.select(guideline.c.hash, guideline.c.text)
        .join(round_, guideline.c.round == round_.c.id)
        .where(round_.c.concept == concept)
        .order_by(guideline.c.id)
    )
    with catalog.read() as connection:
        return {row.hash: row.text for row in connection.execute(query)}
