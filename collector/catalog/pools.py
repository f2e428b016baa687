"""Queries over duplicates, keepers, the pool and its frozen splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from collector.catalog.database import Catalog, now, storable
from collector.catalog.exclusions import outside
from collector.catalog.images import is_buried
from collector.catalog.sightings import newest
from collector.catalog.tables import dedup_pass, duplicate, image, pool, prediction, sighting, split

AT_ONCE = 10_000  # rows that are read or written in one go


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
    listed = outside(catalog)
    aside = duplicates(catalog) if listed else {}
    return {aside[image].keeper: name for image, name in listed.items() if image in aside} | listed


def keepers(catalog: Catalog, concept: str, *, new: bool = False) -> dict[str, tuple[str, str, str]]:
    """Image -> (label, source, query) of its first sighting, for every image of the concept not set aside as a copy.

    `new`: only those that are not in its pool.
    """
    aside = out(catalog)
    query = sa.select(sighting.c.image, sighting.c.label, sighting.c.source, sighting.c.query).where(
        sighting.c.concept == concept, ~is_buried(sighting.c.image), ~_is_copy(sighting.c.image)
    )
    if new:
        query = query.where(~sa.exists().where(pool.c.concept == concept, pool.c.image == sighting.c.image))
    with catalog.read() as connection:
        rows = _streamed(connection, query.order_by(sighting.c.image, sighting.c.id.desc()))
        return {row.image: (row.label, row.source, row.query) for row in rows if row.image not in aside}


def add(catalog: Catalog, concept: str, rows: Iterable[PoolRow]) -> int:
    """Put images into the pool of a concept; those that are in it stay as they are. Returns how many are new."""
    at = now()
    values = [{"concept": concept, **row._asdict(), "added_at": at} for row in rows]
    if not values:
        return 0
    with catalog.write() as connection:
        return _insert(connection, pool, values)


def members(catalog: Catalog, concept: str) -> list[PoolRow]:
    """The pool of a concept without the copies set aside since, sorted by image."""
    aside = out(catalog)
    with catalog.read() as connection:
        rows = _streamed(connection, _inside(concept, *(pool.c[name] for name in PoolRow._fields)))
        return [PoolRow(*row) for row in rows if row.image not in aside]


def undrawn(catalog: Catalog, concept: str) -> list[str]:
    """The images of `members` that are in no split yet, sorted."""
    aside = out(catalog)
    there = sa.exists().where(split.c.concept == concept, split.c.image == pool.c.image)
    with catalog.read() as connection:
        rows = _streamed(connection, _inside(concept, pool.c.image).where(~there))
        return [row.image for row in rows if row.image not in aside]


def drawn(
    catalog: Catalog, concept: str, name: str | None = None, *, unsaid: str | None = None
) -> Iterator[tuple[str, str]]:
    """(image, split) of `members`, sorted by image, of all splits or of one; never all in memory.

    `unsaid`: only images that this model has not judged.
    """
    aside = out(catalog)
    query = in_split(concept, name, pool.c.image, split.c.name)
    if unsaid is not None:
        query = query.where(
            ~sa.exists().where(
                prediction.c.model_run == unsaid, prediction.c.concept == concept, prediction.c.image == pool.c.image
            )
        )
    with catalog.read() as connection:
        yield from ((row.image, row.name) for row in _streamed(connection, query) if row.image not in aside)


def in_split(concept: str, name: str | None, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Columns of pool and split over the images of the pool in a split (None: any), the images of `out` among them."""
    same = sa.and_(split.c.concept == pool.c.concept, split.c.image == pool.c.image)
    query = _inside(concept, *columns).join(split, same)
    return query if name is None else query.where(split.c.name == name)


def freeze_splits(catalog: Catalog, concept: str, names: Mapping[str, str], rule: str) -> None:
    """Write which split each image belongs to; a row that is there is never changed."""
    if not names:
        return
    same = {"concept": concept, "rule": rule, "frozen_at": now()}
    with catalog.write() as connection:
        _insert(connection, split, ({"image": image, "name": name, **same} for image, name in sorted(names.items())))


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


def _inside(concept: str, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Columns over the pool of a concept, sorted by image, without what is buried or a copy."""
    query = sa.select(*columns).select_from(pool).where(pool.c.concept == concept)
    return query.where(~is_buried(pool.c.image), ~_is_copy(pool.c.image)).order_by(pool.c.image)


def _is_copy(name: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """The condition that an image is set aside by the current pass; `name` is the column with its id."""
    newest_pass = sa.select(sa.func.max(dedup_pass.c.id)).scalar_subquery()
    return sa.exists().where(duplicate.c.dedup_pass == newest_pass, duplicate.c.image == name)


def _streamed(connection: sa.Connection, query: sa.Select[Any]) -> Iterable[Any]:
    return connection.execution_options(yield_per=AT_ONCE).execute(query)


def _insert(connection: sa.Connection, table: sa.Table, rows: Iterable[Mapping[str, Any]]) -> int:
    """Insert the rows that are not there yet, some thousands at once; returns how many they are."""
    each, new = iter(rows), 0
    while some := [storable(row) for row in islice(each, AT_ONCE)]:
        new += connection.execute(postgresql.insert(table).on_conflict_do_nothing(), some).rowcount
    return new
