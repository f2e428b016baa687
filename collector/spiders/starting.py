"""Starts crawling processes, also before there is anything to tell them.

Importing Scrapy takes a second, and so does the rest of a command: a process that is started first does its half of the
work meanwhile. It gets its order on stdin, and one that gets none ends with us.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

Child = subprocess.Popen[bytes]
_ahead: list[Child] = []


@contextmanager
def started_ahead(processes: int) -> Iterator[None]:
    """Start processes now for whoever calls `started` in the block; those that nobody needed are ended after it."""
    _ahead.extend(_start() for _ in range(processes))
    try:
        yield
    finally:
        while _ahead:
            with _ahead.pop() as child:
                child.kill()


def started(processes: int) -> list[Child]:
    """Crawling processes that wait for their orders."""
    return [_ahead.pop() if _ahead else _start() for _ in range(processes)]


def _start() -> Child:
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "collector.spiders.process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C reaches us only, and we stop the children in order
    )
