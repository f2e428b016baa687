"""What a snapshot is compiled from: a few plain queries over the record, the same on every engine.

Each only reads, joins along keys and filters; what has to be ordered or counted is decided in `pipelines.compile`, on
the columns. So SQLite, PostgreSQL and DuckDB (over Parquet files of the tables) give equal columns, whatever their
sorting rules, and a million images are read at the speed of a scan.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

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
from collector.errors import CollectError

if TYPE_CHECKING:
    import pyarrow as pa

AT_ONCE = 50_000  # rows fetched together, or numbers of rows in a part
MAPPED = 2**33  # bytes of the SQLite file that are read as memory: a million look-ups read no page twice
THREADS = 4  # that read one SQLite file; more wait for each other
NONE = -(2**63)  # stands for null among numbers
SHARE = 2.0**62  # a share of 1 as a whole number: exact down to the last bit of 0.001
LAST = "\U0010ffff"  # after every name
DELETED, LABELED, SHOWN = 4, 2, 1  # what an answer was, added up
SEEN = (
    "source", "source_id", "url", "page", "title", "creator", "creator_url", "license", "license_version",
    "license_url", "license_jurisdiction", "license_evidence", "query",
)  # fmt: skip


class Read:
    """Queries, which all see the same state of the record, as Arrow tables."""

    def __init__(self, start: Callable[[sa.Select[Any]], Callable[[], pa.Table]]) -> None:
        self.start = start  # begin to read, in the background where the engine can; call what it returns for the rows

    def __call__(self, query: sa.Select[Any]) -> pa.Table:
        """The rows of a query."""
        return self.start(query)()


@contextmanager
def reading(catalog: Catalog) -> Iterator[Read]:
    """Queries in one transaction; on SQLite in one for each thread, all at the same state."""
    if catalog.engine.dialect.name == "sqlite":
        with _reading_sqlite(catalog) as read:
            yield read
        return
    with catalog.read() as connection:
        connection.exec_driver_sql("set transaction isolation level repeatable read")
        yield Read(lambda query: partial(_fetched, connection, query))


@contextmanager
def _reading_sqlite(catalog: Catalog) -> Iterator[Read]:
    """SQLite computes without the lock of the interpreter: a connection for each processor halves the time."""
    import pyarrow as pa

    count = min(THREADS, os.cpu_count() or 1)
    with ExitStack() as stack:
        connections = _together(catalog, stack, count)
        free: SimpleQueue[sa.Connection] = SimpleQueue()
        for each in connections:
            each.exec_driver_sql(f"pragma mmap_size={MAPPED}")
            stack.callback(each.exec_driver_sql, "pragma mmap_size=0")
            free.put(each)
        threads = ThreadPoolExecutor(count, "compile")
        stack.callback(threads.shutdown, cancel_futures=True)

        def lent(work: Callable[..., Any], *given: Any) -> Any:
            connection = free.get()
            try:
                return work(connection, *given)
            finally:
                free.put(connection)

        def start(query: sa.Select[Any]) -> Callable[[], pa.Table]:
            key = query.get_execution_options().get("parts")
            if key is None:
                return threads.submit(lent, _fetched, query).result
            schema, text = _schema(query), _literal(_joined(query, key), sqlite.dialect())
            parts = [threads.submit(lent, _parted, text, each, schema) for each in lent(_bounds, query, key)]
            return lambda: pa.concat_tables([each.result() for each in parts])

        yield Read(start)


def _together(catalog: Catalog, stack: ExitStack, count: int) -> list[sa.Connection]:
    """Connections in transactions that see one state: nobody committed between the first and the last of them.

    `data_version` changes when another connection commits, see https://sqlite.org/pragma.html#pragma_data_version.
    """
    version = "pragma data_version"
    with closing(catalog.engine.raw_connection()) as watch:
        cursor = watch.cursor()
        while True:
            before = cursor.execute(version).fetchall()
            with ExitStack() as tried:
                found = [tried.enter_context(catalog.read()) for _ in range(count)]
                for each in found:
                    each.exec_driver_sql("select 1 from sqlite_master limit 1").close()
                if cursor.execute(version).fetchall() == before:
                    stack.push(tried.pop_all())
                    return found


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

        yield Read(lambda query: partial(read, query))


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


def _joined(query: sa.Select[Any], key: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """The rows between two values of a key as one row: all texts of a column in one, and their lengths in another.

    SQLite makes two objects of a column then and not one of each value, which took longer than to find the rows.
    """
    bound: sa.ColumnElement[Any] = sa.literal_column("?")
    rows = query.where(key >= bound, key < bound).subquery()
    found: list[sa.ColumnElement[Any]] = []
    for each in rows.c:
        number: sa.ColumnElement[Any] = each
        if isinstance(each.type, sa.Float):  # as text it would lose its last digits
            number = sa.cast(each * sa.literal_column(repr(SHARE)), sa.Integer)
        elif not isinstance(each.type, sa.Integer):
            found.append(sa.cast(sa.func.group_concat(each, ""), sa.LargeBinary).label(None))
            number = sa.func.length(sa.cast(each, sa.LargeBinary))
        found.append(sa.func.group_concat(sa.func.coalesce(number, NONE), " ").label(None))
    return sa.select(*found)


def _parted(connection: sa.Connection, text: str, bounds: tuple[Any, Any], schema: pa.Schema) -> pa.Table:
    """The columns of a part, from the one row of `_joined`."""
    import numpy as np
    import pyarrow as pa

    row = iter(connection.exec_driver_sql(text, bounds).one())
    columns = []
    for each in schema:
        content = (next(row) or b"") if pa.types.is_string(each.type) else None
        numbers = np.fromstring(next(row) or "", np.int64, sep=" ")
        missing = numbers == NONE
        if content is None:
            values = numbers / SHARE if pa.types.is_floating(each.type) else numbers
            columns.append(pa.array(values, each.type, mask=missing))
            continue
        ends = np.zeros(len(numbers) + 1, np.int32)
        np.cumsum(np.where(missing, 0, numbers), out=ends[1:])
        there = pa.py_buffer(np.packbits(~missing, bitorder="little")) if missing.any() else None
        columns.append(
            pa.Array.from_buffers(pa.string(), len(numbers), [there, pa.py_buffer(ends), pa.py_buffer(content)])
        )
        try:
            columns[-1].validate(full=True)
        except pa.ArrowInvalid as error:
            raise CollectError(
                f"the catalog holds text that is not UTF-8, in `{each.name}`: {error}",
                hint="it was edited by hand; restore it from a backup",
            ) from error
    return pa.table(columns, schema)


def _bounds(connection: sa.Connection, query: sa.Select[Any], key: sa.ColumnElement[Any]) -> list[tuple[Any, Any]]:
    """From where to where each part of a query goes: by the first digit of a name, or so many numbers."""
    if not isinstance(key.type, sa.Integer):
        return list(pairwise(("", *"123456789abcdef", LAST)))
    top = connection.execute(sa.select(sa.func.max(key)).select_from(*query.get_final_froms())).scalar() or 0
    return [(low, low + AT_ONCE) for low in range(0, top + 1, AT_ONCE)]


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
        .execution_options(parts=consensus.c.image)
    )


def answers(concept: str) -> sa.Select[Any]:
    """Every annotation of the concept but those to sentinels.

    `said` adds up `DELETED`, `LABELED` and `SHOWN` (a proposal); `task` and `studio` are 0 where there is none.
    """
    planted = (
        sa.select(task.c.id)
        .join(sentinel, sa.and_(sentinel.c.round == task.c.round, sentinel.c.image == task.c.image))
        .join(round_, task.c.round == round_.c.id)
        .where(round_.c.concept == concept)
    )
    where = sa.func.coalesce(annotation.c.task, 0)
    said = (
        sa.case((annotation.c.state == "deleted", DELETED), else_=0)
        + sa.case((annotation.c.label.is_not(None), LABELED), else_=0)
        + sa.case((annotation.c.proposal.is_not(None), SHOWN), else_=0)
    )
    return (
        sa.select(
            *(annotation.c.id, annotation.c.image, annotation.c.annotator, where.label("task")),
            sa.func.coalesce(annotation.c.studio_annotation, 0).label("studio"),
            said.label("said"),
            sa.func.coalesce(annotation.c.supersedes, 0).label("supersedes"),
        )
        # `+ ""` keeps SQLite from the index, which looks each row up at a random place: a scan is twice as fast.
        .where(annotation.c.concept + "" == concept, where.not_in(planted))
        .execution_options(parts=annotation.c.id)
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


def poor(thresholds: Mapping[str, float]) -> sa.Select[Any]:
    """The images with a score below the threshold of its check, and the check."""
    bad = [sa.and_(quality.c.check == check, quality.c.score < limit) for check, limit in thresholds.items()]
    return (
        sa.select(quality.c.image, quality.c.check)
        .where(sa.or_(sa.false(), *bad))
        .execution_options(parts=sa.literal_column("quality.rowid", sa.Integer))
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
