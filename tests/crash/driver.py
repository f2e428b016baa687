"""The import under test, and the mistakes that are planted in it to prove that the harness would find them.

It runs in a forked child of a process that has everything imported, so one run costs a tenth of a second, and it stops
itself until strace has attached.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import alembic.script  # noqa: F401  (imported here, before the fork, so that no run pays for it)
import sqlalchemy as sa
from PIL import Image

from collector import durable
from collector.catalog import images
from collector.catalog.database import Catalog
from collector.config import IntakeConfig
from collector.errors import CollectError
from collector.intake import Picture, commit, judge, taking_in
from collector.records import License, Outcome, Rejected, Sighting
from collector.store import Store
from collector.workspace import Workspace

SOURCE = "folder"
CONCEPT = "horse"
PR_SET_PTRACER = 0x59616D61
PR_SET_PTRACER_ANY = -1
CRASHED = 70

Image.init()  # Pillow's plug-ins too: a lazy import inside the run would move the syscall counts


def import_pictures(workspace: Path, pictures: Path, acknowledge: Callable[[str], None]) -> None:
    """Take every file of a folder in; a line `NAME OUTCOME IMAGE-OR-REASON` is acknowledged after each group.

    The steps are those of `Intake`, in one thread, since strace counts the calls of each thread for itself.
    """
    with Workspace.open(workspace / "config.toml", environ={}) as ws:
        ws.concept(CONCEPT, create=True)
        files = sorted(pictures.iterdir())
        with taking_in(ws):
            for some in (files[:1], files[1:2], files[2:]):
                group = [
                    Picture(Sighting(SOURCE, file.name, file.name, License("own"), concept=CONCEPT), file.read_bytes())
                    for file in some
                ]
                durable.MANY = 99 if len(some) == 1 else 1  # both ways to make files durable, whatever their number
                for each in group:
                    judge(each, ws.section(IntakeConfig))
                for file, outcome in zip(some, commit(ws, group), strict=True):
                    what = outcome.reason if isinstance(outcome, Rejected) else outcome.image
                    acknowledge(f"{file.name} {type(outcome).__name__} {what}")


def start(workspace: Path, pictures: Path, acks: Path, mistake: str = "") -> int:
    """Fork a run that waits, stopped, for SIGCONT; returns its pid. Errors go to `acks` with the ending `.error`."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, os.WUNTRACED)
        return pid
    status = CRASHED
    try:
        handle = os.open(acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        MISTAKES[mistake]()
        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(PR_SET_PTRACER_ANY), 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        import_pictures(workspace, pictures, lambda line: write_all(handle, line))
        status = 0
    except CollectError as error:
        status = error.exit_code
        acks.with_suffix(".error").write_text(f"{type(error).__name__}: {error.message}\n{error.hint}")
    except BaseException:
        acks.with_suffix(".error").write_text(traceback.format_exc())
    finally:
        os._exit(status)


def write_all(handle: int, line: str) -> None:
    """One write call for one line: the outside world learns a whole fact or none."""
    os.write(handle, f"{line}\n".encode())


def _forget_fsync(forgotten: Callable[[int], bool]) -> None:
    real = os.fsync

    def fsync(handle: int) -> None:
        if not forgotten(os.fstat(handle).st_mode):
            real(handle)

    os.fsync = fsync  # type: ignore[assignment]


def _forget_syncfs() -> None:
    durable.SYNCFS = lambda handle: 0


def _pragma(text: str) -> None:
    # After the catalog's own listener, so this one has the last word.
    plain = Catalog.__init__

    def init(self: Catalog, url: str) -> None:
        plain(self, url)
        sa.event.listen(self.engine, "connect", lambda connection, _: connection.execute(text))

    Catalog.__init__ = init  # type: ignore[method-assign]


def _row_before_file() -> None:
    put_all, write = Store.put_all, images.write
    late: list[tuple[Store, Mapping[str, bytes]]] = []

    def remember(self: Store, files: Mapping[str, bytes]) -> None:
        late.append((self, files))

    def rows_first(*arguments: Any) -> list[Outcome]:
        outcomes = write(*arguments)
        while late:
            put_all(*late.pop())
        return outcomes

    Store.put_all = remember  # type: ignore[method-assign]
    images.write = rows_first  # type: ignore[assignment]


MISTAKES: dict[str, Callable[[], None]] = {
    "": lambda: None,
    "no fsync of the file": lambda: _forget_fsync(stat.S_ISREG),
    "no fsync of the folder": lambda: _forget_fsync(stat.S_ISDIR),
    "no syncfs": _forget_syncfs,
    "synchronous=OFF": lambda: _pragma("pragma synchronous=off"),
    "synchronous=NORMAL": lambda: _pragma("pragma synchronous=normal"),
    "row before file": _row_before_file,
}
