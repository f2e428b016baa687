"""Queries for `collect status`: how far each concept has come."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from collector.catalog.database import Catalog
from collector.catalog.pools import duplicates
from collector.catalog.tables import (
    annotation,
    consensus,
    experiment,
    pool,
    prediction,
    round_,
    sighting,
    snapshot,
    task,
)


def counts(catalog: Catalog, concept: str) -> dict[str, int]:
    """What there is of a concept, step by step, in the order of work."""
    aside = duplicates(catalog)
    with catalog.read() as connection:

        def count(query: sa.Select[Any]) -> int:
            return int(connection.execute(query).scalar() or 0)

        images = connection.execute(
            sa.select(sighting.c.image).where(sighting.c.concept == concept).distinct()
        ).scalars()
        seen = set(images)
        tasks = sa.select(task.c.id, task.c.prediction).join(round_).where(round_.c.concept == concept).subquery()
        answered = sa.select(sa.func.count(annotation.c.image.distinct())).where(annotation.c.concept == concept)
        return {
            "images": len(seen),
            "copies": len(seen & aside.keys()),
            "pool": count(sa.select(sa.func.count()).select_from(pool).where(pool.c.concept == concept)),
            "tasks": count(sa.select(sa.func.count()).select_from(tasks)),
            "answered": count(answered),
            "settled": count(sa.select(sa.func.count()).select_from(consensus).where(consensus.c.concept == concept)),
            "snapshots": count(sa.select(sa.func.count()).select_from(snapshot).where(snapshot.c.concept == concept)),
            "runs": count(
                sa.select(sa.func.count())
                .select_from(experiment)
                .where(experiment.c.concept == concept, experiment.c.state == "finished")
            ),
            "predictions": count(
                sa.select(sa.func.count()).select_from(prediction).where(prediction.c.concept == concept)
            ),
            "proposals": count(sa.select(sa.func.count()).select_from(tasks).where(tasks.c.prediction.is_not(None))),
        }
