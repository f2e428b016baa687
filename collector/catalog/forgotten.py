"""Queries over what was forgotten: what must never come back, and what the record still says of it.

Rows of `forgotten` hold digests, not addresses or names: they know what they are asked for again, and tell nobody else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from collector.catalog.database import Catalog, insert_or_ignore, now
from collector.catalog.tables import (
    comparison,
    fingerprint,
    forgotten,
    image,
    quality,
    searched,
    sighting,
    suspect,
    task,
    tombstone,
)
from collector.records import Sighting
from collector.store import Preview

Kind = Literal["url", "sha256", "creator"]
REASON = "forgotten"  # of tombstones, of rejections, and the state of sightings
ALLOWED = "allowed"  # the kind of a row that lets one sha256 in, though it looks like something forgotten
NEAR = 40  # bits of 256 within which a picture is a copy in one of its 8 forms (as `dedup.threshold_dct`)
CLEAR = 0.1  # quality of a fingerprint below which it says nothing (`dedup.min_quality`)
AT_ONCE = 300  # values in one IN (...)
PERSONAL = ("url", "page", "title", "creator", "creator_url", "license_evidence", "final_url")


class Mark(NamedTuple):
    """One thing that must not come back: its kind and the digest of its value."""

    kind: str
    value: str


class Remains(NamedTuple):
    """A forgotten image that something is still known of: its preview, and the addresses at which it was seen."""

    image: str
    preview: Preview | None
    urls: tuple[str, ...]


def mark(kind: Kind, value: str) -> Mark:
    """The mark of an address (whatever its scheme, fragment and last slash), a sha256 or a creator (whatever case)."""
    if kind == "url":
        plain = value.partition("#")[0].partition("://")[2].rstrip("/")
    else:
        plain = " ".join(value.casefold().split())
    return Mark(kind, hashlib.sha256(f"{kind} {plain}".encode("utf-8", "replace")).hexdigest())


def marks_of(found: Sighting) -> set[Mark]:
    """Every mark under which a candidate may have been forgotten."""
    urls = (found.url, found.final_url, found.page, found.creator_url, *found.facts.get("fallbacks", ()))
    marks = {mark("url", url) for url in urls if "://" in url}
    return marks | {mark("creator", found.creator)} if found.creator.strip() else marks


def hidden(source_id: str) -> str:
    """What stands for a source's id of something forgotten: ids of some sources are names or addresses."""
    return f"{REASON}-{hashlib.sha256(source_id.encode('utf-8', 'replace')).hexdigest()[:32]}"


def known(connection: sa.Connection, marks: Iterable[Mark]) -> set[Mark]:
    """Those of the marks that were forgotten."""
    values = sorted({each.value for each in marks})
    rows: set[Mark] = set()
    for start in range(0, len(values), AT_ONCE):
        some = forgotten.c.value.in_(values[start : start + AT_ONCE])
        rows |= {Mark(*row) for row in connection.execute(sa.select(forgotten.c.kind, forgotten.c.value).where(some))}
    return rows


def looks(connection: sa.Connection) -> list[str]:
    """The 256-bit hashes, in hex, of all forgotten images that are not flat."""
    from collector.fingerprints import DCT

    query = sa.select(fingerprint.c.value).join(tombstone, tombstone.c.sha256 == fingerprint.c.image)
    where = (tombstone.c.reason == REASON, fingerprint.c.algorithm == DCT, fingerprint.c.quality >= CLEAR)
    return list(connection.execute(query.where(*where)).scalars())


def is_known(catalog: Catalog, wanted: Mark) -> bool:
    """Whether a mark was forgotten before."""
    with catalog.read() as connection:
        return wanted in known(connection, [wanted])


def among(catalog: Catalog, names: Iterable[str]) -> set[str]:
    """Those of some images that were forgotten: their bytes are gone on purpose."""
    with catalog.read() as connection:
        buried = sa.select(tombstone.c.sha256).where(tombstone.c.reason == REASON)
        return set(connection.execute(buried).scalars()) & set(names)


