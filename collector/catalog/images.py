"""Queries over images, sightings, rejections and fingerprints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from collector.catalog import forgotten
from collector.catalog.database import Catalog, insert_or_ignore, now, storable
from collector.catalog.forgotten import Mark
from collector.catalog.tables import fingerprint, image, rejection, sighting, tombstone
from collector.records import Kept, Known, Outcome, Rejected, Sighting
from collector.store import Preview

if TYPE_CHECKING:  # who only crawls does not need numpy for this
    from collector.fingerprints import Fingerprint

FEW = 1000  # ids in one condition: SQLite takes 32,766


@dataclass(frozen=True, slots=True)
class Arrival:
    """What there is to write down of one candidate.

    `why` refuses it; otherwise `image` was seen, and `record` and `prints` describe a picture that may be new.
    """

    found: Sighting
    image: str = ""
    record: Mapping[str, Any] | None = None
    prints: Sequence[Fingerprint] = ()
    why: Rejected | None = None


class Held(NamedTuple):
    """Which of some images the catalog holds, and the reasons of those that were buried.

    `marks` are those that were forgotten, `looks` the 256-bit hashes of all forgotten images, in hex, and `allowed` the
    images that may look like one of them.
    """

    stored: set[str]
    buried: dict[str, str]
    marks: set[Mark]
    looks: list[str]
    allowed: set[str]


def held(catalog: Catalog, wanted: Iterable[str], marks: Iterable[Mark] = ()) -> Held:
    """Which of `wanted` are stored, buried or forgotten by one of `marks`; not more than a few hundred at once."""
    names = list(wanted)
    with catalog.read() as connection:
        stored = set(connection.execute(sa.select(image.c.id).where(image.c.id.in_(names))).scalars())
        buried = sa.select(tombstone.c.sha256, tombstone.c.reason).where(tombstone.c.sha256.in_(names))
        reasons = {row.sha256: row.reason for row in connection.execute(buried)}
        known = forgotten.known(connection, [*marks, *(Mark(forgotten.ALLOWED, name) for name in names)])
        allowed = {each.value for each in known if each.kind == forgotten.ALLOWED}
        return Held(stored, reasons, known, forgotten.looks(connection), allowed)


def write(catalog: Catalog, arrivals: Sequence[Arrival]) -> list[Outcome]:
    """Write images, fingerprints, sightings and rejections in one transaction; what became of each arrival.

    Rows are sorted and images locked, so that two processes on a server neither wait for each other in a ring nor
    both take an image for the first of its concept.
    """
    with catalog.write() as connection:
        fresh = _add_images(connection, arrivals)
        here = _first_seen(connection, arrivals)
        outcomes = [_outcome(each, fresh, here) for each in arrivals]
        sightings = [
            sighting_row(each.image, each.found)
            for each, outcome in zip(arrivals, outcomes, strict=True)
            if not isinstance(outcome, Rejected)
        ]
        rejections = [
            _rejection_row(each.found, outcome)
            for each, outcome in zip(arrivals, outcomes, strict=True)
            if isinstance(outcome, Rejected)
        ]
        _insert(connection, sighting, sightings, ("concept", "source", "source_id", "image"))
        _insert(connection, rejection, rejections, ("concept", "source", "source_id", "reason"))
    return outcomes


def reject(catalog: Catalog, seen: Sighting, why: Rejected) -> None:
    """Write down that a candidate was refused; the same refusal is written once."""
    write(catalog, [Arrival(seen, why=why)])


def bury(catalog: Catalog, image_id: str, reason: str) -> bool:
    """Declare that an image is no picture that anybody wants; False when it is buried already.

    Its rows and bytes stay, but nothing counts it any more, and intake refuses its bytes with `reason`.
    """
    from collector.fingerprints import PHASH

    row = {"sha256": image_id, "phash": "", "reason": reason, "buried_at": now()}
    with catalog.write() as connection:
        value = connection.execute(
            sa.select(fingerprint.c.value).where(fingerprint.c.image == image_id, fingerprint.c.algorithm == PHASH)
        ).scalar()
        return connection.execute(insert_or_ignore(tombstone, {**row, "phash": value or ""})).rowcount == 1


def is_buried(name: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """The condition that an image was buried; `name` is the column with its id."""
    return sa.exists().where(tombstone.c.sha256 == name)


def ids(catalog: Catalog) -> set[str]:
    """The ids of all images that are not buried."""
    with catalog.read() as connection:
        return set(connection.execute(sa.select(image.c.id).where(~is_buried(image.c.id))).scalars())


def previews(catalog: Catalog, wanted: Collection[str] | None = None) -> dict[str, Preview | None]:
    """Image id -> where its preview lies; None when the original is its own preview."""
    query = sa.select(image.c.id, image.c.preview_pack, image.c.preview_offset, image.c.preview_bytes)
    asked = sorted(set(wanted or ()))
    few = [query.where(image.c.id.in_(asked[start : start + FEW])) for start in range(0, len(asked), FEW)]
    found: dict[str, Preview | None] = {}
    with catalog.read() as connection:
        for each in [query] if wanted is None else few:
            for name, pack, offset, size in connection.execute(each):
                found[name] = Preview(pack, offset, size) if pack else None
    return found


def move_previews(catalog: Catalog, places: Mapping[str, Preview]) -> None:
    """Write down that previews lie elsewhere now, all in one transaction."""
    moved = (
        sa.update(image)
        .where(image.c.id == sa.bindparam("name"))
        .values(
            preview_pack=sa.bindparam("pack"), preview_offset=sa.bindparam("at"), preview_bytes=sa.bindparam("length")
        )
    )
    rows = [{"name": name, "pack": to.pack, "at": to.offset, "length": to.size} for name, to in sorted(places.items())]
    if rows:
        with catalog.write() as connection:
            connection.execute(moved, rows)


def stored_files(catalog: Catalog, source: str) -> dict[tuple[str, str], str]:
    """(the source's id, address) of every file that is stored from a source, for whichever concept -> image."""
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(sighting.c.source_id, sighting.c.url, sighting.c.image).where(sighting.c.source == source)
        ).all()
    return {(row.source_id, row.url): row.image for row in rows}


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


