"""Gates, pauses and pools by themselves: what they count, what they learn, what they forget."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scrapy.http import Headers

from collector.spiders.middlewares import HostAsksToWait
from collector.spiders.proxies import OUT_S, Proxy
from collector.spiders.retry import pause, retry_after
from collector.spiders.throttle import CALM_S, Gate, rates


async def pass_through(gate: Gate, log: list[float], seconds: float = 0.0) -> None:
    await gate.enter()
    log.append(time.monotonic())
    await asyncio.sleep(seconds)
    gate.leave()


def test_a_gate_lets_so_many_through_at_once_and_in_their_order() -> None:
    async def crowd() -> None:
        gate = Gate(3)
        inside, order = [], []

        async def one(number: int) -> None:
            await gate.enter()
            order.append(number)
            inside.append(gate.inside)
            await asyncio.sleep(0.001)
            gate.leave()

        await asyncio.gather(*(one(number) for number in range(20)))
        assert max(inside) == 3
        assert order == list(range(20))
        assert gate.inside == 0

    asyncio.run(crowd())


def test_a_rate_holds_for_every_window() -> None:
    async def calls() -> None:
        gate, log = Gate(8, calls=3, seconds=0.2), list[float]()
        await asyncio.gather(*(pass_through(gate, log) for _ in range(9)))
        assert min(later - earlier for earlier, later in zip(log, log[3:], strict=False)) > 0.19
        assert log[2] - log[0] < 0.19  # three at once are allowed

    asyncio.run(calls())


def test_a_held_gate_opens_when_the_host_said() -> None:
    async def held() -> None:
        gate, log = Gate(4), list[float]()
        waiting = [asyncio.create_task(pass_through(gate, log, 0.3)) for _ in range(8)]
        await asyncio.sleep(0.01)
        gate.hold(0.6)
        began = time.monotonic()
        await asyncio.gather(*waiting)
        assert [at < began for at in log] == [True] * 4 + [False] * 4
        assert log[4] - began > 0.58
        gate.hold(99)
        with pytest.raises(HostAsksToWait, match="99 s"):
            await gate.enter(patience=50)
        assert gate.inside == 0

    asyncio.run(held())


def test_who_gives_up_waiting_leaves_no_gap() -> None:
    async def impatient() -> None:
        gate, log = Gate(1), list[float]()
        first = asyncio.create_task(pass_through(gate, log, 0.3))
        second = asyncio.create_task(pass_through(gate, log))
        third = asyncio.create_task(pass_through(gate, log))
        await asyncio.sleep(0.01)
        second.cancel()
        await asyncio.gather(first, third)
        assert (len(log), gate.inside) == (2, 0)

    asyncio.run(impatient())


def test_a_gate_widens_while_all_goes_well_and_halves_once_for_each_failure() -> None:
    gate = Gate(16)
    assert gate.limit == 4
    for _ in range(12):
        gate.went_well(0.01)
    assert gate.limit == 16
    began = time.monotonic()
    for _ in range(10):  # those that were on their way together fail together
        gate.went_badly(began)
    assert gate.limit == 8
    for _ in range(9):
        gate.went_well(0.01)
    assert 9 <= gate.limit < 10  # one more for each round, now that the edge is known
    for _ in range(10):
        gate.went_badly(time.monotonic() + 1)
    assert gate.limit == 1
    gate.went_well(0.01)
    assert gate.limit == 2


def test_a_gate_narrows_while_answers_are_slow() -> None:
    gate = Gate(16, first=16)
    for _ in range(50):
        gate.went_well(0.05)
    assert gate.limit == 16
    for _ in range(100):
        gate.went_well(CALM_S * 4)
    assert gate.limit < 8
    steady = Gate(16, first=16)
    for _ in range(100):
        steady.went_well(CALM_S * 4)  # as slow as ever: that is how this host is
    assert steady.limit == 16


@given(st.lists(st.one_of(st.floats(0, 60), st.none())))
def test_the_limit_stays_between_one_and_the_budget(answers: list[float | None]) -> None:
    gate = Gate(6)
    for latency in answers:
        gate.went_badly(math.inf) if latency is None else gate.went_well(latency)
        assert 1 <= int(gate.limit) <= 6


def test_rates_of_openverse_are_read() -> None:
    told = {
        "x-ratelimit-limit-anon_burst": "20/min", "x-ratelimit-available-anon_burst": "19",
        "x-ratelimit-limit-anon_sustained": "200/day", "x-ratelimit-available-anon_sustained": "0",
        "x-ratelimit-limit-odd": "20/fortnight", "x-ratelimit-available-odd": "1", "x-ratelimit-limit-half": "1/sec",
    }  # fmt: skip
    assert sorted(rates(Headers(told))) == [(20, 60.0, 19), (200, 86_400.0, 0)]


@given(st.dictionaries(st.from_regex(r"x-ratelimit-(limit|available)-[ab]", fullmatch=True), st.binary()))
def test_rates_survive_strangers(headers: dict[str, bytes]) -> None:
    assert all(calls > 0 and seconds > 0 for calls, seconds, _ in rates(Headers(headers)))


# -- pauses ---------------------------------------------------------------------------------------------------------

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"120", 120.0), (b" 0 ", 0.0), (b"-5", None), (b"1000000000", 1e9), (b"9" * 400, 1e9), (b"1.5", None),
        (b"Mon, 01 Jun 2026 12:00:30 GMT", 30.0), (b"Mon, 01 Jun 2026 11:00:00 GMT", 0.0),
        (b"Mon, 01 Jun 2026 12:00:30", 30.0), (b"Mon, 99 Jun 2026 12:00:30 GMT", None),
        (b"soon", None), (b"", None), (None, None), ("\u0665".encode(), None),
    ],
)  # fmt: skip
def test_retry_after(value: bytes | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.binary())
def test_retry_after_survives_strangers(value: bytes) -> None:
    assert (retry_after(value) or 0.0) >= 0


@given(st.integers(0, 10))
def test_pauses_double_and_are_spread(tries: int) -> None:
    assert 0.25 * 2**tries <= pause(tries) <= 0.75 * 2**tries


# -- proxies --------------------------------------------------------------------------------------------------------


def test_a_proxy_that_fails_again_is_left_out_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("collector.spiders.proxies.monotonic", lambda: now)
    proxy = Proxy("http://me:hidden@proxy.example:3128")
    assert proxy.shown == "http://proxy.example:3128"
    proxy.failed()
    proxy.failed()  # at the same time
    assert proxy.out_until == now + OUT_S
    now += OUT_S
    proxy.failed()
    assert proxy.out_until == now + 2 * OUT_S
    now += 2 * OUT_S
    proxy.worked()
    proxy.failed(surely=False)
    proxy.failed(surely=False)
    assert proxy.out_until == now  # two may be the fault of hosts
    proxy.failed(surely=False)
    assert proxy.out_until == now + OUT_S
