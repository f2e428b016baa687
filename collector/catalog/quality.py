"""Queries over the scores of quality: what is not measured yet, what was measured, what lies below a threshold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from collector.catalog.database import Catalog
from collector.catalog.images import is_buried
from collector.catalog.tables import image, quality, sighting
from collector.store import Preview


class Subject(NamedTuple):
    """An image that a check may look at: its size in pixels, and where its preview lies if it has one."""

    image: str
    width: int
    height: int
    preview: Preview | None


class Measured(NamedTuple):
    """One score of one image; `check` carries its version."""

    image: str
    check: str
    score: float
    details: Mapping[str, Any] = {}


def incomplete(catalog: Catalog, checks: Collection[str]) -> list[Subject]:
    """The images that lack a score of one of the checks, sorted; buried images are nobody's business."""
    count = (
        sa.select(quality.c.image, sa.func.count().label("n"))
        .where(quality.c.check.in_(checks))
        .group_by(quality.c.image)
        .subquery()
    )
    places = (image.c.preview_pack, image.c.preview_offset, image.c.preview_bytes)
    query = (
        sa.select(image.c.id, image.c.width, image.c.height, *places)
        .outerjoin(count, count.c.image == image.c.id)
        .where(sa.func.coalesce(count.c.n, 0) < len(checks), ~is_buried(image.c.id))
        .order_by(image.c.id)
    )
    with catalog.read() as connection:
        rows = connection.execute(query).all()
    return [Subject(row[0], row[1], row[2], Preview(*row[3:]) if row.preview_pack else None) for row in rows]


def known(catalog: Catalog, images: Sequence[str]) -> dict[str, set[str]]:
    """Image -> the checks that it has scores of; not more than a few hundred images at once."""
    found: dict[str, set[str]] = {name: set() for name in images}
    with catalog.read() as connection:
        for row in connection.execute(sa.select(quality.c.image, quality.c.check).where(quality.c.image.in_(images))):
            found[row.image].add(row.check)
    return found


def put(catalog: Catalog, rows: Iterable[Measured]) -> None:
    """Write scores; a newer score of the same check replaces the older one."""
    values = sorted((row._asdict() for row in rows), key=lambda row: (row["image"], row["check"]))
    if not values:
        return
    insert = postgresql.insert(quality)
    newer = {"score": insert.excluded.score, "details": insert.excluded.details}
    with catalog.write() as connection:
        connection.execute(insert.on_conflict_do_update(index_elements=["image", "check"], set_=newer), values)


def below(catalog: Catalog, thresholds: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Check -> image -> score, of all scores below the threshold of their check, worst first."""
    bad = [sa.and_(quality.c.check == check, quality.c.score < limit) for check, limit in thresholds.items()]
    query = (
        sa.select(quality.c.check, quality.c.image, quality.c.score)
        .where(sa.or_(sa.false(), *bad), ~is_buried(quality.c.image))
        .order_by(quality.c.check, quality.c.score, quality.c.image)
    )
    found: dict[str, dict[str, float]] = {check: {} for check in thresholds}
    with catalog.read() as connection:
        for row in connection.execute(query):
            found[row.check][row.image] = row.score
    return found


def scores(catalog: Catalog, checks: Collection[str], concept: str) -> dict[str, dict[str, float]]:
    """Check -> image -> score, of the images that were seen for a concept, worst first."""
    seen = sa.select(sighting.c.image).where(sighting.c.concept == concept)
    query = (
        sa.select(quality.c.check, quality.c.image, quality.c.score)
        .where(quality.c.check.in_(checks), quality.c.image.in_(seen), ~is_buried(quality.c.image))
        .order_by(quality.c.check, quality.c.score, quality.c.image)
    )
    found: dict[str, dict[str, float]] = {}
    with catalog.read() as connection:
        for row in connection.execute(query):
            found.setdefault(row.check, {})[row.image] = row.score
    return found


def details(catalog: Catalog, check: str, images: Iterable[str] | None = None) -> dict[str, Mapping[str, Any]]:
    """Image -> the details of one check, where there are any."""
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(quality.c.image, quality.c.details)
            .where(quality.c.check == check, ~is_buried(quality.c.image))
            .order_by(quality.c.image)
        ).all()
    wanted = None if images is None else set(images)
    return {row.image: row.details for row in rows if row.details and (wanted is None or row.image in wanted)}


def everywhere(catalog: Catalog, addresses: int) -> dict[str, int]:
    """Image -> the different addresses at which the same bytes were seen, of images with at least so many."""
    n = sa.func.count(sighting.c.url.distinct())
    query = sa.select(sighting.c.image, n).where(~is_buried(sighting.c.image)).group_by(sighting.c.image)
    with catalog.read() as connection:
        return {row[0]: row[1] for row in connection.execute(query.having(n >= addresses).order_by(sighting.c.image))}
