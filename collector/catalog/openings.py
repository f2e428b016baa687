"""Queries over openings: which runs were measured on a split that is kept for the end. Rows are only ever added."""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from collector.catalog.database import Catalog, insert_or_ignore, now
from collector.catalog.tables import experiment, opening


class Opening(NamedTuple):
    """One look at a held-out split with one run: `metrics` is every figure that was seen."""

    run: str
    snapshot: str
    protocol: str
    split: str
    metrics: dict[str, Any]
    opened_at: str


def opened(catalog: Catalog, concept: str, protocol: str, split: str) -> list[Opening]:
    """How often a split of a concept was opened under a protocol, oldest first."""
    query = (
        sa.select(*(opening.c[name] for name in Opening._fields))
        .join(experiment, experiment.c.run == opening.c.run)
        .where(experiment.c.concept == concept, opening.c.protocol == protocol, opening.c.split == split)
        .order_by(opening.c.id)
    )
    with catalog.read() as connection:
        return [Opening(*row) for row in connection.execute(query)]


def put(catalog: Catalog, row: Opening) -> None:
    """Write an opening down; a run opens a split once, and its first figures stay."""
    with catalog.write() as connection:
        connection.execute(insert_or_ignore(opening, {**row._asdict(), "opened_at": now()}))
