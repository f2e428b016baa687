"""The import under test, and the mistakes that are planted in it to prove that the harness would find them.

It runs in a forked child of a process that has everything imported, so one run costs a tenth of a second, and it stops
itself until strace has attached.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import stat
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import alembic.script  # noqa: F401  (imported here, before the fork, so that no run pays for it)
import sqlalchemy as sa
from PIL import Image

from collector import intake
from collector.catalog import images
from collector.catalog.database import Catalog
from collector.errors import CollectError
from collector.records import License, Rejected, Sighting
from collector.store import Store
from collector.workspace import Workspace

SOURCE = "folder"
CONCEPT = "horse"
PR_SET_PTRACER = 0x59616D61
PR_SET_PTRACER_ANY = -1
CRASHED = 70

Image.init()  # Pillow's plug-ins too: a lazy import inside the run would move the syscall counts


def import_pictures(workspace: Path, pictures: Path, acknowledge: Callable[[str], None]) -> None:
    """Take every file of a folder in; a line `NAME OUTCOME IMAGE-OR-REASON` is acknowledged after each."""
    with Workspace.open(workspace / "config.toml", environ={}) as ws:
        ws.concept(CONCEPT, create=True)
        with intake.taking_in(ws):
            for file in sorted(pictures.iterdir()):
                seen = Sighting(SOURCE, file.name, file.name, License("own"), concept=CONCEPT)
                outcome = intake.take_in(ws, file.read_bytes(), seen)
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


def _pragma(text: str) -> None:
    # After the catalog's own listener, so this one has the last word.
    plain = Catalog.__init__

    def init(self: Catalog, url: str) -> None:
        plain(self, url)
        sa.event.listen(self.engine, "connect", lambda connection, _: connection.execute(text))

    Catalog.__init__ = init  # type: ignore[method-assign]


def _row_before_file() -> None:
    put, add = Store.put, images.add
    late: list[tuple[Store, bytes]] = []

    def remember(self: Store, data: bytes) -> str:
        late.append((self, data))
        return hashlib.sha256(data).hexdigest()

    def row_first(*arguments: Any) -> bool:
        added = add(*arguments)
        put(*late.pop())
        return added

    Store.put = remember  # type: ignore[method-assign]
    images.add = row_first  # type: ignore[assignment]


MISTAKES: dict[str, Callable[[], None]] = {
    "": lambda: None,
    "no fsync of the file": lambda: _forget_fsync(stat.S_ISREG),
    "no fsync of the folder": lambda: _forget_fsync(stat.S_ISDIR),
    "synchronous=OFF": lambda: _pragma("pragma synchronous=off"),
    "synchronous=NORMAL": lambda: _pragma("pragma synchronous=normal"),
    "row before file": _row_before_file,
}
