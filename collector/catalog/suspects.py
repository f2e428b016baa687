"""Queries over suspects: negatives of a concept that may show it, the ones to look at first in front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from collector.catalog.database import Catalog, now
from collector.catalog.tables import suspect


class Suspect(NamedTuple):
    """A negative that people should look at: the nearest positive with its cosine, the model's score, and why."""

    image: str
    reason: str
    similarity: float | None = None
    nearest: str | None = None
    score: float | None = None


def of(catalog: Catalog, concept: str) -> list[Suspect]:
    """The suspects of a concept, by rank."""
    query = sa.select(*(suspect.c[name] for name in Suspect._fields)).where(suspect.c.concept == concept)
    with catalog.read() as connection:
        return [Suspect(*row) for row in connection.execute(query.order_by(suspect.c.rank, suspect.c.image))]


def put(catalog: Catalog, concept: str, rows: Sequence[Suspect]) -> None:
    """Make `rows`, in this order, the suspects of a concept."""
    at = now()
    values = [{"concept": concept, "rank": rank, "found_at": at, **row._asdict()} for rank, row in enumerate(rows, 1)]
    with catalog.write() as connection:
        connection.execute(sa.delete(suspect).where(suspect.c.concept == concept))
        if values:
            connection.execute(sa.insert(suspect), values)
