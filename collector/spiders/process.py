"""The process that crawls: `python -m collector.spiders.process`, started by runner.py, one or more for a crawl.

The order comes as one line of JSON on stdin; events leave as lines of JSON on stdout:

    {"event": "progress", "source": ..., "kept": ..., "seen": ..., "share": ..., "filled": ..., "limit": ...}
    {"event": "error", "kind": ..., "message": ..., "hint": ...}
    {"event": "end", "ended": {source: why}, "down": [...], "seen": ..., "planned": [...], "stats": {...}, ...}

stdin stays open for as long as the parent lives; its end ends this process at once, which is safe at any moment.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from scrapy.crawler import AsyncCrawlerProcess

from collector.catalog import crawls
from collector.config import PREFIX, IntakeConfig
from collector.errors import CollectError, StoppedShort
from collector.intake import Intake, taking_in
from collector.spiders.budget import WAITING, Budget, Shared
from collector.spiders.config import CrawlConfig
from collector.spiders.facets import Facets
from collector.spiders.guard import guard_of, install_last_gate
from collector.spiders.job import Job, Shard
from collector.spiders.load import load, source_config
from collector.spiders.meter import Meter
from collector.spiders.rechecking import rechecking
from collector.spiders.secrets import mask_logs, masked
from collector.spiders.settings import scrapy_settings
from collector.workspace import Workspace

STOP_S = 3.0  # seconds that requests in flight get when the crawl is stopped
PROGRESS_S = 0.1


def main() -> None:
    """Read the order, crawl, tell how it went."""
    order = json.loads(sys.stdin.readline() or "null")
    if order is None:  # we were started ahead, and nobody needs us
        return
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, sys.stderr.fileno())
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    os.environ.update(order["environment"])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with Workspace.open(order["config"]) as ws, taking_in(ws) if not order["dry_run"] else nullcontext() as intake:
            told = _crawl(ws, order, intake)
        _tell("end", **told)
    except CollectError as error:
        _tell("error", kind=type(error).__name__, message=masked(error.message), hint=error.hint)
    except Exception:
        sys.stderr.write(masked(traceback.format_exc()))  # stderr is the crawl's log
        sys.exit(1)


def _crawl(ws: Workspace, order: Mapping[str, Any], intake: Intake | None) -> dict[str, Any]:
    shard = Shard(*order["shard"])
    classes = {name: load(ws, name) for name in order["sources"]}
    if order.get("kind") == "recheck":
        classes = {name: rechecking(spider) for name, spider in classes.items()}
    mine = [
        name
        for index, (name, spider) in enumerate(classes.items())
        if spider.spread or index % shard.count == shard.index
    ]
    job = _job(ws, order, intake, shard, mine)
    process = AsyncCrawlerProcess(
        scrapy_settings(
            ws.section(CrawlConfig),
            max_bytes=ws.section(IntakeConfig).max_bytes,
            log=Path(order["log"]),
            processes=shard.count,
            data=ws.data,
        )
    )
    mask_logs()
    crawl = ws.section(CrawlConfig)
    install_last_gate(guard_of(crawl.allow_private_hosts, crawl.proxies))
    crawling = [process.crawl(classes[name], job=job, config=source_config(ws, name)) for name in mine]
    crawlers = list(process.crawlers)
    _stop_on_signal(process, job)
    gc.freeze()  # what was imported lives as long as we do
    meter = Meter(job)
    process.start(install_signal_handlers=False)
    for task in crawling:  # a spider that could not even start would otherwise look like one that found nothing
        job.error = job.error or task.exception()
    if job.error is not None:
        raise job.error
    return {
        "ended": {name: masked(why) for name, why in job.ended.items()},
        "down": sorted(job.down),
        "seen": job.seen.total(),
        "planned": job.planned,
        "asked": job.asked,
        "notes": job.notes,
        "binds": meter.binds(),
        "stats": {each.spider.name: each.stats.get_stats() for each in crawlers if each.spider and each.stats},
    }


def _job(ws: Workspace, order: Mapping[str, Any], intake: Intake | None, shard: Shard, mine: list[str]) -> Job:
    first = crawls.first_seen(ws.catalog, order["concept"], order["known_sources"])
    shared = (
        Shared(Path(order["shared"]), shard.index, shard.count, before=sum(order["kept"].values()))
        if shard.count > 1
        else None
    )
    at_once = WAITING * max(1, ws.section(CrawlConfig).concurrency // shard.count)
    job = Job(
        ws=ws,
        concept=ws.described(order["concept"]),
        queries=tuple((label, words) for label, words in order["queries"]),
        preset=order["license"],
        allowed=tuple(order["allowed"]),
        budget=Budget(order["limit"], mine, order["kept"], at_once=at_once, shared=shared),
        intake=intake,  # type: ignore[arg-type]  # a dry run takes nothing in
        progress=_Progress(),
        facets=Facets(**order["facets"]),
        options=order["options"],
        shard=shard,
        dry_run=order["dry_run"],
    )
    for (_, _, creator, host), number in first.items():
        job.creators[creator] += number
        job.hosts[host] += number
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
    """Sends the progress of each source, at most ten times a second."""

    def __init__(self) -> None:
        self.sent: dict[str, float] = {}

    def __call__(self, source: str, job: Job) -> None:
        now, budget = time.monotonic(), job.budget
        if now - self.sent.get(source, 0.0) >= PROGRESS_S or budget.over:
            self.sent[source] = now
            kept, seen = budget.kept[source], job.seen[source]
            _tell("progress", source=source, kept=kept, seen=seen, share=budget.share(source), limit=budget.limit)


def _tell(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}, default=str) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
