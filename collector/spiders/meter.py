"""Which resource binds a crawl: looked at five times a second while it runs."""

from __future__ import annotations

import resource
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collector.spiders.job import Job

LOOK_S = 0.2
BUSY = 0.85  # share of one core from which a process is as fast as it can be
WORTH_S = 2.0  # shorter crawls are all start-up


class Meter:
    """Counts what the crawl waits for: this process's core, intake, or the answers of hosts."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._looks: Counter[str] = Counter()
        self._began = time.monotonic()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        before, then = _cpu(), time.monotonic()
        while True:
            time.sleep(LOOK_S)
            after, now = _cpu(), time.monotonic()
            if (after - before) / (now - then) >= BUSY:
                self._looks["processor"] += 1
            elif self._job.waiting > self._job.budget.flying.total() / 2 > 1:
                self._looks["disk"] += 1
            elif self._job.budget.flying.total():
                self._looks["network"] += 1
            else:
                self._looks["searches"] += 1
            before, then = after, now

    def binds(self) -> str:
        """`processor`, `disk`, `network` (the hosts and our manners towards them) or `searches`; empty if too short."""
        if not self._looks or time.monotonic() - self._began < WORTH_S:
            return ""
        return self._looks.most_common(1)[0][0]


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
