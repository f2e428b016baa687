"""Queries over images, sightings, rejections and fingerprints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from collector.catalog.database import Catalog, insert_or_ignore, now
from collector.catalog.tables import fingerprint, image, rejection, sighting
from collector.fingerprints import Fingerprint
from collector.records import Rejected, Sighting
from collector.store import Preview


def add(catalog: Catalog, record: Mapping[str, Any], prints: Iterable[Fingerprint], seen: Sighting) -> bool:
    """Write image, fingerprints and sighting in one transaction; False when another process was first."""
    with catalog.write() as connection:
        fresh = connection.execute(insert_or_ignore(image, {**record, "added_at": now()})).rowcount == 1
        if fresh:
            connection.execute(sa.insert(fingerprint), [{"image": record["id"], **each._asdict()} for each in prints])
        connection.execute(insert_or_ignore(sighting, _sighting_row(record["id"], seen)))
    return fresh


def add_sighting(catalog: Catalog, image_id: str, seen: Sighting) -> bool:
    """Write down where a known image was seen again; False when the catalog does not know the image."""
    with catalog.write() as connection:
        if not connection.execute(sa.select(image.c.id).where(image.c.id == image_id)).first():
            return False
        connection.execute(insert_or_ignore(sighting, _sighting_row(image_id, seen)))
    return True


def reject(catalog: Catalog, seen: Sighting, why: Rejected) -> None:
    """Write down that a candidate was refused; the same refusal is written once."""
    row = {
        "concept": seen.concept,
        "source": seen.source,
        "source_id": seen.source_id,
        "url": seen.url,
        "page": seen.page,
        "reason": why.reason,
        "detail": why.detail,
        "query": seen.query,
        "seen_at": now(),
    }
    with catalog.write() as connection:
        connection.execute(insert_or_ignore(rejection, row))


def ids(catalog: Catalog) -> set[str]:
    """The ids of all images."""
    with catalog.read() as connection:
        return set(connection.execute(sa.select(image.c.id)).scalars())


def previews(catalog: Catalog, wanted: Iterable[str] | None = None) -> dict[str, Preview | None]:
    """Image id -> where its preview lies; None when the original is its own preview."""
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(image.c.id, image.c.preview_pack, image.c.preview_offset, image.c.preview_bytes)
        ).all()
    keep = None if wanted is None else set(wanted)
    return {
        row.id: Preview(row.preview_pack, row.preview_offset, row.preview_bytes) if row.preview_pack else None
        for row in rows
        if keep is None or row.id in keep
    }


def stored_files(catalog: Catalog, source: str) -> dict[tuple[str, str], str]:
    """(the source's id, address) of every file that is stored from a source, for whichever concept -> image."""
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(sighting.c.source_id, sighting.c.url, sighting.c.image).where(sighting.c.source == source)
        ).all()
    return {(row.source_id, row.url): row.image for row in rows}


def first_sightings(catalog: Catalog, concept: str, sources: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Image -> (source, license code) of its first sighting for a concept by one of the sources."""
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(sighting.c.image, sighting.c.source, sighting.c.license)
            .where(sighting.c.concept == concept, sighting.c.source.in_(list(sources)))
            .order_by(sighting.c.id.desc())
        ).all()
    return {row.image: (row.source, row.license) for row in rows}


def seen_images(catalog: Catalog, concept: str, source: str) -> dict[str, str]:
    """The source's id of everything that this concept has stored from it -> image."""
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(sighting.c.source_id, sighting.c.image).where(
                sighting.c.concept == concept, sighting.c.source == source
            )
        ).all()
    return {row.source_id: row.image for row in rows}


def rejected_ids(catalog: Catalog, concept: str, source: str) -> dict[str, str]:
    """The source's ids of everything that was refused for this concept -> the first reason."""
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(rejection.c.source_id, rejection.c.reason)
            .where(rejection.c.concept == concept, rejection.c.source == source)
            .order_by(rejection.c.id.desc())
        ).all()
    return {row.source_id: row.reason for row in rows}


def refused_for(catalog: Catalog, concept: str, source: str) -> dict[str, set[str]]:
    """The source's ids of everything that was refused for this concept -> all reasons that it was refused for."""
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(rejection.c.source_id, rejection.c.reason).where(
                rejection.c.concept == concept, rejection.c.source == source
            )
        ).all()
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row.source_id, set()).add(row.reason)
    return found


def counts(catalog: Catalog, concept: str, sources: Iterable[str] | None = None) -> tuple[int, int, dict[str, int]]:
    """(candidates seen, images kept, reason -> candidates refused) of a concept, optionally of some sources.

    A candidate is one (source, source_id); one that was refused first and stored later counts as stored.
    """
    chosen = None if sources is None else list(sources)
    with catalog.read() as connection:
        stored = connection.execute(
            _of(
                sa.select(sighting.c.source, sighting.c.source_id, sighting.c.image),
                sighting,
                concept,
                chosen,
            )
        ).all()
        refused = connection.execute(
            _of(
                sa.select(rejection.c.source, rejection.c.source_id, rejection.c.reason),
                rejection,
                concept,
                chosen,
            ).order_by(rejection.c.id)
        ).all()
    found = {(row.source, row.source_id) for row in stored}
    reasons: dict[tuple[str, str], str] = {}
    for row in refused:
        if (row.source, row.source_id) not in found:
            reasons[row.source, row.source_id] = row.reason  # the latest reason counts
    tally: dict[str, int] = {}
    for reason in reasons.values():
        tally[reason] = tally.get(reason, 0) + 1
    return len(found) + len(reasons), len({row.image for row in stored}), dict(sorted(tally.items()))


def refusals(catalog: Catalog, concept: str, sources: Iterable[str]) -> dict[str, int]:
    """Reason -> refusals from these sources, whether or not the bytes were stored before the refusal."""
    query = (
        sa.select(rejection.c.reason, sa.func.count().label("n"))
        .where(rejection.c.concept == concept, rejection.c.source.in_(list(sources)))
        .group_by(rejection.c.reason)
        .order_by(rejection.c.reason)
    )
    with catalog.read() as connection:
        return {row.reason: row.n for row in connection.execute(query)}


def hashes(catalog: Catalog, algorithm: str, image_id: str | None = None) -> dict[str, tuple[str, float]]:
    """Image id -> (hex value, quality) for one fingerprint algorithm, of all images or of one."""
    query = sa.select(fingerprint.c.image, fingerprint.c.value, fingerprint.c.quality).where(
        fingerprint.c.algorithm == algorithm
    )
    with catalog.read() as connection:
        rows = connection.execute(query if image_id is None else query.where(fingerprint.c.image == image_id)).all()
    return {row.image: (row.value, row.quality) for row in rows}


def _of(query: sa.Select[Any], table: sa.Table, concept: str, sources: list[str] | None) -> sa.Select[Any]:
    query = query.where(table.c.concept == concept)
    return query if sources is None else query.where(table.c.source.in_(sources))


def _sighting_row(image_id: str, seen: Sighting) -> dict[str, Any]:
    return {
        "image": image_id,
        "concept": seen.concept,
        "label": seen.label,
        "source": seen.source,
        "source_id": seen.source_id,
        "url": seen.url,
        "page": seen.page,
        "title": seen.title[:4000],
        "creator": seen.creator[:4000],
        "creator_url": seen.creator_url,
        "license": seen.license.code,
        "license_version": seen.license.version,
        "license_url": seen.license.url,
        "license_jurisdiction": seen.license.jurisdiction,
        "license_evidence": seen.license.evidence[:4000],
        "query": seen.query,
        "seen_at": now(),
    }
