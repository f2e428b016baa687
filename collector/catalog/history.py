"""Queries over what became of answers: every row that followed another one, and whose hand it shows."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import sqlalchemy as sa

from collector.catalog.database import Catalog
from collector.catalog.tables import annotation, round_, task


class Change(NamedTuple):
    """One row of `annotation` beside the row that it supersedes, if any (`was_*`, else None).

    `assigned` is who was given the task, `round` the name of its round; None for answers from elsewhere.
    """

    id: int
    image: str
    annotator: str
    state: str
    label: str | None
    note: str
    updated_at: str | None
    updated_by: str | None
    seen_at: str
    origin: str | None
    was_state: str | None
    was_label: str | None
    was_note: str | None
    was_annotator: str | None
    assigned: str | None
    round: str | None


def changes(catalog: Catalog, concept: str) -> list[Change]:
    """The rows of a concept, oldest first, that supersede another or show more than one person's hand."""
    was = annotation.alias("was")
    query = (
        sa.select(
            *(annotation.c[name] for name in ("id", "image", "annotator", "state", "label", "note")),
            annotation.c.studio_updated_at,
            annotation.c.studio_updated_by,
            annotation.c.seen_at,
            annotation.c.origin,
            *(was.c[name] for name in ("state", "label", "note", "annotator")),
            task.c.annotator,
            round_.c.name,
        )
        .outerjoin(was, annotation.c.supersedes == was.c.id)
        .outerjoin(task, annotation.c.task == task.c.id)
        .outerjoin(round_, task.c.round == round_.c.id)
        .where(
            annotation.c.concept == concept,
            annotation.c.supersedes.is_not(None)
            | (annotation.c.studio_updated_by != annotation.c.annotator)
            | (task.c.annotator != annotation.c.annotator),
        )
        .order_by(annotation.c.id)
    )
    with catalog.read() as connection:
        return [Change._make(row) for row in connection.execute(query)]


def newest(catalog: Catalog) -> int:
    """The id of the last row of `annotation`; 0: there is none."""
    with catalog.read() as connection:
        return connection.execute(sa.select(sa.func.max(annotation.c.id))).scalar() or 0


def added(catalog: Catalog, concept: str, after: int) -> Counter[str]:
    """How many rows with an id above `after` are new answers, changed ones and deleted ones."""
    kind = sa.case(
        (annotation.c.state == "deleted", "deleted"), (annotation.c.supersedes.is_(None), "new"), else_="changed"
    )
    query = (
        sa.select(kind, sa.func.count()).where(annotation.c.concept == concept, annotation.c.id > after).group_by(kind)
    )
    with catalog.read() as connection:
        return Counter({name: count for name, count in connection.execute(query)})
