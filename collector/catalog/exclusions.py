"""Queries over what must stay out: pictures that are no negatives of a concept, and copies of outside sets.

That an image is a copy of an outside set's picture is a row of `quality`, whose check is `outside/<name of the set>`:
deleting the row takes it back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from collector.catalog.database import Catalog
from collector.catalog.tables import pool, quality, rejection, sighting


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


OUTSIDE = "outside/"


def set_aside(catalog: Catalog, outside: str, found: Mapping[str, Mapping[str, Any]]) -> int:
    """Write down which images are copies of an outside set, with what shows it; replaces what was said of that set.

    Without images it takes back what was said. Returns how many rows there were before.
    """
    check = OUTSIDE + outside
    rows = [{"image": name, "check": check, "score": 0.0, "details": dict(how)} for name, how in sorted(found.items())]
    with catalog.write() as connection:
        before = connection.execute(sa.delete(quality).where(quality.c.check == check)).rowcount
        if rows:
            connection.execute(sa.insert(quality), rows)
    return before


def outside(catalog: Catalog) -> dict[str, str]:
    """Image -> the outside set that it is set aside as a copy of, the first of several by name."""
    query = sa.select(quality.c.image, quality.c.check).where(quality.c.check.startswith(OUTSIDE, autoescape=True))
    with catalog.read() as connection:
        rows = connection.execute(query.order_by(quality.c.check.desc(), quality.c.image)).all()
    return {row.image: row.check.removeprefix(OUTSIDE) for row in rows}
