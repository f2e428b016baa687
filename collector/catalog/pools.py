"""Queries over duplicates, keepers, the pool and its frozen splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from collector.catalog.database import Catalog, insert_or_ignore, now
from collector.catalog.images import is_buried
from collector.catalog.sightings import newest
from collector.catalog.tables import dedup_pass, duplicate, fingerprint, image, pool, sighting, split


class Candidate(NamedTuple):
    """What the keeper policy and the search look at: one image with its hashes and its best sighting."""

    image: str
    pixels: str
    phash: int
    quality: float
    area: int
    bytes: int
    licenses: tuple[str, ...]
    in_pool: bool
    first_seen: str


class Duplicate(NamedTuple):
    """One copy that is set aside, the image kept for it, and why."""

    image: str
    keeper: str
    distance: int
    method: str
    reason: str


class PoolRow(NamedTuple):
    """One image in the service of a concept: what it was collected as, from which tier, and why."""

    image: str
    label: str
    role: str
    tier: str
    reason: str
    checks: Mapping[str, Any]


def candidates(catalog: Catalog, pixels: str, phash: str) -> list[Candidate]:
    """Every image that is not buried, with its two fingerprints, its licenses and its first sighting, sorted by id."""
    first, second = fingerprint.alias(), fingerprint.alias()
    query = (
        sa.select(
            image.c.id, image.c.width, image.c.height, image.c.bytes, first.c.value, second.c.value, second.c.quality
        )
        .join(first, sa.and_(first.c.image == image.c.id, first.c.algorithm == pixels))
        .join(second, sa.and_(second.c.image == image.c.id, second.c.algorithm == phash))
        .where(~is_buried(image.c.id))
        .order_by(image.c.id)
    )
    with catalog.read() as connection:
        rows = connection.execute(query).all()
        seen = connection.execute(sa.select(sighting.c.image, sighting.c.seen_at)).all()
        stated = connection.execute(sa.select(sighting.c.image, sighting.c.license).where(newest())).all()
        pooled = set(connection.execute(sa.select(pool.c.image)).scalars())
    licenses: dict[str, set[str]] = {}
    earliest: dict[str, str] = {}
    for row in seen:
        earliest[row.image] = min(earliest.get(row.image, row.seen_at), row.seen_at)
    for row in stated:
        licenses.setdefault(row.image, set()).add(row.license)
    return [
        Candidate(
            image=row[0],
            pixels=row[4],
            phash=int(row[5], 16),
            quality=row[6],
            area=row[1] * row[2],
            bytes=row[3],
            licenses=tuple(sorted(licenses.get(row[0], ()))),
            in_pool=row[0] in pooled,
            first_seen=earliest.get(row[0], ""),
        )
        for row in rows
    ]


def write_pass(
    catalog: Catalog, settings: Mapping[str, Any], images: int, digest: str, found: Sequence[Duplicate]
) -> bool:
    """Make `found` the current result of deduplication; False when it equals the current one."""
    with catalog.write() as connection:
        last = connection.execute(sa.select(dedup_pass.c.digest).order_by(dedup_pass.c.id.desc()).limit(1)).scalar()
        if last == digest:
            return False
        made = connection.execute(
            sa.insert(dedup_pass).values(settings=dict(settings), images=images, digest=digest, at=now())
        ).inserted_primary_key
        number = int(made[0]) if made else 0
        if found:
            connection.execute(sa.insert(duplicate), [{"dedup_pass": number, **row._asdict()} for row in found])
    return True


def duplicates(catalog: Catalog) -> dict[str, Duplicate]:
    """Image set aside -> its row, of the current pass."""
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(
                duplicate.c.image, duplicate.c.keeper, duplicate.c.distance, duplicate.c.method, duplicate.c.reason
            )
            .where(duplicate.c.dedup_pass == sa.select(sa.func.max(dedup_pass.c.id)).scalar_subquery())
            .order_by(duplicate.c.image)
        ).all()
    return {row.image: Duplicate(*row) for row in rows}


def keepers(catalog: Catalog, concept: str) -> dict[str, tuple[str, str]]:
    """Image -> (label, source) of its first sighting, for every image of the concept not set aside as a copy."""
    aside = duplicates(catalog)
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(sighting.c.image, sighting.c.label, sighting.c.source)
            .where(sighting.c.concept == concept, ~is_buried(sighting.c.image))
            .order_by(sighting.c.image, sighting.c.id.desc())
        ).all()
    return {row.image: (row.label, row.source) for row in rows if row.image not in aside}


def add(catalog: Catalog, concept: str, rows: Iterable[PoolRow]) -> int:
    """Put images into the pool of a concept; those that are in it stay as they are. Returns how many are new."""
    values = [{"concept": concept, **row._asdict(), "added_at": now()} for row in rows]
    if not values:
        return 0
    with catalog.write() as connection:
        return sum(connection.execute(insert_or_ignore(pool, value)).rowcount for value in values)


def members(catalog: Catalog, concept: str) -> list[PoolRow]:
    """The pool of a concept without the copies set aside since, sorted by image."""
    aside = duplicates(catalog)
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(pool.c.image, pool.c.label, pool.c.role, pool.c.tier, pool.c.reason, pool.c.checks)
            .where(pool.c.concept == concept, ~is_buried(pool.c.image))
            .order_by(pool.c.image)
        ).all()
    return [PoolRow(*row) for row in rows if row.image not in aside]


def freeze_splits(catalog: Catalog, concept: str, names: Mapping[str, str], rule: str) -> None:
    """Write which split each image belongs to; a row that is there is never changed."""
    with catalog.write() as connection:
        for image_id, name in sorted(names.items()):
            row = {"concept": concept, "image": image_id, "name": name, "rule": rule, "frozen_at": now()}
            connection.execute(insert_or_ignore(split, row))


def splits(catalog: Catalog, concept: str) -> dict[str, str]:
    """Image -> `train`, `validation` or `test`, as frozen."""
    with catalog.read() as connection:
        rows = connection.execute(sa.select(split.c.image, split.c.name).where(split.c.concept == concept)).all()
    return {row.image: row.name for row in rows}
