"""Label Studio's database: SQLite in its data folder, or PostgreSQL by URL, at the schema of the pinned version.

Label Studio would create and migrate it itself while it starts. We do it before, for three reasons: the 400 migrations
take 25 s and a start that is killed among them leaves half a schema; a database of an older Label Studio is copied
before it is changed, since there is no way back; and one of a newer Label Studio is refused, where Label Studio itself
would work on it and break in the middle.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from shutil import copyfile
from urllib.parse import parse_qs, unquote, urlsplit

from collector.durable import explained
from collector.errors import CollectError, UsageError
from collector.workspace import Progress, silent
from labeling import environment
from labeling.studio import VERSION

FILE = "label_studio.sqlite3"
MIGRATE_S = 900
PASSWORD = "COLLECT_LABEL_DATABASE_PASSWORD"


def variables(url: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What tells Label Studio of the database at `url` (empty: SQLite); the password may be in `PASSWORD` instead.

    Label Studio spells them POSTGRE_. The values stand in the environment of its process only, never in its arguments.
    """
    if not url:
        return {"DJANGO_DB": "sqlite"}
    try:
        parts = urlsplit(url)
        host = parse_qs(parts.query).get("host", [parts.hostname or "localhost"])[0]
        port, name = parts.port or 5432, unquote(parts.path.strip("/"))
        if parts.scheme not in ("postgresql", "postgres") or not name:
            raise ValueError
    except ValueError:  # the URL may hold a password, so it is not repeated
        raise UsageError(
            "`label.database` is not the address of a PostgreSQL database",
            hint=f'for example "postgresql://labeler@db.example:5432/labels", and the password in {PASSWORD}',
        ) from None
    return {
        "DJANGO_DB": "default",
        "POSTGRE_HOST": host,
        "POSTGRE_PORT": str(port),
        "POSTGRE_NAME": name,
        "POSTGRE_USER": unquote(parts.username or "postgres"),
        "POSTGRE_PASSWORD": unquote(parts.password or "") or environ.get(PASSWORD, ""),
    }


def prepare(folder: Path, url: str, progress: Progress = silent) -> None:
    """Bring the database of the Label Studio in `folder` to the schema of `VERSION`.

    Raises:
        CollectError: PostgreSQL does not answer, the database is of a newer Label Studio, or its migration failed.
    """
    if url:
        progress("preparing Label Studio's database in PostgreSQL", 0, None)
        _migrate(folder, variables(url), "check `label.database`, and that PostgreSQL runs and knows user and database")
        return
    template = _template(progress)
    if not (folder / FILE).exists():
        _place(template, folder / FILE)
        return
    ours, theirs = _migrations(template), _migrations(folder / FILE)
    if theirs - ours:
        raise CollectError(
            f"{folder / FILE} was made by a newer Label Studio than {VERSION} (it has {min(theirs - ours)})",
            hint="use the collect that made it, or put the copy back that was made before the upgrade",
        )
    if ours - theirs:
        kept = folder / f"label_studio.before-{VERSION}.sqlite3"
        progress(f"keeping {kept.name}, then upgrading Label Studio's database", 0, None)
        if not kept.exists():  # an upgrade that was killed has made it, and what is there now is half upgraded
            _place(folder / FILE, kept)
        _migrate(folder, variables(url), f"the database as it was before is {kept}")


def _template(progress: Progress) -> Path:
    """An empty database (no user, no secret) in the user's cache, made once on this machine, whole or not at all."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "collect"
    template = cache / f"label-studio-{VERSION}.sqlite3"
    if not template.exists():
        progress("preparing Label Studio's database (once on this machine)", 0, None)
        with explained(cache):
            cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                _migrate(Path(scratch), variables(""), "free some disk space and memory, then run it again")
                _place(Path(scratch) / FILE, template)
    return template


def _migrate(folder: Path, database: Mapping[str, str], hint: str) -> None:
    known = environment.variables(folder) | dict(database)
    # `version` ends after the migrations; the whole traceback of a failure would say little more than its last line.
    trouble = environment.run([*environment.command(folder, database_place(database)), "version"], known, MIGRATE_S)
    if trouble is not None:
        raise CollectError(f"Label Studio could not prepare its database: {trouble}", hint=hint)


def database_place(database: Mapping[str, str]) -> tuple[str, ...]:
    """HOST:PORT of a PostgreSQL server, which Label Studio may look for; nothing for SQLite and for a Unix socket."""
    host = database.get("POSTGRE_HOST", "/")
    return () if host.startswith("/") else (f"{host}:{database['POSTGRE_PORT']}",)


def _migrations(path: Path) -> set[str]:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return {f"{app}.{name}" for app, name in database.execute("select app, name from django_migrations")}
    except sqlite3.Error as error:
        raise CollectError(
            f"{path} cannot be read as Label Studio's database: {error}", hint="restore it from a backup"
        ) from None


def _place(source: Path, target: Path) -> None:
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    if source.parent == target.parent:  # a database in use may have a journal beside it
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(draft)) as new:
            old.backup(new)
    else:
        copyfile(source, draft)
    draft.chmod(0o600)
    with open(draft, "rb") as file:
        os.fsync(file.fileno())
    draft.replace(target)
