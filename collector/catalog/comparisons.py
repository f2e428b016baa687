"""Queries over what deduplication has found out about pairs of images, and over what people say of them.

Rows of `comparison` are facts that hold for ever: how far two images are apart by one algorithm. Of the pairs that a
search finds within its radius they are the minimum spanning forest, not all (collector/dedup/neighbors.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from collector.catalog.database import Catalog, now
from collector.catalog.images import is_buried
from collector.catalog.tables import comparison, fingerprint, image, quality, searched, sighting, verdict

ROWS = 10_000  # of one statement


class Prints(NamedTuple):
    """The fingerprints of one image: hex, and how much there is to see in it, 0 (flat) to 1. `alive`: not buried."""

    image: str
    pixels: str
    phash: str
    dct: str
    quality: float
    alive: bool


class Comparison(NamedTuple):
    """How far two images (`first` < `second`) are apart: bits for a hash, inlying points for geometry."""

    first: str
    second: str
    algorithm: str
    same: bool
    distance: float
    evidence: Mapping[str, Any] = {}


class Verdict(NamedTuple):
    """What a person said of two images (`first` < `second`): whether they are copies; None takes it back."""

    first: str
    second: str
    same: bool | None
    by: str
    note: str
    said_at: str = ""


class Place(NamedTuple):
    """Where an image was seen."""

    image: str
    source: str
    url: str
    page: str
    title: str


def prints(catalog: Catalog, pixels: str, phash: str, dct: str) -> list[Prints]:
    """The three fingerprints of every image that has them, sorted by image."""
    first, second, third = (fingerprint.alias() for _ in range(3))
    query = (
        sa.select(
            first.c.image, first.c.value, second.c.value, third.c.value, third.c.quality, ~is_buried(first.c.image)
        )
        .join(second, sa.and_(second.c.image == first.c.image, second.c.algorithm == phash))
        .join(third, sa.and_(third.c.image == first.c.image, third.c.algorithm == dct))
        .where(first.c.algorithm == pixels)
        .order_by(first.c.image)
    )
    with catalog.read() as connection:
        return [Prints(*row) for row in connection.execute(query)]


def compared(catalog: Catalog, algorithm: str) -> list[Comparison]:
    """Every pair that was compared by an algorithm, sorted."""
    query = (
        sa.select(*(comparison.c[name] for name in Comparison._fields))
        .where(comparison.c.algorithm == algorithm)
        .order_by(comparison.c.first, comparison.c.second)
    )
    with catalog.read() as connection:
        return [Comparison(*row) for row in connection.execute(query)]


def searched_by(catalog: Catalog, beginning: str) -> list[tuple[str, str]]:
    """(image, algorithm) for every search whose algorithm begins so."""
    query = sa.select(searched.c.image, searched.c.algorithm).where(
        searched.c.algorithm.startswith(beginning, autoescape=True)
    )
    with catalog.read() as connection:
        return [(row.image, row.algorithm) for row in connection.execute(query)]


def add(catalog: Catalog, rows: Iterable[Comparison], done: Mapping[str, Sequence[str]] | None = None) -> None:
    """Write pairs down, and which images an algorithm has now searched, in one transaction; what is there stays."""
    values = [row._asdict() for row in rows]
    ended = [{"image": image, "algorithm": algorithm} for algorithm, images in (done or {}).items() for image in images]
    if not values and not ended:
        return
    with catalog.write() as connection:
        for table, some in ((comparison, values), (searched, ended)):
            for start in range(0, len(some), ROWS):
                connection.execute(postgresql.insert(table).on_conflict_do_nothing(), some[start : start + ROWS])


def verdicts(catalog: Catalog) -> dict[tuple[str, str], Verdict]:
    """Pair -> the newest that was said of it and not taken back, the oldest first."""
    query = sa.select(*(verdict.c[name] for name in Verdict._fields)).order_by(verdict.c.id)
    newest: dict[tuple[str, str], Verdict] = {}
    with catalog.read() as connection:
        for row in connection.execute(query):
            newest.pop((row.first, row.second), None)
            newest[row.first, row.second] = Verdict(*row)
    return {pair: said for pair, said in newest.items() if said.same is not None}


def say(catalog: Catalog, said: Verdict) -> None:
    """Write down what a person says of a pair; earlier words on it stay as they are."""
    with catalog.write() as connection:
        connection.execute(sa.insert(verdict).values(**said._replace(said_at=now())._asdict()))


def named(catalog: Catalog, beginning: str, most: int = 3) -> list[str]:
    """The ids of images that begin so, at most a few."""
    query = sa.select(image.c.id).where(image.c.id.startswith(beginning, autoescape=True)).order_by(image.c.id)
    with catalog.read() as connection:
        return list(connection.execute(query.limit(most)).scalars())


def places(catalog: Catalog) -> list[Place]:
    """Where every image was seen that is not buried."""
    query = (
        sa.select(*(sighting.c[name] for name in Place._fields))
        .where(~is_buried(sighting.c.image))
        .distinct()
        .order_by(sighting.c.image)
    )
    with catalog.read() as connection:
        return [Place(*row) for row in connection.execute(query)]


def details(catalog: Catalog, check: str) -> dict[str, dict[str, Any]]:
    """Image -> what a check found in its bytes."""
    query = sa.select(quality.c.image, quality.c.details).where(quality.c.check == check)
    with catalog.read() as connection:
        return {row.image: dict(row.details) for row in connection.execute(query)}


def add_details(catalog: Catalog, check: str, found: Mapping[str, tuple[float, Mapping[str, Any]]]) -> None:
    """Write down what a check found: image -> (score, details)."""
    rows = [
        {"image": name, "check": check, "score": score, "details": dict(about)}
        for name, (score, about) in sorted(found.items())
    ]
    if rows:
        with catalog.write() as connection:
            connection.execute(postgresql.insert(quality).on_conflict_do_nothing(), rows)
