from __future__ import annotations

import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from collector.errors import CollectError, UsageError
from labeling import database, server
from labeling.config import LabelConfig
from labeling.server import LOG, Server
from labeling.studio import VERSION

NOTHING_DONE_BY_IT = "0013_alter_blacklistedtoken_options_and_more"  # a migration that changes no table


def test_a_url_becomes_label_studios_variables_and_may_leave_the_password_to_the_environment() -> None:
    assert database.variables("postgresql://ann:s%40crt@db.example:5433/labels") == {
        "DJANGO_DB": "default",
        "POSTGRE_HOST": "db.example",
        "POSTGRE_PORT": "5433",
        "POSTGRE_NAME": "labels",
        "POSTGRE_USER": "ann",
        "POSTGRE_PASSWORD": "s@crt",
    }
    short = database.variables("postgres:///labels?host=/run/postgresql", {database.PASSWORD: "s3cret"})
    assert (short["POSTGRE_HOST"], short["POSTGRE_PASSWORD"]) == ("/run/postgresql", "s3cret")
    assert database.database_place(short) == ()
    assert database.variables("") == {"DJANGO_DB": "sqlite"}  # a stray DJANGO_DB of the caller means nothing


@pytest.mark.parametrize("url", ["mysql://a:s3cret@h/n", "postgresql://a:s3cret@h/", "postgresql://a:s3cret@h:port/n"])
def test_a_url_that_is_none_is_refused_without_repeating_its_password(url: str) -> None:
    with pytest.raises(UsageError, match=r"`label\.database`") as caught:
        database.variables(url)
    assert "s3cret" not in caught.value.message + caught.value.hint


@pytest.fixture
def kept(studio_server: Server, tmp_path: Path) -> Path:
    """A folder with a copy of the database of the running server."""
    with (
        closing(sqlite3.connect(studio_server.folder / database.FILE)) as old,
        closing(sqlite3.connect(tmp_path / database.FILE)) as new,
    ):
        old.backup(new)
    return tmp_path


def _change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as opened, opened:
        opened.execute(statement)


def _applied(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as opened:
        return [
            name for (name,) in opened.execute("select name from django_migrations where name like '0013_alter_bl%'")
        ]


@pytest.mark.studio
def test_an_older_database_is_copied_before_it_is_upgraded_and_the_first_copy_stays(kept: Path) -> None:
    _change(kept / database.FILE, f"delete from django_migrations where name = '{NOTHING_DONE_BY_IT}'")
    database.prepare(kept, "")
    copy = kept / f"label_studio.before-{VERSION}.sqlite3"
    assert _applied(copy) == []
    assert _applied(kept / database.FILE) == [NOTHING_DONE_BY_IT]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    before = copy.read_bytes()
    database.prepare(kept, "")
    assert copy.read_bytes() == before


@pytest.mark.studio
def test_a_newer_or_a_broken_database_is_refused_and_left_as_it_is(kept: Path) -> None:
    path = kept / database.FILE
    _change(path, "insert into django_migrations (app, name, applied) values ('tasks', '9999_later', '2030-01-01')")
    before = path.read_bytes()
    with pytest.raises(CollectError, match=rf"newer Label Studio than {VERSION} \(it has tasks.9999_later\)") as caught:
        database.prepare(kept, "")
    assert "copy" in caught.value.hint
    assert path.read_bytes() == before
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(CollectError, match="cannot be read") as caught:
        database.prepare(kept, "")
    assert "backup" in caught.value.hint


@pytest.mark.studio
@pytest.mark.slow
def test_label_studio_works_on_postgresql_and_its_password_stands_nowhere(
    postgres: str, tmp_path: Path, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = sa.create_engine(f"{postgres}/postgres".replace("sql:", "sql+psycopg:"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text("create database labels"))
    admin.dispose()
    folder, url = tmp_path / "studio", f"{postgres}/labels"
    with pytest.raises(CollectError, match="does not exist") as caught:
        database.prepare(tmp_path, f"{postgres}/nowhere")
    assert "label.database" in caught.value.hint
    monkeypatch.setenv(database.PASSWORD, "s3cret of postgres")
    config = LabelConfig(port=free_port(), database=url)
    try:
        started = server.start(folder, tmp_path / "store", config)
        lines = [process.read_bytes() for process in Path("/proc").glob("[0-9]*/cmdline")]
        assert not any(b"s3cret of postgres" in line for line in lines)
        assert "s3cret of postgres" not in (folder / LOG).read_text()
        with started.connect() as studio:
            studio.create_project("kept in PostgreSQL", "<View><Text name='t' value='$text'/></View>", "")
            assert list(studio.projects()) == ["kept in PostgreSQL"]
        assert not (folder / database.FILE).exists()
    finally:
        server.stop(folder)
        shutil.rmtree(folder, ignore_errors=True)
