"""Queries over duplicates, keepers, the pool and its frozen splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from collector.catalog.database import Catalog, insert_or_ignore, now
from collector.catalog.exclusions import outside
from collector.catalog.images import is_buried
from collector.catalog.sightings import newest
from collector.catalog.tables import dedup_pass, duplicate, image, pool, sighting, split


class Candidate(NamedTuple):
    """What the choice among copies looks at: one image and where it was seen. `area` is in pixels."""

    image: str
    area: int
    bytes: int
    format: str
    licenses: tuple[str, ...]
    sources: tuple[str, ...]
    in_pool: bool
    first_seen: str


class Duplicate(NamedTuple):
    """One copy that is set aside, the image kept for it, and why."""

    image: str
    keeper: str
    distance: int
    method: str
    reason: str
    evidence: Mapping[str, Any] = {}


class PoolRow(NamedTuple):
    """One image in the service of a concept: what it was collected as, from which tier, and why."""

    image: str
    label: str
    role: str
    tier: str
    reason: str
    checks: Mapping[str, Any]


def candidates(catalog: Catalog) -> dict[str, Candidate]:
    """Every image that is not buried, with its licenses as they stand, its sources and its first sighting."""
    query = sa.select(image.c.id, image.c.width, image.c.height, image.c.bytes, image.c.format).where(
        ~is_buried(image.c.id)
    )
    with catalog.read() as connection:
        rows = connection.execute(query.order_by(image.c.id)).all()
        seen = connection.execute(sa.select(sighting.c.image, sighting.c.source, sighting.c.seen_at)).all()
        stated = connection.execute(sa.select(sighting.c.image, sighting.c.license).where(newest())).all()
        pooled = set(connection.execute(sa.select(pool.c.image)).scalars())
    licenses: defaultdict[str, set[str]] = defaultdict(set)
    sources: defaultdict[str, set[str]] = defaultdict(set)
    earliest: dict[str, str] = {}
    for name, source, seen_at in seen:
        earliest[name] = min(earliest.get(name, seen_at), seen_at)
        sources[name].add(source)
    for name, license in stated:
        licenses[name].add(license)
    return {
        row.id: Candidate(
            image=row.id,
            area=row.width * row.height,
            bytes=row.bytes,
            format=row.format,
            licenses=tuple(sorted(licenses[row.id])),
            sources=tuple(sorted(sources[row.id])),
            in_pool=row.id in pooled,
            first_seen=earliest.get(row.id, ""),
        )
        for row in rows
    }


def write_pass(
    catalog: Catalog, settings: Mapping[str, Any], images: int, digest: str, found: Sequence[Duplicate]
) -> bool:
    """Make `found` the current result of deduplication; False when it equals the current one.

    Then the current pass only learns over how many images, and with which settings, it still holds.
    """
    with catalog.write() as connection:
        newest_pass = sa.select(dedup_pass.c.id, dedup_pass.c.digest).order_by(dedup_pass.c.id.desc()).limit(1)
        last = connection.execute(newest_pass).first()
        if last is not None and last.digest == digest:
            same = sa.update(dedup_pass).where(dedup_pass.c.id == last.id)
            connection.execute(same.values(images=images, settings=dict(settings)))
            return False
        made = connection.execute(
            sa.insert(dedup_pass).values(settings=dict(settings), images=images, digest=digest, at=now())
        ).inserted_primary_key
        number = int(made[0]) if made else 0
        if found:
            connection.execute(sa.insert(duplicate), [{"dedup_pass": number, **row._asdict()} for row in found])
    return True


def pass_settings(catalog: Catalog) -> dict[str, Any] | None:
    """The settings and figures of the current pass of deduplication, None before the first."""
    query = sa.select(dedup_pass.c.settings).order_by(dedup_pass.c.id.desc()).limit(1)
    with catalog.read() as connection:
        found = connection.execute(query).scalar()
    return dict(found) if found is not None else None


def duplicates(catalog: Catalog) -> dict[str, Duplicate]:
    """Image set aside -> its row, of the current pass."""
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(
                duplicate.c.image,
                duplicate.c.keeper,
                duplicate.c.distance,
                duplicate.c.method,
                duplicate.c.reason,
                duplicate.c.evidence,
            )
            .where(duplicate.c.dedup_pass == sa.select(sa.func.max(dedup_pass.c.id)).scalar_subquery())
            .order_by(duplicate.c.image)
        ).all()
    return {row.image: Duplicate(*row) for row in rows}


def out(catalog: Catalog) -> dict[str, str]:
    """Image -> the outside set (an evaluation set, a blocklist) for which it and its copies are set aside."""
    aside = duplicates(catalog)
    listed = outside(catalog)
    return {aside[image].keeper: name for image, name in listed.items() if image in aside} | listed


def keepers(catalog: Catalog, concept: str) -> dict[str, tuple[str, str, str]]:
    """Image -> (label, source, query) of its first sighting, for every image of the concept not set aside as a copy."""
    aside = duplicates(catalog).keys() | out(catalog).keys()
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(sighting.c.image, sighting.c.label, sighting.c.source, sighting.c.query)
            .where(sighting.c.concept == concept, ~is_buried(sighting.c.image))
            .order_by(sighting.c.image, sighting.c.id.desc())
        ).all()
    return {row.image: (row.label, row.source, row.query) for row in rows if row.image not in aside}


def add(catalog: Catalog, concept: str, rows: Iterable[PoolRow]) -> int:
    """Put images into the pool of a concept; those that are in it stay as they are. Returns how many are new."""
    values = [{"concept": concept, **row._asdict(), "added_at": now()} for row in rows]
    if not values:
        return 0
    with catalog.write() as connection:
        return sum(connection.execute(insert_or_ignore(pool, value)).rowcount for value in values)


def members(catalog: Catalog, concept: str) -> list[PoolRow]:
    """The pool of a concept without the copies set aside since, sorted by image."""
    aside = duplicates(catalog).keys() | out(catalog).keys()
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
    """Image -> `train`, `calibration`, `validation` or `test`, as frozen."""
    with catalog.read() as connection:
        rows = connection.execute(sa.select(split.c.image, split.c.name).where(split.c.concept == concept)).all()
    return {row.image: row.name for row in rows}


def rules(catalog: Catalog, concept: str) -> list[str]:
    """Every rule by which images of the concept were drawn."""
    with catalog.read() as connection:
        return list(connection.execute(sa.select(split.c.rule).where(split.c.concept == concept).distinct()).scalars())


def placements(catalog: Catalog, concept: str) -> list[tuple[str, str, str]]:
    """Image, split and rule of every image that was drawn for the concept, sorted."""
    query = sa.select(split.c.image, split.c.name, split.c.rule).where(split.c.concept == concept)
    with catalog.read() as connection:
        return [(row.image, row.name, row.rule) for row in connection.execute(query.order_by(split.c.image))]