def matching(catalog: Catalog, kind: Kind, value: str) -> set[str]:
    """The images that were seen at an address, were made by a creator, or have a sha256 (or one that begins so)."""
    wanted = mark(kind, value)
    if kind == "sha256":
        query = sa.select(image.c.id).where(image.c.id.startswith(value, autoescape=True))
    else:
        columns = [sighting.c.creator]
        if kind == "url":
            columns = [sighting.c.url, sighting.c.final_url, sighting.c.page, sighting.c.creator_url]
        where: list[sa.ColumnElement[bool]] = []
        with catalog.read() as connection:
            for column in columns:
                said = connection.execute(sa.select(column).where(column != "").distinct()).scalars()
                same = [each for each in said if (kind == "creator" or "://" in each) and mark(kind, each) == wanted]
                where += [column.in_(same[start : start + AT_ONCE]) for start in range(0, len(same), AT_ONCE)]
        query = sa.select(sighting.c.image).where(sa.or_(sa.false(), *where)).distinct()
    with catalog.read() as connection:
        return set(connection.execute(query).scalars())


def creators(catalog: Catalog) -> list[str]:
    """The names of all creators in the record."""
    with catalog.read() as connection:
        return list(
            connection.execute(sa.select(sighting.c.creator).where(sighting.c.creator != "").distinct()).scalars()
        )


def addresses(catalog: Catalog, names: Iterable[str]) -> list[tuple[str, str, str, str]]:
    """(image, concept, source, address) of every sighting of some images; an address may be empty."""
    wanted = sorted(names)
    found: set[tuple[str, str, str, str]] = set()
    with catalog.read() as connection:
        for start in range(0, len(wanted), AT_ONCE):
            some = sighting.c.image.in_(wanted[start : start + AT_ONCE])
            for row in connection.execute(sa.select(sighting).where(some)):
                found |= {(row.image, row.concept, row.source, url) for url in (row.url, row.final_url)}
    return sorted(found)


def sizes(catalog: Catalog, names: Iterable[str]) -> int:
    """Bytes of the originals and previews of some images."""
    wanted = sorted(names)
    both = sa.func.sum(image.c.bytes + sa.func.coalesce(image.c.preview_bytes, 0))
    with catalog.read() as connection:
        return sum(
            connection.execute(sa.select(both).where(image.c.id.in_(wanted[start : start + AT_ONCE]))).scalar() or 0
            for start in range(0, len(wanted), AT_ONCE)
        )


def bury(catalog: Catalog, names: Iterable[str], marks: Iterable[Mark], why: str) -> None:
    """Let nothing of this come back: marks and tombstones, in one transaction. The first step: a kill then is safe."""
    from collector.fingerprints import PHASH

    wanted = sorted(names)
    with catalog.write() as connection:
        for each in sorted(set(marks)):
            connection.execute(insert_or_ignore(forgotten, {**each._asdict(), "why": why, "at": now()}))
        hashes: dict[str, str] = {}
        for start in range(0, len(wanted), AT_ONCE):
            some = (fingerprint.c.image.in_(wanted[start : start + AT_ONCE]), fingerprint.c.algorithm == PHASH)
            rows = connection.execute(sa.select(fingerprint.c.image, fingerprint.c.value).where(*some))
            hashes.update((row.image, row.value) for row in rows)
        insert = postgresql.insert(tombstone)
        renamed = insert.on_conflict_do_update(index_elements=["sha256"], set_={"reason": REASON})
        values = [
            {"sha256": name, "phash": hashes.get(name, ""), "reason": REASON, "buried_at": now()} for name in wanted
        ]
        if values:
            connection.execute(renamed, values)


def allow(catalog: Catalog, name: str, why: str) -> bool:
    """Let one sha256 in, though it looks like something forgotten; False when that was said before."""
    row = {"kind": ALLOWED, "value": name, "why": why, "at": now()}
    with catalog.write() as connection:
        return connection.execute(insert_or_ignore(forgotten, row)).rowcount == 1


def unfinished(catalog: Catalog) -> list[Remains]:
    """The images that are buried as forgotten, and whose bytes may still be there: a kill came in between."""
    places = (image.c.preview_pack, image.c.preview_offset, image.c.preview_bytes)
    open_ = sa.select(sighting.c.image).where(sighting.c.state != REASON)
    query = (
        sa.select(image.c.id, *places)
        .join(tombstone, tombstone.c.sha256 == image.c.id)
        .where(tombstone.c.reason == REASON, image.c.id.in_(open_))
        .order_by(image.c.id)
    )
    with catalog.read() as connection:
        rows = connection.execute(query).all()
    urls: dict[str, set[str]] = {row.id: set() for row in rows}
    for name, _, _, url in addresses(catalog, urls):
        urls[name].add(url)
    return [Remains(row[0], Preview(*row[1:]) if row[1] else None, tuple(sorted(urls[row[0]]))) for row in rows]


