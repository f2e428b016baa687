"""The child processes of one crawl: started, listened to, added up, and stopped together."""

from __future__ import annotations

import hashlib
import json
import queue
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from collector import errors
from collector.config import PREFIX, Settings
from collector.errors import CollectError
from collector.spiders.budget import CELL
from collector.spiders.starting import Child, started
from collector.workspace import Workspace

STOP_S = 5.0
LOG_BYTES = 5_000_000  # a log that has grown beyond this begins anew


def run(ws: Workspace, order: Mapping[str, Any], *, processes: int) -> dict[str, Any]:
    """Run the children to their end, pass their progress on, and return what they told last, added up."""
    log = ws.data / "logs" / f"{order.get('kind', 'crawl')}-{file_name(order['concept'])}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if _size(log) >= LOG_BYTES:
        log.unlink()
    with ExitStack() as stack:
        shared = stack.enter_context(tempfile.NamedTemporaryFile(prefix="collect-"))
        shared.write(bytes(CELL.size * processes))
        shared.flush()
        children = [stack.enter_context(child) for child in started(processes)]
        told_all = {**order, "log": str(log), "shared": shared.name, "environment": as_environment(ws.settings)}
        try:
            for index, child in enumerate(children):
                assert child.stdin is not None
                child.stdin.write(json.dumps({**told_all, "shard": [index, processes]}, default=str).encode() + b"\n")
                child.stdin.flush()
            told = _listen(ws, order, children)
        except BrokenPipeError:
            told = []  # it died before it read its order; explained below
        except BaseException:
            _stop(children)
            raise
        if len(told) == processes:
            return _added_up(told)
        _stop(children)
        code = next((child.returncode for child in children if child.wait()), 1)
    raise CollectError(
        f"the crawling process stopped unexpectedly (exit {code})",
        hint=f"what was fetched is saved, the same command continues; the log is {log}",
    )


def _listen(ws: Workspace, order: Mapping[str, Any], children: list[Child]) -> list[dict[str, Any]]:
    """The last words of all children; fewer when one has died."""
    events: queue.SimpleQueue[tuple[int, dict[str, Any]]] = queue.SimpleQueue()
    for index, child in enumerate(children):
        threading.Thread(target=_read, args=(index, child, events), daemon=True).start()
    lines = _Lines(ws, str(order["concept"]), rechecks=order.get("kind") == "recheck")
    told: list[dict[str, Any]] = []
    while len(told) < len(children):
        index, event = events.get()
        if not event:
            break
        if event["event"] == "progress":
            lines.show(index, event)
        elif event["event"] == "error":
            raise getattr(errors, event["kind"])(event["message"], hint=event["hint"])
        else:
            told.append(event)
    return told


def _read(index: int, child: Child, events: queue.SimpleQueue[tuple[int, dict[str, Any]]]) -> None:
    """Pass on what a child tells; an empty event when it ends without a last word."""
    assert child.stdout is not None
    for line in child.stdout:
        event = json.loads(line)
        events.put((index, event))
        if event["event"] != "progress":
            return
    events.put((index, {}))


class _Lines:
    """A line for each source: kept, seen, rate, and how long it will take."""

    def __init__(self, ws: Workspace, concept: str, *, rechecks: bool) -> None:
        self._ws, self._concept, self._rechecks = ws, concept, rechecks
        self._latest: dict[str, dict[int, dict[str, int]]] = {}
        self._first: dict[str, tuple[float, int]] = {}

    def show(self, child: int, event: dict[str, Any]) -> None:
        source = event["source"]
        rows = self._latest.setdefault(source, {})
        rows[child] = event
        if self._rechecks:
            done = sum(row["seen"] for each in self._latest.values() for row in each.values())
            self._ws.progress(f"asking again: {source}", done, event["limit"])
            return
        kept, seen = (sum(row[name] for row in rows.values()) for name in ("kept", "seen"))
        began, before = self._first.setdefault(source, (time.monotonic(), kept))
        share = min(max(kept, max(row["share"] for row in rows.values())), event["limit"])
        passed = time.monotonic() - began
        rate = (kept - before) / passed if passed > 0.5 else 0.0
        left = f", {(share - kept) / rate:.0f} s left" if rate and share > kept else ""
        text = f"{self._concept} from {source}: {seen} seen, {rate:.1f}/s{left}, kept"
        self._ws.progress(text, kept, share)


def _added_up(told: list[dict[str, Any]]) -> dict[str, Any]:
    total = told[0]
    for other in told[1:]:
        total["ended"] = {**other["ended"], **{name: why for name, why in total["ended"].items() if why}}
        total["down"] = sorted({*total["down"], *other["down"]})
        total["seen"] += other["seen"]
        for name in ("asked", "notes"):
            for source, lines in other[name].items():
                total[name].setdefault(source, []).extend(lines)
        for source, stats in other["stats"].items():
            mine = total["stats"].setdefault(source, {})
            for key, value in stats.items():
                number = isinstance(value, int | float) and isinstance(mine.get(key, 0), int | float)
                mine[key] = mine.get(key, 0) + value if number else value
    return total


def _stop(children: list[Child]) -> None:
    for child in children:
        child.terminate()
    deadline = time.monotonic() + STOP_S
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def file_name(concept: str) -> str:
    """A concept's name where it can be a file's name, else its hash."""
    plain = re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,60}", concept)
    return concept if plain else hashlib.sha256(concept.encode()).hexdigest()[:16]


def as_environment(settings: Settings) -> dict[str, str]:
    """The settings that came from the environment or the command line, as variables that say the same to a child."""
    environ = {}
    for dotted, name in settings.origin.items():
        if name.startswith(PREFIX):
            value: Any = settings.raw
            for key in dotted.split("."):
                value = value[key]
            environ[name] = value if isinstance(value, str) else json.dumps(value)
    return environ
