"""The record book keeps what it was told, on SQLite and on PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from collector.catalog import Catalog, concepts, images, now, tables
from collector.catalog.database import HEAD
from collector.catalog.images import Arrival
from collector.errors import CollectError, ServiceDown, UsageError
from collector.fingerprints import Fingerprint
from collector.records import Concept, Kept, Known, License, Rejected, Sighting
from tests.conftest import REPOSITORY

IMAGE = "ab" * 32
RECORD = {
    "bytes": 1,
    "width": 100,
    "height": 100,
    "format": "JPEG",
    "mode": "RGB",
    "frames": 1,
    "orientation": 1,
    "preview_pack": None,
    "preview_offset": None,
    "preview_bytes": None,
}
SEEN = Sighting("folder", "1", "1.jpg", License("own"), concept="horse")
ARRIVAL = Arrival(SEEN, IMAGE, RECORD, [Fingerprint("phash64/lanczos32", "00", 1.0)])


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'catalog.sqlite'}"


@pytest.fixture(scope="module")
def migrated(postgres: str) -> str:
    """The name of a database of the server that all migrations made: others are copies of it."""
    with _admin(postgres) as connection:
        connection.execute(sa.text("create database migrated"))
    Catalog.open(f"{postgres}/migrated").close()
    return "migrated"


@contextlib.contextmanager
def _admin(server: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(f"{server}/postgres".replace("sql:", "sql+psycopg:"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalog]:
    """An empty catalog on each engine."""
    if request.param == "sqlite":
        opened = Catalog.open(sqlite_url(tmp_path))
    else:
        server = request.getfixturevalue("postgres")
        name = re.sub(r"\W", "_", tmp_path.name)[-50:].lower()
        template = request.getfixturevalue("migrated")
        with _admin(server) as connection:
            connection.execute(sa.text(f'create database "{name}" template {template}'))
        opened = Catalog.open(f"{server}/{name}")
    yield opened
    opened.close()


@pytest.fixture
def filled(catalog: Catalog) -> Catalog:
    """A catalog with one row in every append-only table, and in those that they point to."""
    concepts.put(catalog, Concept("horse", ("horse", "not-horse")))
    assert images.write(catalog, [ARRIVAL]) == [Kept(IMAGE)]
    images.reject(catalog, SEEN, Rejected("too-small", "9 x 9"))
    at = {"concept": "horse", "image": IMAGE}
    rows: dict[str, dict[str, Any]] = {
        "annotator": {"name": "ann", "email": "", "added_at": now()},
        "model_run": {"id": "m", "backbone": "b", "weights_digest": "", "transform_digest": "", "made_at": now()},
        "annotation": {**at, "annotator": "ann", "state": "answered", "note": "", "content": "c", "seen_at": now()},
        "prediction": {**at, "model_run": "m", "label": "horse", "score": 1, "predicted_at": now()},
        "erratum": {
            **at, "was": "a", "should_be": "b", "severity": "s", "why": "w", "opened_by": "ann", "opened_at": now()
        },
        "verdict": {"first": at["image"], "second": at["image"], "same": True, "by": "ann", "said_at": now()},
        "resolution": {"erratum": 1, "state": "applied", "by": "ann", "at": now()},
        "round": {"id": 1, "concept": "horse", "name": "pool", "opened_at": now()},
        "guideline": {"round": 1, "version": 1, "text": "t", "hash": "h", "shown_at": now()},
        "snapshot": {"digest": "s", "concept": "horse", "made_at": now()},
        "experiment": {"run": "r", "concept": "horse", "snapshot": "s", "state": "finished", "started_at": now()},
        "opening": {"run": "r", "snapshot": "s", "split": "test", "opened_at": now()},
        "forgotten": {"kind": "url", "value": "https://x/1", "at": now()},
    }  # fmt: skip
    with catalog.write() as connection:
        for table, row in rows.items():
            connection.execute(sa.insert(tables.metadata.tables[table]).values(_complete(table, row)))
    return catalog


def _complete(table: str, row: dict[str, Any]) -> dict[str, Any]:
    """The row with a harmless value in every other column that needs one."""
    empty: dict[type, Any] = {str: "", int: 0, float: 0.0, bool: False}
    needed = {
        column.name: {} if isinstance(column.type, sa.JSON) else empty[column.type.python_type]
        for column in tables.metadata.tables[table].columns
        if not column.nullable and not column.primary_key and not column.foreign_keys
    }
    return needed | row


GROWING = (
    "annotation",
    "prediction",
    "rejection",
    "erratum",
    "resolution",
    "guideline",
    "verdict",
    "opening",
    "forgotten",
)


@pytest.mark.parametrize("table", GROWING)
@pytest.mark.parametrize("verb", ["update", "delete"])
def test_the_database_itself_refuses_to_change_what_was_said(filled: Catalog, table: str, verb: str) -> None:
    statement = {"update": f"update {table} set id = 99", "delete": f"delete from {table}"}[verb]
    before = filled.frame(table)
    assert len(before) == 1
    refusal = f"{table} rows are never changed: add a new row instead"
    with pytest.raises(sa.exc.DBAPIError, match=refusal), filled.write() as connection:
        connection.execute(sa.text(statement))
    assert filled.frame(table).equals(before)


def test_every_append_only_table_is_tried() -> None:
    assert set(tables.APPEND_ONLY) == set(GROWING)


def test_the_migration_makes_exactly_the_tables_of_tables_py(catalog: Catalog) -> None:
    with catalog.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []
    assert catalog.revision() == HEAD


def test_opening_twice_changes_nothing(catalog: Catalog) -> None:
    concepts.put(catalog, Concept("horse", ("horse", "not-horse")))
    catalog.migrate()
    assert [concept.name for concept in concepts.all_concepts(catalog)] == ["horse"]


def test_a_workspace_of_a_newer_version_is_refused_in_words(catalog: Catalog, tmp_path: Path) -> None:
    with catalog.write() as connection:
        connection.execute(sa.text("update alembic_version set version_num = '9999'"))
    with pytest.raises(UsageError, match="written by a newer version") as refused:
        Catalog.open(catalog.engine.url.render_as_string(hide_password=False))
    assert refused.value.exit_code == 2
    assert "upgrade collect" in refused.value.hint


def test_the_same_row_is_written_once(filled: Catalog) -> None:
    assert images.write(filled, [ARRIVAL, Arrival(SEEN, IMAGE)]) == [Known(IMAGE), Known(IMAGE)]
    images.reject(filled, SEEN, Rejected("too-small", "9 x 9"))
    counts = [len(filled.frame(table)) for table in ("images", "sightings", "rejections", "fingerprints")]
    assert counts == [1, 1, 1, 1]


def test_writers_agree_on_who_was_first_and_never_wait_in_a_ring(filled: Catalog) -> None:
    concepts.put(filled, Concept("zebra", ("zebra", "not-zebra")))
    names, together = [f"{n:064}" for n in range(60)], threading.Barrier(3)

    def work(me: int) -> list[str]:
        draw, first = random.Random(me), []
        catalog = Catalog.open(filled.engine.url.render_as_string(hide_password=False))
        for n in range(0, len(names), 4):
            together.wait(60)
            for concept in ("horse", "zebra"):
                arrivals = [
                    Arrival(replace(SEEN, source_id=f"{me}-{name}", concept=concept), name, RECORD, ARRIVAL.prints)
                    for name in draw.sample(names[n : n + 4], 4)
                ]
                for each, outcome in zip(arrivals, images.write(catalog, arrivals), strict=True):
                    if isinstance(outcome, Kept) or (isinstance(outcome, Known) and outcome.new_here):
                        first.append(concept + each.image)
        catalog.close()
        return first

    with ThreadPoolExecutor(3) as pool:
        first = [each for found in pool.map(work, range(3)) for each in found]
    assert sorted(first) == sorted(concept + name for concept in ("horse", "zebra") for name in names)


def test_a_failed_transaction_leaves_nothing(filled: Catalog) -> None:
    orphan = sa.insert(tables.fingerprint).values(image="nobody", algorithm="a", value="", quality=0)
    with contextlib.suppress(sa.exc.IntegrityError), filled.write() as connection:
        connection.execute(sa.insert(tables.concept).values(_complete("concept", {"name": "zebra"})))
        connection.execute(orphan)
        pytest.fail("a fingerprint of no image was written")
    assert [concept.name for concept in concepts.all_concepts(filled)] == ["horse"]


@pytest.mark.parametrize("text", ["nul \0 byte", "half \ud83d emoji", "馬 🐴", "'; drop table image; --"])
def test_strangers_text_never_stops_a_crawl(filled: Catalog, text: str) -> None:
    seen = Sighting(
        "web",
        "2",
        text,
        License("by", evidence=text),
        "horse",
        title=text,
        creator=text,
        page=text,
        facts={"a": [text]},
    )
    assert images.write(filled, [Arrival(seen, IMAGE)]) == [Known(IMAGE)]
    images.reject(filled, seen, Rejected("broken", text))
    assert len(filled.frame("sighting")) == 2


def test_sqlite_runs_in_wal_mode_with_full_synchronous_writes(tmp_path: Path) -> None:
    catalog = Catalog.open(sqlite_url(tmp_path))
    with catalog.read() as one, catalog.read() as two:  # two connections: every new one is set up
        for connection in (one, two):
            asked = [connection.exec_driver_sql(f"pragma {name}").scalar() for name in ("journal_mode", "synchronous")]
            assert asked == ["wal", 2]
            assert connection.exec_driver_sql("pragma foreign_keys").scalar() == 1
    catalog.close()


def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    catalog = Catalog.open(sqlite_url(tmp_path))
    with catalog.write() as writer:
        writer.execute(sa.insert(tables.concept).values(_complete("concept", {"name": "zebra"})))
        assert concepts.all_concepts(catalog) == []
    assert len(concepts.all_concepts(catalog)) == 1
    catalog.close()


WRITER = """
import sys
from collector.catalog import Catalog, images
from collector.records import License, Sighting, Rejected
from collector.locks import named_lock
from pathlib import Path
from collector.catalog import concepts
from collector.records import Concept
url, me, folder = sys.argv[1:]
catalog = Catalog.open(url, lock=named_lock(Path(folder), "migrate", wait_s=60))
concepts.put(catalog, Concept("horse", ("horse", "not-horse"))) if me == "0" else None
while not concepts.all_concepts(catalog): pass
for n in range(50):
    seen = Sighting("folder", f"{me}-{n}", "", License("own"), concept="horse")
    images.reject(catalog, seen, Rejected("broken", "x"))
    images.rejected_ids(catalog, "horse", "folder")
