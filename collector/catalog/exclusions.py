"""Queries over the pictures that must not be negatives of a concept, by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import sqlalchemy as sa

from collector.catalog.database import Catalog
from collector.catalog.tables import pool, rejection, sighting


def exclusions(catalog: Catalog, concept: str, sources: Collection[str], reasons: Collection[str]) -> dict[str, int]:
    """Reason -> candidates refused by sources of negatives, or for one of `reasons` by any; the latest reason counts.

    A candidate that came into the pool in the end is none of them.
    """
    asked = sa.select(rejection.c.source, rejection.c.source_id, rejection.c.reason).where(
        rejection.c.concept == concept,
        sa.or_(rejection.c.source.in_(list(sources)), rejection.c.reason.in_(list(reasons))),
    )
    pooled = (
        sa.select(sighting.c.source, sighting.c.source_id)
        .join(pool, sa.and_(pool.c.image == sighting.c.image, pool.c.concept == sighting.c.concept))
        .where(sighting.c.concept == concept, pool.c.role == "negative")
    )
    with catalog.read() as connection:
        inside = {tuple(row) for row in connection.execute(pooled)}
        rows = connection.execute(asked.order_by(rejection.c.id)).all()
    latest = {(row.source, row.source_id): row.reason for row in rows if (row.source, row.source_id) not in inside}
    return dict(sorted(Counter(latest.values()).items()))
