"""Queries over the concepts of a workspace."""

from __future__ import annotations

import sqlalchemy as sa

from collector.catalog.database import Catalog, now
from collector.catalog.tables import concept
from collector.records import Concept


def put(catalog: Catalog, described: Concept) -> None:
    """Write the concept down, or renew its description."""
    values = {
        "labels": list(described.labels),
        "queries": {label: list(words) for label, words in described.queries.items()},
        "synsets": described.synsets,
        "exclude": list(described.exclude),
    }
    with catalog.write() as connection:
        changed = connection.execute(sa.update(concept).where(concept.c.name == described.name).values(values)).rowcount
        if not changed:
            connection.execute(sa.insert(concept).values(name=described.name, added_at=now(), **values))


def all_concepts(catalog: Catalog) -> list[Concept]:
    """Every concept that the catalog knows, by name."""
    with catalog.read() as connection:
        rows = connection.execute(sa.select(concept).order_by(concept.c.name)).all()
    return [
        Concept(
            name=row.name,
            labels=tuple(row.labels),
            queries={label: tuple(words) for label, words in row.queries.items()},
            synsets=dict(row.synsets),
            exclude=tuple(row.exclude),
        )
        for row in rows
    ]