catalog.close()
"""


def test_processes_that_open_a_fresh_catalog_and_write_at_once_wait_for_each_other(tmp_path: Path) -> None:
    url, count = sqlite_url(tmp_path), 3
    arguments = [sys.executable, "-c", WRITER, url]
    processes = [
        subprocess.Popen([*arguments, str(n), str(tmp_path)], stderr=subprocess.PIPE, text=True, cwd=REPOSITORY)
        for n in range(count)
    ]
    assert [process.communicate()[1] for process in processes] == [""] * count
    assert [process.returncode for process in processes] == [0] * count
    with contextlib.closing(sqlite3.connect(tmp_path / "catalog.sqlite")) as database:
        assert database.execute("select count(distinct source_id) from rejection").fetchone() == (50 * count,)


def test_a_process_killed_in_a_transaction_locks_nobody_out(tmp_path: Path) -> None:
    Catalog.open(sqlite_url(tmp_path)).close()
    code = """if True:
        import sys, time
        from collector.catalog import Catalog
        with Catalog.open(sys.argv[1]).write():
            print("writing", flush=True)
            time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", code, sqlite_url(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        os.kill(process.pid, signal.SIGKILL)
    catalog = Catalog.open(sqlite_url(tmp_path))
    concepts.put(catalog, Concept("horse", ("horse", "not-horse")))
    catalog.close()


