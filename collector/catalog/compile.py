"""What a snapshot is compiled from: a few plain queries over the record, the same on every engine.

Each only reads, joins along keys and filters; what has to be ordered or counted is decided in `pipelines.compile`, on
the columns. So SQLite, PostgreSQL and DuckDB (over Parquet files of the tables) give equal columns, whatever their
sorting rules, and a million images are read at the speed of a scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from collector.catalog.database import Catalog
from collector.catalog.exclusions import OUTSIDE
from collector.catalog.tables import (
    annotation,
    consensus,
    dedup_pass,
    duplicate,
    erratum,
    fingerprint,
    image,
    metadata,
    pool,
    quality,
    resolution,
    round_,
    sentinel,
    sighting,
    split,
    task,
    tombstone,
)

if TYPE_CHECKING:
    import pyarrow as pa

Read = Callable[[sa.Select[Any]], "pa.Table"]

AT_ONCE = 50_000  # rows fetched together
MAPPED = 2**33  # bytes of the SQLite file that are read as memory: a million look-ups read no page twice
SEEN = (
    "source", "source_id", "url", "page", "title", "creator", "creator_url", "license", "license_version",
    "license_url", "license_jurisdiction", "license_evidence", "query",
)  # fmt: skip


@contextmanager
def reading(catalog: Catalog) -> Iterator[Read]:
    """Queries in one transaction, which all see the same state of the catalog, as Arrow tables."""
    with catalog.read() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("set transaction isolation level repeatable read")
        else:
            connection.exec_driver_sql(f"pragma mmap_size={MAPPED}")
        try:
            yield lambda query: _fetched(connection, query)
        finally:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("pragma mmap_size=0")


@contextmanager
def reading_parquet(folder: Path) -> Iterator[Read]:
    """The same queries by DuckDB over the files of `write_parquet`; needs the extra `analytics`."""
    import duckdb

    with duckdb.connect() as database:
        for name in metadata.tables:
            file = str(folder / f"{name}.parquet").replace("'", "''")
            database.execute(f"""create view "{name}" as select * from read_parquet('{file}')""")

        def read(query: sa.Select[Any]) -> pa.Table:
            found = database.sql(_literal(query, postgresql.dialect()))  # type: ignore[no-untyped-call]
            return found.to_arrow_table().cast(_schema(query))

        yield read


def write_parquet(catalog: Catalog, folder: Path) -> None:
    """Every table of the catalog as a Parquet file, JSON as text, from one state of the catalog."""
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    with reading(catalog) as read:
        for name, table in metadata.tables.items():
            pq.write_table(read(sa.select(*map(_plain, table.columns))), folder / f"{name}.parquet")


def _plain(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """JSON as the text that was written, and yes and no as a number."""
    if isinstance(column.type, sa.JSON):
        return sa.cast(column, sa.Text).label(column.name)
    return sa.cast(column, sa.Integer).label(column.name) if isinstance(column.type, sa.Boolean) else column


def _schema(query: sa.Select[Any]) -> pa.Schema:
    import pyarrow as pa

    kinds: Mapping[type, pa.DataType] = {sa.Integer: pa.int64(), sa.Float: pa.float64()}
    columns = query.selected_columns
    return pa.schema(
        [
            (each.name, next((kinds[kind] for kind in kinds if isinstance(each.type, kind)), pa.string()))
            for each in columns
        ]
    )


def _fetched(connection: sa.Connection, query: sa.Select[Any]) -> pa.Table:
    """The rows by the driver's own cursor: rows of SQLAlchemy take twice as long."""
    import pyarrow as pa

    schema, parts = _schema(query), []
    cursor = connection.connection.cursor()
    cursor.execute(_literal(query, connection.dialect))
    while rows := cursor.fetchmany(AT_ONCE):
        columns = [pa.array(one, each.type) for one, each in zip(zip(*rows, strict=True), schema, strict=True)]
        parts.append(pa.record_batch(columns, schema=schema))
    cursor.close()
    return pa.Table.from_batches(parts, schema)


