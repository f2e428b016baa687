"""Queries of the crawl: what is known of candidates, how far searches have come, and what it all adds up to.

An image that was buried (a placeholder, say) counts as refused with the reason of its tombstone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import sqlalchemy as sa

from collector.catalog import forgotten
from collector.catalog.database import Catalog, now
from collector.catalog.images import is_buried
from collector.catalog.tables import rejection, search, sighting, tombstone
from collector.records import Sighting

AT_ONCE = 300  # values in one IN (...)


@dataclass(frozen=True, slots=True)
class KnownOf:
    """What the catalog knows of some candidates of one source, by the source's ids.

    `stored` are those that this concept has; `elsewhere` is the image of a file at the same address that any concept
    has; `refused` are all reasons for which this concept refused a candidate; `forgotten` are those whose address or
    creator must not come back.
    """

    stored: set[str] = field(default_factory=set)
    elsewhere: dict[str, str] = field(default_factory=dict)
    refused: dict[str, set[str]] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)


class Progress(NamedTuple):
    """How far a search has come: the cursor of the page to ask for next, and whether the last page was seen."""

    cursor: Any
    exhausted: bool


class Place(NamedTuple):
    """One sighting of an image, as far as it tells a picture from a placeholder."""

    concept: str
    source: str
    url: str
    final_url: str
    title: str
    creator: str


class Tally(NamedTuple):
    """What crawling has given a concept: candidates seen, images kept, reason -> candidates refused."""

    seen: int
    kept: int
    rejected: dict[str, int]


def known_of(catalog: Catalog, concept: str, source: str, found: Sequence[Sighting]) -> KnownOf:
    """What the catalog knows of candidates."""
    known = KnownOf()
    with catalog.read() as connection:
        for start in range(0, len(found), AT_ONCE):
            some = found[start : start + AT_ONCE]
            names = {forgotten.hidden(each.source_id): each.source_id for each in some}
            ids = [*names, *names.values()]
            here = (sighting.c.concept == concept, sighting.c.source == source, sighting.c.source_id.in_(ids))
            stored = connection.execute(sa.select(sighting.c.source_id).where(*here)).scalars()
            known.stored.update(names.get(name, name) for name in stored)
            for row in connection.execute(
                sa.select(rejection.c.source_id, rejection.c.reason).where(
                    rejection.c.concept == concept, rejection.c.source == source, rejection.c.source_id.in_(ids)
                )
            ):
                known.refused.setdefault(names.get(row.source_id, row.source_id), set()).add(row.reason)
            marks = {each.source_id: forgotten.marks_of(each) for each in some}
            gone = forgotten.known(connection, set().union(*marks.values()))
            known.forgotten.update(name for name, mine in marks.items() if not gone.isdisjoint(mine))
            places = {(each.source_id, each.url) for each in some if each.source_id not in known.stored}
            at = sa.select(sighting.c.source_id, sighting.c.url, sighting.c.image).where(
                sighting.c.url.in_([url for _, url in places]), sighting.c.source == source
            )
            for source_id, url, image in connection.execute(at):
                if (source_id, url) in places:
                    known.elsewhere[source_id] = image
    return known


def progress(catalog: Catalog, concept: str, source: str, asked: str) -> Progress:
    """How far a search had come when it was last written down."""
    query = sa.select(search.c.cursor, search.c.exhausted).where(
        search.c.concept == concept, search.c.source == source, search.c.asked == asked
    )
    with catalog.read() as connection:
        row = connection.execute(query).first()
    return Progress(row.cursor, bool(row.exhausted)) if row else Progress(None, False)


def reached(catalog: Catalog, concept: str, source: str, asked: str, to: Progress) -> None:
    """Write down how far a search has come: every candidate before `to` has its row."""
    key = {"concept": concept, "source": source, "asked": asked}
    values = {"cursor": sa.null() if to.cursor is None else to.cursor, "exhausted": to.exhausted, "asked_at": now()}
    with catalog.write() as connection:
        changed = connection.execute(
            sa.update(search)
            .where(*(search.c[name] == value for name, value in key.items()))
            .values(pages=search.c.pages + 1, **values)
        ).rowcount
        if not changed:
            connection.execute(sa.insert(search).values(pages=1, **key, **values))


def tally(catalog: Catalog, concept: str, sources: Iterable[str]) -> Tally:
    """Candidates and images of a concept from some sources; a candidate is one (source, source_id).

    One that was refused first and stored later counts as stored; of several refusals the latest counts.
    """
    names = list(sources)
    seen = sighting.alias("seen")
    mine = (seen.c.concept == concept, seen.c.source.in_(names))
    candidate = sa.select(seen.c.source, seen.c.source_id).where(*mine, ~is_buried(seen.c.image)).distinct().subquery()
    latest = (
        sa.select(sa.func.max(rejection.c.id))
        .where(rejection.c.concept == concept, rejection.c.source.in_(names))
        .group_by(rejection.c.source, rejection.c.source_id)
    )
    stored = sa.exists().where(
        sighting.c.concept == concept,
        sighting.c.source == rejection.c.source,
        sighting.c.source_id == rejection.c.source_id,
    )
    refused = (
        sa.select(rejection.c.reason, sa.func.count())
        .where(rejection.c.id.in_(latest), ~stored)
        .group_by(rejection.c.reason)
    )
    buried = (
        sa.select(tombstone.c.reason, sa.func.count())
        .select_from(
            sa.select(seen.c.source, seen.c.source_id, sa.func.min(seen.c.image).label("image"))
            .where(*mine, is_buried(seen.c.image))
            .group_by(seen.c.source, seen.c.source_id)
            .subquery("dead")
            .join(tombstone, sa.literal_column("dead.image") == tombstone.c.sha256)
        )
        .group_by(tombstone.c.reason)
    )
    with catalog.read() as connection:
        kept_ids = int(connection.execute(sa.select(sa.func.count()).select_from(candidate)).scalar_one())
        kept = connection.execute(
            sa.select(sa.func.count(seen.c.image.distinct())).where(*mine, ~is_buried(seen.c.image))
        ).scalar_one()
        rejected: dict[str, int] = {}
        for query in (refused, buried):
            for reason, number in connection.execute(query):
                rejected[reason] = rejected.get(reason, 0) + int(number)
    return Tally(kept_ids + sum(rejected.values()), int(kept), dict(sorted(rejected.items())))


def first_seen(catalog: Catalog, concept: str, sources: Iterable[str]) -> Counter[tuple[str, str, str, str]]:
    """(source, license code, creator, host) -> how many images one of the sources saw first there."""
    first = (
        sa.select(sa.func.min(sighting.c.id))
        .where(sighting.c.concept == concept, sighting.c.source.in_(list(sources)), ~is_buried(sighting.c.image))
        .group_by(sighting.c.image)
    )
    query = sa.select(sighting.c.source, sighting.c.license, sighting.c.creator, sighting.c.url)
    with catalog.read() as connection:
        rows = connection.execution_options(yield_per=1000).execute(query.where(sighting.c.id.in_(first)))
        return Counter((row.source, row.license, row.creator, host_of(row.url)) for row in rows)


def places_of(catalog: Catalog, image: str) -> list[Place]:
    """Every place where an image was seen, the first one first."""
    query = sa.select(*(sighting.c[name] for name in Place._fields)).where(sighting.c.image == image)
    with catalog.read() as connection:
        return [Place(*row) for row in connection.execute(query.order_by(sighting.c.id))]


def host_of(url: str) -> str:
    """The host of an address, empty where it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