def counts(catalog: Catalog, concept: str, sources: Iterable[str] | None = None) -> tuple[int, int, dict[str, int]]:
    """(candidates seen, images kept, reason -> candidates refused) of a concept, optionally of some sources.

    A candidate is one (source, source_id); one that was refused first and stored later counts as stored, and one whose
    image was buried counts as refused with the reason of its tombstone.
    """
    chosen = None if sources is None else list(sources)
    stored = sa.select(sighting.c.source, sighting.c.source_id, sighting.c.image, tombstone.c.reason).outerjoin(
        tombstone, tombstone.c.sha256 == sighting.c.image
    )
    refused = sa.select(rejection.c.source, rejection.c.source_id, rejection.c.reason).order_by(rejection.c.id)
    with catalog.read() as connection:
        seen = connection.execute(_of(stored, sighting, concept, chosen)).all()
        latest = connection.execute(_of(refused, rejection, concept, chosen)).all()  # the latest reason counts
    live = [row for row in seen if row.reason is None]
    reasons = {(row.source, row.source_id): row.reason for row in (*latest, *seen) if row.reason is not None}
    found = {(row.source, row.source_id) for row in live}
    tally = Counter(reason for candidate, reason in reasons.items() if candidate not in found)
    return len(found) + tally.total(), len({row.image for row in live}), dict(sorted(tally.items()))


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


def without(catalog: Catalog, algorithms: Collection[str]) -> list[str]:
    """The images that lack a fingerprint by one of some algorithms, sorted."""
    has = (
        sa.select(sa.func.count())
        .where(fingerprint.c.image == image.c.id, fingerprint.c.algorithm.in_(algorithms))
        .scalar_subquery()
    )
    with catalog.read() as connection:
        query = sa.select(image.c.id).where(has < len(algorithms), ~is_buried(image.c.id)).order_by(image.c.id)
        return list(connection.execute(query).scalars())