def strip(catalog: Catalog, names: Sequence[str]) -> None:
    """Take out of the record what describes these images and whose they are. The last step: then nothing is unfinished.

    What people and models said of them stays, since those tables only grow, and so does the hash that knows a copy.
    """
    from collector.fingerprints import DCT

    empty: dict[str, Any] = dict.fromkeys(PERSONAL, "")
    with catalog.write() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("pragma secure_delete=on")  # else the old text stays in free pages
        for start in range(0, len(names), AT_ONCE):
            some = list(names[start : start + AT_ONCE])
            mine = (sighting.c.image.in_(some), sighting.c.state != REASON)
            rows = connection.execute(sa.select(sighting.c.id, sighting.c.source_id).where(*mine)).all()
            blank = sa.update(sighting).where(sighting.c.id == sa.bindparam("row"))
            blank = blank.values(**empty, source_id=sa.bindparam("hidden"), facts={}, state=REASON)
            if rows:
                connection.execute(blank, [{"row": row.id, "hidden": hidden(row.source_id)} for row in rows])
            connection.execute(
                sa.update(image)
                .where(image.c.id.in_(some))
                .values(preview_pack=None, preview_offset=None, preview_bytes=None)
            )
            connection.execute(
                sa.delete(fingerprint).where(fingerprint.c.image.in_(some), fingerprint.c.algorithm != DCT)
            )
            connection.execute(
                sa.delete(comparison).where(sa.or_(comparison.c.first.in_(some), comparison.c.second.in_(some)))
            )
            connection.execute(sa.delete(suspect).where(sa.or_(suspect.c.image.in_(some), suspect.c.nearest.in_(some))))
            for table in (searched, quality):
                connection.execute(sa.delete(table).where(table.c.image.in_(some)))
    if catalog.engine.dialect.name == "sqlite":
        raw = catalog.engine.raw_connection()  # outside of any transaction
        try:
            raw.cursor().execute("pragma wal_checkpoint(truncate)").fetchall()  # the log holds the old text, too
        finally:
            raw.close()


def tasks(catalog: Catalog, names: Iterable[str]) -> dict[int, int]:
    """Project of Label Studio -> tasks in it that show one of these images."""
    wanted = sorted(names)
    found: dict[int, int] = {}
    with catalog.read() as connection:
        for start in range(0, len(wanted), AT_ONCE):
            some = (task.c.image.in_(wanted[start : start + AT_ONCE]), task.c.studio_task > 0)
            for project in connection.execute(sa.select(task.c.project).where(*some)).scalars():
                found[project] = found.get(project, 0) + 1
    return dict(sorted(found.items()))


def prints(catalog: Catalog) -> tuple[list[str], list[str]]:
    """(images, 256-bit hashes in hex) of all images that are not buried and not flat."""
    from collector.fingerprints import DCT

    query = (
        sa.select(fingerprint.c.image, fingerprint.c.value)
        .where(fingerprint.c.algorithm == DCT, fingerprint.c.quality >= CLEAR)
        .where(~sa.exists().where(tombstone.c.sha256 == fingerprint.c.image))
        .order_by(fingerprint.c.image)
    )
    with catalog.read() as connection:
        rows = connection.execute(query).all()
    return [row.image for row in rows], [row.value for row in rows]


def looks_of(catalog: Catalog, names: Iterable[str]) -> list[str]:
    """The 256-bit hashes, in hex, of those of some images that are not flat."""
    from collector.fingerprints import DCT

    wanted = sorted(names)
    found: list[str] = []
    with catalog.read() as connection:
        for start in range(0, len(wanted), AT_ONCE):
            some = (fingerprint.c.image.in_(wanted[start : start + AT_ONCE]), fingerprint.c.algorithm == DCT)
            query = sa.select(fingerprint.c.value).where(*some, fingerprint.c.quality >= CLEAR)
            found += connection.execute(query).scalars()
    return found
