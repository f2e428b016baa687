"""Queries over the consensus of a concept: one row for each image that people have answered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa

from collector.catalog.database import Catalog, now
from collector.catalog.tables import annotation, consensus

_VALUES = (consensus.c.image, consensus.c.label, consensus.c.confidence, consensus.c.method, consensus.c.votes)


class Settled(NamedTuple):
    """The consensus of one image; `label` None is a tie, or nobody could tell.

    `confidence` is the share of the votes that went to `label` (0 without one); `votes` is label -> annotators.
    """

    image: str
    label: str | None
    confidence: float
    method: str
    votes: dict[str, int]


def settled(catalog: Catalog, concept: str) -> list[Settled]:
    """The consensus of the concept as it stands, by image id."""
    with catalog.read() as connection:
        return _read(connection, concept)


def is_empty(catalog: Catalog, concept: str) -> bool:
    """Whether nothing was settled for the concept yet."""
    with catalog.read() as connection:
        query = sa.select(consensus.c.image).where(consensus.c.concept == concept).limit(1)
        return connection.execute(query).first() is None


def may_lag(catalog: Catalog, concept: str) -> bool:
    """Whether an answer was seen after the newest row was settled; the row may say the same all the same."""
    newest = (
        sa.select(annotation.c.seen_at)
        .where(annotation.c.concept == concept)
        .order_by(annotation.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    last = sa.select(sa.func.max(consensus.c.settled_at)).where(consensus.c.concept == concept).scalar_subquery()
    with catalog.read() as connection:
        return bool(connection.execute(sa.select(newest >= last)).scalar())


def settle(catalog: Catalog, concept: str, rows: Iterable[Settled]) -> int:
    """Make `rows` the consensus of the concept, in one transaction; the number of images whose row changed.

    Rows that say the same keep their `settled_at`; rows of images that nobody answers for any more go.
    """
    wanted = {row.image: row for row in rows}
    with catalog.write() as connection:
        standing = {row.image: row for row in _read(connection, concept)}
        gone = [image for image in standing if image not in wanted]
        changed = [row for image, row in wanted.items() if standing.get(image) != row]
        stale = [*gone, *(row.image for row in changed if row.image in standing)]
        if stale:
            connection.execute(
                sa.delete(consensus).where(
                    consensus.c.concept == concept, consensus.c.image == sa.bindparam("stale_image")
                ),
                [{"stale_image": image} for image in stale],
            )
        if changed:
            at = now()
            values = [{"concept": concept, "settled_at": at, **row._asdict()} for row in changed]
            connection.execute(sa.insert(consensus), values)
    return len(gone) + len(changed)


def _read(connection: sa.Connection, concept: str) -> list[Settled]:
    query = sa.select(*_VALUES).where(consensus.c.concept == concept).order_by(consensus.c.image)
    return [Settled(*row) for row in connection.execute(query)]