@pytest.mark.parametrize("content", [b"this is not a database, but it is long enough" * 100, b"\xff\xd8\xff" * 2000])
def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "catalog.sqlite").write_bytes(content)
    with pytest.raises(CollectError, match=r"catalog\.sqlite is not a catalog that SQLite can read") as refused:
        Catalog.open(sqlite_url(tmp_path))
    assert refused.value.hint
    assert (tmp_path / "catalog.sqlite").read_bytes() == content


def test_a_damaged_catalog_is_named(tmp_path: Path) -> None:
    catalog = Catalog.open(sqlite_url(tmp_path))
    concepts.put(catalog, Concept("horse", ("horse", "not-horse")))
    catalog.close()
    data = bytearray((tmp_path / "catalog.sqlite").read_bytes())
    data[100:] = bytes(len(data) - 100)
    (tmp_path / "catalog.sqlite").write_bytes(data)
    with pytest.raises(CollectError, match="not a catalog that SQLite can read"):
        concepts.all_concepts(Catalog.open(sqlite_url(tmp_path)))


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        ("nonsense", UsageError, "cannot be opened"),
        ("oracle9://x/y", UsageError, "cannot be opened"),
        ("sqlite:////proc/nowhere/catalog.sqlite", CollectError, "cannot use the catalog /proc/nowhere"),
    ],
)
def test_a_wrong_url_is_said_in_one_sentence(url: str, error: type[CollectError], said: str) -> None:
    with pytest.raises(error, match=said) as refused:
        Catalog.open(url)
    assert refused.value.hint


def test_a_server_that_does_not_answer_is_said_without_its_password() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused at once
        url = f"postgresql://me:secret@127.0.0.1:{taken.getsockname()[1]}/collect"
        with pytest.raises(ServiceDown) as refused:
            Catalog.open(url)
    assert "secret" not in refused.value.message + refused.value.hint
    assert "\n" not in refused.value.message


def test_a_catalog_may_lie_in_a_folder_of_any_name(tmp_path: Path) -> None:
    for name in ("what?", "100%", "a b#c", "馬"):
        (tmp_path / name).mkdir()
        Catalog.open(sqlite_url(tmp_path / name)).close()
        assert (tmp_path / name / "catalog.sqlite").stat().st_size > 0


def test_an_unknown_frame_is_refused_with_the_known_ones(catalog: Catalog) -> None:
    with pytest.raises(UsageError, match="`pictures` is not a table") as refused:
        catalog.frame("pictures")
    assert "image" in refused.value.hint
    assert list(catalog.frame("images").columns)[:2] == ["id", "bytes"]
