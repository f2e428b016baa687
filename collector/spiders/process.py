"""The process that crawls: `python -m collector.spiders.process`, started by runner.py for one crawl.

The order comes as one line of JSON on stdin; events leave as lines of JSON on stdout:

    {"event": "progress", "text": ..., "done": ..., "total": ...}
    {"event": "error", "kind": ..., "message": ..., "hint": ...}
    {"event": "end", "ended": {source: why}, "down": [...], "looked_at": ..., "planned": [...]}

stdin stays open for as long as the parent lives; its end ends this process at once, which is safe at any moment.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from scrapy.crawler import AsyncCrawlerProcess
from scrapy.utils.misc import load_object

from collector.catalog import images
from collector.config import IntakeConfig
from collector.errors import CollectError, StoppedShort
from collector.intake import THREADS, taking_in
from collector.spiders import BUILT_IN
from collector.spiders.base import Job
from collector.spiders.budget import Budget
from collector.spiders.config import CrawlConfig
from collector.spiders.settings import scrapy_settings
from collector.spiders.sources import NAMES, base_url
from collector.workspace import Workspace

STOP_S = 3.0  # seconds that requests in flight get when the crawl is stopped
PROGRESS_S = 0.1


def main() -> None:
    """Read the order, crawl, tell how it went."""
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with Workspace.open(order["config"]) as ws, nullcontext() if order["dry_run"] else taking_in(ws):
            job = _crawl(ws, order)
        if job.error is not None:
            raise job.error
        _tell("end", ended=job.ended, down=sorted(job.down), looked_at=job.looked_at, planned=job.planned)
    except CollectError as error:
        _tell("error", kind=type(error).__name__, message=error.message, hint=error.hint)
    except Exception:
        traceback.print_exc()  # stderr is the crawl's log
        sys.exit(1)


def _crawl(ws: Workspace, order: Mapping[str, Any]) -> Job:
    asked: list[str] = order["sources"]
    first = images.first_sightings(ws.catalog, order["concept"], NAMES)
    process = AsyncCrawlerProcess(
        scrapy_settings(
            ws.section(CrawlConfig),
            max_bytes=ws.section(IntakeConfig).max_bytes,
            log=Path(order["log"]),
            crawlers=len(asked),
        )
    )
    with ThreadPoolExecutor(THREADS) as workers:
        job = Job(
            ws=ws,
            concept=ws.concept(order["concept"]),
            queries=tuple((label, words) for label, words in order["queries"]),
            preset=order["license"],
            budget=Budget(order["limit"], asked, {image: source for image, (source, _) in first.items()}),
            workers=workers,
            progress=_Progress(),
            dry_run=order["dry_run"],
        )
        classes = dict(BUILT_IN)
        for name in asked:
            process.crawl(load_object(classes[name]), job=job, base_url=base_url(ws, name))
        _stop_on_signal(process, job)
        process.start(install_signal_handlers=False)
    return job


def _stop_on_signal(process: AsyncCrawlerProcess, job: Job) -> None:
    loop = asyncio.get_event_loop()
    stopping: list[asyncio.Task[None]] = []

    def stop() -> None:
        if not stopping:
            job.fail(StoppedShort("the crawl was stopped", hint="the same command continues"))
            stopping.append(loop.create_task(process.stop()))
            loop.call_later(STOP_S, os._exit, 130)  # what is in flight has no row yet and is asked for again

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


class _Progress:
    """Sends progress, at most ten times a second."""

    def __init__(self) -> None:
        self.sent = 0.0

    def __call__(self, text: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self.sent >= PROGRESS_S or done == total:
            self.sent = now
            _tell("progress", text=text, done=done, total=total)


def _tell(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
