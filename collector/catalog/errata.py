"""Queries over errata: known annotation errors, which are written down, resolved by people, and never edited away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from collector.catalog.database import Catalog, now, storable
from collector.catalog.tables import annotation, erratum, resolution

OPEN, APPLIED, DISMISSED = "open", "applied", "dismissed"


class Found(NamedTuple):
    """An error to write down: the label that stands (`was`, empty: none), and the one that should.

    `severity` says what it touches: a split, or pool. `opened_by` is a person, or what found it. `evidence` is plain
    JSON, with `kind` person, sentinel or model.
    """

    image: str
    was: str
    should_be: str
    severity: str
    why: str
    opened_by: str
    evidence: Mapping[str, Any]


class Erratum(NamedTuple):
    """One entry of the register as it stands; `by`, `note` and `resolved_at` are of its last resolution, if any."""

    id: int
    image: str
    was: str
    should_be: str
    severity: str
    why: str
    opened_by: str
    opened_at: str
    evidence: Mapping[str, Any]
    state: str = OPEN
    by: str = ""
    note: str = ""
    resolved_at: str = ""


def open_(catalog: Catalog, concept: str, rows: Iterable[Found]) -> list[int]:
    """Write errors down, in one transaction; the ids of the new ones.

    What was written down before (the same label for the same image) stays as it is, whatever became of it: nobody is
    asked twice.
    """
    with catalog.write() as connection:
        known = {(row.image, row.should_be) for row in _read(connection, concept)}
        fresh = [row for row in rows if (row.image, row.should_be) not in known]
        if not fresh:
            return []
        at = now()
        values = [storable({"concept": concept, "opened_at": at, **row._asdict()}) for row in fresh]
        last = connection.execute(sa.select(sa.func.max(erratum.c.id))).scalar() or 0
        connection.execute(sa.insert(erratum), values)
        query = sa.select(erratum.c.id).where(erratum.c.id > last, erratum.c.concept == concept)
        return list(connection.execute(query.order_by(erratum.c.id)).scalars())


def register(catalog: Catalog, concept: str) -> list[Erratum]:
    """Every erratum of a concept with its state, oldest first."""
    with catalog.read() as connection:
        return _read(connection, concept)


def applied(catalog: Catalog, concept: str) -> dict[str, Erratum]:
    """Image -> the erratum whose label counts: the one that was applied last."""
    found = [row for row in register(catalog, concept) if row.state == APPLIED]
    return {row.image: row for row in sorted(found, key=lambda row: (row.resolved_at, row.id))}


def resolve(catalog: Catalog, ids: Sequence[int], state: str, by: str, note: str = "") -> None:
    """Add a resolution to each erratum, in one transaction."""
    if ids:
        values = [storable({"erratum": each, "state": state, "by": by, "note": note, "at": now()}) for each in ids]
        with catalog.write() as connection:
            connection.execute(sa.insert(resolution), values)


def answered_at(catalog: Catalog, concept: str) -> dict[int, str]:
    """Annotation id -> when it was read in, of the images that are in the register."""
    mine = sa.select(erratum.c.image).where(erratum.c.concept == concept)
    query = sa.select(annotation.c.id, annotation.c.seen_at).where(
        annotation.c.concept == concept, annotation.c.image.in_(mine)
    )
    with catalog.read() as connection:
        return {row.id: row.seen_at for row in connection.execute(query)}


def _read(connection: sa.Connection, concept: str) -> list[Erratum]:
    last = sa.select(sa.func.max(resolution.c.id)).group_by(resolution.c.erratum)
    query = (
        sa.select(
            *(erratum.c[name] for name in Erratum._fields[:9]),
            *(resolution.c[name] for name in ("state", "by", "note", "at")),
        )
        .outerjoin(resolution, sa.and_(resolution.c.erratum == erratum.c.id, resolution.c.id.in_(last)))
        .where(erratum.c.concept == concept)
        .order_by(erratum.c.id)
    )
    return [
        Erratum._make((*row[:8], row.evidence or {}, row.state or OPEN, row.by or "", row.note or "", row.at or ""))
        for row in connection.execute(query)
    ]
