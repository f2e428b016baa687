"""How much a host is asked at once: one gate for each downloader slot, shared by all spiders of the process.

Each spider has its own Scrapy downloader with its own slots, so Scrapy alone would give every host as many times its
budget as there are spiders. A request therefore passes the gate of its slot right before the downloader. The gate also
does what AutoThrottle does not: it hears 429, 503 and timeouts (half as many requests at once), lets a host that is
well have one more at a time up to its budget, and has one fewer when answers become slow.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import deque
from time import monotonic
from typing import ClassVar

from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.exceptions import DownloadTimeoutError
from scrapy.http import Headers, Response
from scrapy.utils.httpobj import urlparse_cached

from collector.spiders.middlewares import HostAsksToWait

API = " API"  # ends the slots of APIs: `openverse API`
FIRST = 4  # requests at once that a host gets before it has answered
CALM_S = 0.5  # a host that answers within this is never thought to be strained
STRAINED = 3.0  # times its best answer: a host that takes longer is given less
MOST_GATES = 10_000
LIMIT, AVAILABLE = b"x-ratelimit-limit-", b"x-ratelimit-available-"
RATE = re.compile(rb"\s*(\d{1,9})/([a-z]+)\s*")
PERIODS = {"sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}


class Gate:
    """Lets `limit` requests through at once, and at most `calls` in any `seconds`.

    `limit` begins small and moves between 1 and `most` with the host's answers.
    """

    __slots__ = (
        "_best", "_calls", "_eased", "_latency", "_not_before", "_rising", "_seconds", "_starts", "_waiting",
        "inside", "limit", "most",
    )  # fmt: skip

    def __init__(self, most: int, *, first: int = FIRST, calls: int = 1, seconds: float = 0.0) -> None:
        self.most = most
        self.limit = float(min(most, first))
        self.inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._not_before = self._eased = -math.inf
        self._rising = True
        self._best = math.inf
        self._latency = 0.0
        self.set_rate(calls, seconds)

    @property
    def idle(self) -> bool:
        """Whether nothing is lost when the gate is forgotten."""
        return not self.inside and not self._waiting and self._not_before < monotonic() and not self._seconds

    def set_rate(self, calls: int, seconds: float) -> None:
        """Let at most `calls` requests through in any `seconds`; 0 seconds: as many as there are."""
        self._calls, self._seconds = calls, seconds
        self._starts: deque[float] = deque(getattr(self, "_starts", ()), maxlen=calls)

    def hold(self, seconds: float) -> None:
        """Let nobody through for so long."""
        self._not_before = max(self._not_before, monotonic() + seconds)

    async def enter(self, patience: float = math.inf) -> None:
        """Wait for a turn; `leave` gives it back. Raises `HostAsksToWait` where the host wants more than `patience`."""
        if self._waiting or self.inside >= int(self.limit):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn  # `leave` of somebody else has counted us
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.leave()
                raise
        else:
            self.inside += 1
        try:
            while (wait := self._pause(patience)) > 0:
                await asyncio.sleep(wait)
        except BaseException:
            self.leave()
            raise
        self._starts.append(monotonic())

    def leave(self) -> None:
        """Give the turn to the next in the queue."""
        self.inside -= 1
        self._admit()

    def went_well(self, latency: float) -> None:
        """Allow one more at a time for each round of good answers, one fewer where they have become slow."""
        self._best = min(self._best, latency)
        self._latency += (latency - self._latency) / 8
        if self._latency > max(CALM_S, STRAINED * self._best):
            self._rising = False
            self.limit = max(1.0, self.limit - 1 / self.limit)
        elif self.limit < self.most:
            self.limit = min(self.most, self.limit + (1 if self._rising else 1 / self.limit))
            self._admit()

    def went_badly(self, began: float) -> None:
        """Halve what is asked at once; failures of requests from before the last cut say nothing new."""
        if began > self._eased:
            self._eased = monotonic()
            self._rising = False
            self.limit = max(1.0, self.limit / 2)

    def _admit(self) -> None:
        while self._waiting and self.inside < int(self.limit):
            turn = self._waiting.popleft()
            if not turn.done():
                self.inside += 1
                turn.set_result(None)

    def _pause(self, patience: float) -> float:
        now = monotonic()
        held = self._not_before - now
        if held > patience:
            raise HostAsksToWait(f"the host asks to be left alone for {held:.0f} s")
        full = bool(self._seconds) and len(self._starts) == self._calls
        return max(held, self._starts[0] + self._seconds - now if full else 0.0)


class ThrottleMiddleware:
    """Sends each request through the gate of its slot, and tells the gate how it went."""

    gates: ClassVar[dict[str, Gate]] = {}
    everything: ClassVar[Gate | None] = None
    crowded: ClassVar[int] = MOST_GATES  # with so many gates, those that nobody needs are forgotten

    def __init__(self, crawler: Crawler) -> None:
        settings = crawler.settings
        self.crawler = crawler
        self.patience = settings.getfloat("COLLECT_PATIENCE")
        self.budgets = settings.getdict("DOWNLOAD_SLOTS")
        self.per_host = settings.getint("CONCURRENT_REQUESTS_PER_DOMAIN")
        if ThrottleMiddleware.everything is None:
            most = settings.getint("CONCURRENT_REQUESTS")
            ThrottleMiddleware.everything = Gate(most, first=most)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> ThrottleMiddleware:
        """One for each crawler; their gates are shared."""
        return cls(crawler)

    async def process_request(self, request: Request) -> None:
        """Wait for a turn at the host, then for one of all."""
        slot = self._slot(request)
        # an API has the budget of its host, so that a mirror is not held to it
        gate = self.gates.get(slot) or self.gate(slot, urlparse_cached(request).hostname or "")
        assert self.everything is not None
        try:
            await gate.enter(self.patience)
        except HostAsksToWait as error:
            raise HostAsksToWait(f"{slot}: {error}") from None
        try:
            await self.everything.enter()
        except BaseException:
            gate.leave()
            raise
        request.meta["gate"] = (gate, monotonic())
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: self._leave(request))  # who is cancelled comes by neither of those below

    def process_response(self, request: Request, response: Response) -> Response:
        """Give the turn back, and judge how the host is."""
        if passed := self._leave(request):
            gate, began = passed
            if response.status in (429, 503):
                gate.went_badly(began)
            else:
                gate.went_well(request.meta.get("download_latency", monotonic() - began))
            if request.meta["download_slot"].endswith(API):
                obey_rates(gate, response)
        return response

    def process_exception(self, request: Request, exception: Exception) -> None:
        """Give the turn back; a timeout is a host that has too much to do."""
        if passed := self._leave(request):
            gate, began = passed
            if isinstance(exception, DownloadTimeoutError):
                gate.went_badly(began)

    def _leave(self, request: Request) -> tuple[Gate, float] | None:
        passed: tuple[Gate, float] | None = request.meta.pop("gate", None)
        if passed:
            assert self.everything is not None
            passed[0].leave()
            self.everything.leave()
        return passed

    def _slot(self, request: Request) -> str:
        if "redirect_times" in request.meta:  # Scrapy leaves it in the slot of the host where the redirect came from
            request.meta.pop("download_slot", None)
        assert self.crawler.engine is not None
        return self.crawler.engine.downloader.get_slot_key(request)

    def gate(self, slot: str, host: str = "") -> Gate:
        """The gate of a slot; one without a budget of its own has that of `host`."""
        known = self.gates.get(slot)
        if known is not None:
            return known
        if len(self.gates) >= ThrottleMiddleware.crowded:
            for name in [name for name, gate in self.gates.items() if gate.idle]:
                del self.gates[name]
            ThrottleMiddleware.crowded = max(MOST_GATES, 2 * len(self.gates))
        told = self.budgets.get(slot) or self.budgets.get(host, {})
        most = told.get("concurrency", self.per_host)
        self.gates[slot] = Gate(most, calls=told.get("calls", 1), seconds=told.get("seconds", 0.0))
        return self.gates[slot]


def obey_rates(gate: Gate, response: Response) -> None:
    """Slow down by what an API says of its limits, before it has to say 429."""
    for calls, seconds, left in rates(response.headers):
        if left <= 0:
            gate.hold(seconds)
        if seconds <= PERIODS["minute"]:  # when little is left, somebody else asks as well: one at a time, evenly
            gate.set_rate(calls, seconds) if left > calls / 4 else gate.set_rate(1, seconds / calls)


def rates(headers: Headers) -> list[tuple[int, float, int]]:
    """(calls, in how many seconds, how many are left) of each limit that headers tell.

    Openverse: `x-ratelimit-limit-anon_burst: 20/min` and `x-ratelimit-available-anon_burst: 19`.
    """
    found = []
    for name in headers:
        kind = name.lower().removeprefix(LIMIT)
        if kind == name.lower():
            continue
        rate = RATE.fullmatch(headers.get(name) or b"")
        left = headers.get(AVAILABLE + kind) or b""
        if rate and left.isdigit() and int(rate[1]) > 0 and rate[2].decode() in PERIODS:
            found.append((int(rate[1]), PERIODS[rate[2].decode()], int(left)))
    return found
