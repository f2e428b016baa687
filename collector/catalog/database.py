"""`Catalog`: opens the record book, migrates it, and hands out short transactions.

SQLite runs in WAL mode with `synchronous=FULL`: with NORMAL a power cut loses rows that were already acknowledged.
Several processes may use one catalog at once; writers queue for at most `BUSY_S`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from collector.catalog.tables import metadata
from collector.errors import CollectError, DiskFull, ServiceDown, UsageError

if TYPE_CHECKING:
    import pandas as pd

BUSY_S = 30.0
HEAD = "0005"
MIGRATIONS = Path(__file__).parent / "migrations"


def now() -> str:
    """The time as the catalog writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def insert_or_ignore(table: sa.Table, row: Mapping[str, Any]) -> sa.Insert:
    """An INSERT of one row that does nothing when the row is there already, on every engine."""
    # PostgreSQL's construct also compiles for SQLite; SQLite's does not compile for PostgreSQL.
    return postgresql.insert(table).values(**storable(row)).on_conflict_do_nothing()


def storable(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose texts every engine takes.

    Strangers' text may hold NUL, which PostgreSQL refuses, and half surrogate pairs, which are not Unicode.
    """
    return {key: _text(value) if isinstance(value, str) else value for key, value in row.items()}


def _text(value: str) -> str:
    value = value.replace("\0", "")
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


class Catalog:
    """The record book of one workspace. Queries live beside this file; nothing else opens the database."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self.url = self.engine.url.render_as_string(hide_password=True)
        self.place = self.engine.url.database or "" if self._sqlite else self.url
        if self._sqlite:
            sa.event.listen(self.engine, "connect", _prepare_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)

    @property
    def _sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @classmethod
    def open(cls, url: str, *, lock: AbstractContextManager[None] | None = None) -> Catalog:
        """Open the catalog at `url`, creating or migrating it first if needed, under `lock` if one is given.

        Raises:
            UsageError: a newer version of collect wrote it, or the URL is wrong.
            CollectError: the file is not a catalog, or the server does not answer.
        """
        catalog = cls(url)
        try:
            with _explained(catalog.place):
                if catalog.revision() != HEAD:
                    with lock or nullcontext():
                        catalog.migrate()
        except BaseException:
            catalog.close()
            raise
        return catalog

    def revision(self) -> str | None:
        """The schema version in the database, None when it is empty."""
        with self.engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            return connection.execute(sa.text("select version_num from alembic_version")).scalar()

    def migrate(self) -> None:
        """Bring the schema to `HEAD`; refuses a schema that this version does not know."""
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        found = self.revision()
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if found is not None and found not in known:
            raise UsageError(
                f"this workspace was written by a newer version of collect (schema {found})",
                hint="upgrade collect; this version knows schema " + HEAD,
            )
        with self.write() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads."""
        with _explained(self.place), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that writes, committed at the end of the block and durable from then on. Keep it short."""
        with (
            _explained(self.place),
            self.engine.connect().execution_options(collect_write=True) as connection,
            connection.begin(),
        ):
            yield connection

    def frame(self, table: str) -> pd.DataFrame:
        """A whole table (`"images"` or `"image"`) as a pandas frame."""
        import pandas as pd

        name = table if table in metadata.tables else table.removesuffix("s")
        if name not in metadata.tables:
            raise UsageError(f"`{table}` is not a table", hint=f"tables: {', '.join(metadata.tables)}")
        with self.read() as connection:
            return pd.read_sql(sa.select(metadata.tables[name]), connection)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # SQLAlchemy's recipe: we send BEGIN ourselves, in _begin_sqlite
    connection.execute(f"pragma busy_timeout={int(BUSY_S * 1000)}")
    # Fetch the answer: `journal_mode` reports a failure only there (anchor reliability.md 3.4, trap b).
    mode = connection.execute("pragma journal_mode=wal").fetchone()[0]
    if mode not in ("wal", "memory"):
        raise CollectError(
            f"the catalog cannot use WAL mode here (SQLite answered `{mode}`)",
            hint="put the workspace on a local disk, not on a network share",
        )
    connection.execute("pragma synchronous=full")
    connection.execute("pragma foreign_keys=on")


def _begin_sqlite(connection: sa.Connection) -> None:
    # IMMEDIATE takes the write lock at once: a deferred one fails with "locked" when two readers become writers.
    write = connection.get_execution_options().get("collect_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _engine(url: str) -> sa.Engine:
    try:
        if url.startswith("sqlite:///"):  # the rest is a path, whatever characters it has
            parsed = sa.URL.create("sqlite", database=url.removeprefix("sqlite:///"))
        else:
            parsed = sa.make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        # Without this an INSERT on PostgreSQL does not say whether it wrote its row.
        return sa.create_engine(parsed, execution_options={"preserve_rowcount": True})
    except (sa.exc.ArgumentError, ImportError) as error:
        raise UsageError(
            f"`workspace.catalog` cannot be opened: {error}",
            hint="use sqlite:///PATH, or postgresql://USER@HOST/NAME after `pip install collect-dataset[scale]`",
        ) from None


@contextmanager
def _explained(place: str) -> Iterator[None]:
    try:
        yield
    except sa.exc.DBAPIError as error:
        explanation = _explanation(place, str(error.orig), error.connection_invalidated)
        if explanation is None:
            raise
        raise explanation from error


def _explanation(place: str, said: str, broken: bool) -> CollectError | None:
    disk_trouble = any(words in said for words in ("disk I/O error", "unable to open", "readonly", "disk is full"))
    if "disk is full" in said or (disk_trouble and _no_space(place)):
        return DiskFull(f"the disk that holds {place} is full", hint="free some space, then run the same command again")
    if "not a database" in said or "malformed" in said:
        return CollectError(
            f"{place} is not a catalog that SQLite can read: {said}",
            hint="restore it from a backup; the pictures in the store are untouched",
        )
    if "locked" in said:
        return CollectError(
            f"the catalog {place} stayed locked for {BUSY_S:.0f} s",
            hint="another process is writing; run the same command again when it has finished",
        )
    if disk_trouble:
        return CollectError(f"cannot use the catalog {place}: {said}", hint="check the disk and its permissions")
    if broken or "connection" in said:
        return ServiceDown(f"the catalog {place} does not answer: {said.splitlines()[0]}", hint="start the server")
    return None


def _no_space(path: str) -> bool:
    try:
        stat = os.statvfs(Path(path).parent)
    except OSError:
        return False
    return stat.f_bavail * stat.f_frsize < 100_000 or (stat.f_files > 0 and stat.f_favail == 0)
