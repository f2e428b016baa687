"""Named locks for steps that must be alone in a workspace.

A lock is `flock` on a file, so the kernel gives it back when its holder dies, even by `kill -9`; the file's text says
who holds it. Works between processes of one machine, on a local disk.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from collector.durable import explained
from collector.errors import Busy


@contextmanager
def named_lock(folder: Path, name: str, *, shared: bool = False, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock `name`; raises `Busy` with the holder's pid and command when it is not free within `wait_s`."""
    path = folder / f"{name}.lock"
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _wait(handle, path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, time.monotonic() + wait_s)
        with suppress(OSError):  # on a full disk the lock holds all the same, only without its text
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps({"pid": os.getpid(), "command": _command(), "since": _now()}).encode(), 0)
        yield
    finally:
        os.close(handle)


def _wait(handle: int, path: Path, kind: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Busy(
                    f"another process is at `{path.stem}` in this workspace: {_holder(path)}",
                    hint="wait until it has finished, then run the same command again",
                ) from None
            time.sleep(0.05)


def _holder(path: Path) -> str:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return f"pid {said['pid']}, `{said['command']}`, since {said['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "it has not said who it is yet"


def _command() -> str:
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
