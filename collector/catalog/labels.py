"""Queries over tasks and annotations."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from collector.catalog.database import Catalog
from collector.catalog.tables import annotation, round_, task


class Current(NamedTuple):
    """An annotation that no later row supersedes; `round` is empty where it belongs to no task."""

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
    round: str


def current(catalog: Catalog, concept: str) -> list[Current]:
    """The annotations of the concept as they stand, oldest first: what was changed shows its last form only."""
    later = annotation.alias()
    own = [getattr(annotation.c, name) for name in Current._fields[:-1]]
    query = (
        sa.select(*own, sa.func.coalesce(round_.c.name, ""))
        .join(task, task.c.id == annotation.c.task, isouter=True)
        .join(round_, round_.c.id == task.c.round, isouter=True)
        .where(annotation.c.concept == concept)
        .where(annotation.c.id.not_in(sa.select(later.c.supersedes).where(later.c.supersedes.is_not(None))))
        .order_by(annotation.c.id)
    )
    with catalog.read() as connection:
        return [Current(*row) for row in connection.execute(query)]