def add_fingerprints(catalog: Catalog, prints: Mapping[str, Sequence[Fingerprint]]) -> None:
    """Write fingerprints, by image; those that are there stay as they are."""
    rows = [{"image": name, **each._asdict()} for name, found in prints.items() for each in found]
    with catalog.write() as connection:
        _insert(connection, fingerprint, rows, ("image", "algorithm"))


def hashes(catalog: Catalog, algorithm: str, wanted: Collection[str] | None = None) -> dict[str, tuple[str, float]]:
    """Image id -> (hex value, quality) for one fingerprint algorithm, of all images or of a few hundred."""
    query = sa.select(fingerprint.c.image, fingerprint.c.value, fingerprint.c.quality).where(
        fingerprint.c.algorithm == algorithm
    )
    with catalog.read() as connection:
        rows = connection.execute(query if wanted is None else query.where(fingerprint.c.image.in_(list(wanted)))).all()
    return {row.image: (row.value, row.quality) for row in rows}


def _of(query: sa.Select[Any], table: sa.Table, concept: str, sources: list[str] | None) -> sa.Select[Any]:
    query = query.where(table.c.concept == concept)
    return query if sources is None else query.where(table.c.source.in_(sources))


def _add_images(connection: sa.Connection, arrivals: Sequence[Arrival]) -> set[str]:
    """Insert the images that are new, with their fingerprints; returns their ids."""
    new = {each.image: each for each in arrivals if each.record is not None and each.why is None}
    if not new:
        return set()
    rows = [{**(new[name].record or {}), "id": name, "added_at": now()} for name in sorted(new)]
    inserted = postgresql.insert(image).on_conflict_do_nothing().returning(image.c.id)
    fresh = set(connection.execute(inserted, rows).scalars())
    prints = [{"image": name, **each._asdict()} for name in sorted(fresh) for each in new[name].prints]
    _insert(connection, fingerprint, prints, ("image", "algorithm"))
    return fresh


def _first_seen(connection: sa.Connection, arrivals: Sequence[Arrival]) -> dict[str, set[str]]:
    """Image -> the concepts that have seen it before, of all images that arrive and are there now."""
    names = sorted({each.image for each in arrivals if each.image and each.why is None})
    if not names:
        return {}
    there = sa.select(image.c.id).where(image.c.id.in_(names)).order_by(image.c.id).with_for_update(key_share=True)
    here: dict[str, set[str]] = {name: set() for name in connection.execute(there).scalars()}
    seen = sa.select(sighting.c.image, sighting.c.concept).where(sighting.c.image.in_(names)).distinct()
    for row in connection.execute(seen):
        here[row.image].add(row.concept)
    return here


def _outcome(each: Arrival, fresh: set[str], here: dict[str, set[str]]) -> Outcome:
    if each.why is not None:
        return each.why
    if each.image not in here:
        return Rejected("gone", f"the catalog holds no image {each.image[:12]} any more")
    first = each.found.concept not in here[each.image]
    here[each.image].add(each.found.concept)
    if each.image in fresh:
        fresh.remove(each.image)
        return Kept(each.image)
    return Known(each.image, new_here=first)


def _insert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]], key: Sequence[str]) -> None:
    """Insert the rows that are not there yet, in the order of their key."""
    if rows:
        rows.sort(key=lambda row: [row[name] for name in key])
        connection.execute(postgresql.insert(table).on_conflict_do_nothing(), [storable(row) for row in rows])


def _rejection_row(seen: Sighting, why: Rejected) -> dict[str, Any]:
    return {
        "concept": seen.concept,
        "source": seen.source,
        "source_id": forgotten.hidden(seen.source_id) if why.reason == forgotten.REASON else seen.source_id,
        "url": "" if why.reason == forgotten.REASON else seen.url,
        "page": "" if why.reason == forgotten.REASON else seen.page,
        "reason": why.reason,
        "detail": why.detail,
        "query": seen.query,
        "seen_at": now(),
    }


def sighting_row(image_id: str, seen: Sighting) -> dict[str, Any]:
    """The row of an image's sighting, as `sighting` stores it."""
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
        "final_url": seen.final_url,
        "facts": dict(seen.facts),
        "revision": 0,
        "state": "live",
        "checked_at": "",
    }