def _literal(query: sa.Select[Any], dialect: sa.Dialect) -> str:
    """The text of a query with its values in it."""
    text = str(query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    return text.replace("%%", "%") if dialect.name == "postgresql" else text  # it doubles percent signs for psycopg


def settled(concept: str) -> sa.Select[Any]:
    """Every image with a settled label and each sighting of it for the concept; several rows where there are several.

    What is missing is null: `id` and what follows of a sighting, `role` and `tier` of the pool, `split` and its `rule`.
    """
    tables = (
        consensus.join(image, image.c.id == consensus.c.image)
        .outerjoin(pool, sa.and_(pool.c.concept == concept, pool.c.image == consensus.c.image))
        .outerjoin(split, sa.and_(split.c.concept == concept, split.c.image == consensus.c.image))
        # `+ ""` keeps SQLite from the index that begins with the concept: it would read all of it for each image.
        .outerjoin(sighting, sa.and_(sighting.c.image == consensus.c.image, sighting.c.concept + "" == concept))
    )
    return (
        sa.select(
            *(consensus.c[name] for name in ("image", "label", "confidence", "method")),
            sa.cast(consensus.c.votes, sa.Text).label("votes"),
            split.c.name.label("split"),
            *(split.c.rule, pool.c.role, pool.c.tier, image.c.width, image.c.height, image.c.bytes, image.c.format),
            *(sighting.c[name] for name in ("id", "revision", "state", *SEEN)),
            sa.cast(sighting.c.facts, sa.Text).label("facts"),
        )
        .select_from(tables)
        .where(consensus.c.concept == concept)
    )


def answers(concept: str) -> sa.Select[Any]:
    """Every annotation of the concept but those to sentinels, in the order they came in.

    `labeled` and `shown` (a proposal) are 1 or 0; `task` and `studio` are 0 where there is none.
    """
    planted = (
        sa.select(task.c.id)
        .join(sentinel, sa.and_(sentinel.c.round == task.c.round, sentinel.c.image == task.c.image))
        .join(round_, task.c.round == round_.c.id)
        .where(round_.c.concept == concept)
    )
    where = sa.func.coalesce(annotation.c.task, 0)
    return (
        sa.select(
            *(annotation.c.id, annotation.c.image, annotation.c.annotator, where.label("task")),
            sa.func.coalesce(annotation.c.studio_annotation, 0).label("studio"),
            sa.case((annotation.c.state == "deleted", 1), else_=0).label("deleted"),
            sa.case((annotation.c.label.is_not(None), 1), else_=0).label("labeled"),
            sa.case((annotation.c.proposal.is_not(None), 1), else_=0).label("shown"),
            sa.func.coalesce(annotation.c.supersedes, 0).label("supersedes"),
        )
        # `+ ""` keeps SQLite from the index, which looks each row up at a random place: a scan is twice as fast.
        .where(annotation.c.concept + "" == concept, where.not_in(planted))
        .order_by(annotation.c.id)
    )


def amended(concept: str) -> sa.Select[Any]:
    """Every applied erratum, by when it was applied: the last one of an image counts."""
    last = sa.select(sa.func.max(resolution.c.id)).group_by(resolution.c.erratum)
    return (
        sa.select(erratum.c.image, erratum.c.id, erratum.c.should_be, resolution.c.at)
        .join(resolution, resolution.c.erratum == erratum.c.id)
        .where(erratum.c.concept == concept, resolution.c.id.in_(last), resolution.c.state == "applied")
    )


def copies() -> sa.Select[Any]:
    """Images set aside as copies, and what is kept for them."""
    current = sa.select(sa.func.max(dedup_pass.c.id)).scalar_subquery()
    return sa.select(duplicate.c.image, duplicate.c.keeper).where(duplicate.c.dedup_pass == current)


def outside() -> sa.Select[Any]:
    """Images that are copies of an outside set, and its name."""
    name = sa.func.substr(quality.c.check, len(OUTSIDE) + 1).label("name")
    here = quality.c.check.between(OUTSIDE, OUTSIDE[:-1] + "0")  # "0" comes after "/": a range of the index
    return sa.select(quality.c.image, name).where(here, quality.c.check.startswith(OUTSIDE, autoescape=True))


def poor(concept: str, thresholds: Mapping[str, float]) -> sa.Select[Any]:
    """The settled images with a score below the threshold of its check, and the check."""
    bad = [sa.and_(quality.c.check == check, quality.c.score < limit) for check, limit in thresholds.items()]
    return (
        sa.select(quality.c.image, quality.c.check)
        .join(consensus, consensus.c.image == quality.c.image)
        .where(consensus.c.concept == concept, sa.or_(sa.false(), *bad))
    )


def everywhere(addresses: int) -> sa.Select[Any]:
    """The images that were seen at so many addresses or more."""
    often = sa.select(sighting.c.image).group_by(sighting.c.image).having(sa.func.count() >= addresses)
    return (
        sa.select(sighting.c.image)
        .where(sighting.c.image.in_(often))
        .group_by(sighting.c.image)
        .having(sa.func.count(sighting.c.url.distinct()) >= addresses)
    )


def buried() -> sa.Select[Any]:
    """The images that were removed for good."""
    return sa.select(tombstone.c.sha256.label("image"))


def ballots(concept: str) -> sa.Select[Any]:
    """Every distribution of votes that occurs among the settled labels, once, as JSON."""
    votes = sa.cast(consensus.c.votes, sa.Text).label("votes")
    return sa.select(votes).where(consensus.c.concept == concept).distinct()


def members(concept: str, fingerprints: str) -> sa.Select[Any]:
    """Every image that was drawn for a concept: its split, its size and its fingerprint, null where it has none."""
    tables = split.join(image, image.c.id == split.c.image).outerjoin(
        fingerprint, sa.and_(fingerprint.c.image == split.c.image, fingerprint.c.algorithm == fingerprints)
    )
    return (
        sa.select(split.c.image, split.c.name.label("split"), split.c.rule, image.c.width, image.c.height)
        .add_columns(fingerprint.c.value.label("print"))
        .select_from(tables)
        .where(split.c.concept == concept)
    )


def origins(concept: str) -> sa.Select[Any]:
    """The source and the license of each sighting for a concept, first seen first."""
    return (
        sa.select(sighting.c.image, sighting.c.source, sighting.c.license)
        .where(sighting.c.concept == concept)
        .order_by(sighting.c.id)
    )
