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
    """What there is of a concept, step by step, in the order of work; all but tasks, snapshots and runs are images."""
    aside = duplicates(catalog)

    def distinct(table: sa.Table) -> sa.Select[Any]:
        return sa.select(table.c.image).where(table.c.concept == concept).distinct()

    tasks = sa.select(task.c.image).join(round_).where(round_.c.concept == concept)
    runs = sa.select(experiment.c.run).where(experiment.c.concept == concept, experiment.c.state == "finished")
    with catalog.read() as connection:
        images = set(connection.execute(distinct(sighting)).scalars())
        queries = {
            "pool": distinct(pool),
            "tasks": tasks,
            "answered": distinct(annotation),
            "settled": distinct(consensus),
            "snapshots": sa.select(snapshot.c.digest).where(snapshot.c.concept == concept),
            "runs": runs,
            "predictions": distinct(prediction),
            "proposals": tasks.where(task.c.prediction.is_not(None)).distinct(),
        }
        found = {
            name: int(connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar() or 0)
            for name, query in queries.items()
        }
    return {"images": len(images), "copies": len(images & aside.keys()), **found}
