"""What all spiders share: headers that are obeyed, a limit that is shared out, and sources with their state.

What each source's answers are read as is tested in tests/collector/spiders.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.errors import UsageError
from collector.spiders.budget import CELL, Budget, Shared
from collector.spiders.optout import robots_tag
from collector.spiders.retry import retry_after
from collector.workspace import Workspace

# -- headers ------------------------------------------------------------------------------------------------------

WORDS = ("noai", "noimageai", "noindex", "noimageindex", "noml")


@pytest.mark.parametrize("word", WORDS)
def test_every_form_of_an_opt_out_is_heard(word: str) -> None:
    for tag in (word, word.upper(), f"nofollow, {word}", f"somebot: {word}", f"somebot: nofollow,{word}"):
        assert robots_tag([tag], WORDS)
        assert robots_tag(["nofollow", tag], WORDS)
    assert not robots_tag([word], ())


def test_other_robots_tags_are_no_opt_out() -> None:
    assert not robots_tag([], WORDS)
    assert not robots_tag(["all, nofollow", "unavailable_after: 25 Jun 2130 15:00:00 PST", "noarchive", "noaim"], WORDS)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"7", 7.0), (b" 0 ", 0.0), (b"Wed, 21 Oct 2026 07:28:10 GMT", 10.0), (b"Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
     (b"-5", None), (b"soon", None), (b"", None), (None, None), ("\u0665".encode(), None)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(value: bytes | None, seconds: float | None) -> None:
    assert retry_after(value, datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == seconds


@given(st.binary(max_size=60))
def test_no_header_breaks_retry_after(value: bytes) -> None:
    seconds = retry_after(value)
    assert seconds is None or seconds >= 0


# -- the budget ---------------------------------------------------------------------------------------------------


async def spend(budget: Budget, source: str, gives: Sequence[bool], rng: random.Random, most: list[int]) -> None:
    """A spider in small: takes places, and settles each a little later, in any order."""
    flights = []

    async def fly(fills: bool) -> None:
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)
        most.append(budget.filled + budget.flying.total())
        budget.settle(source, fills=fills)

    for fills in gives:
        if not await budget.take(source):
            break
        flights.append(asyncio.create_task(fly(fills)))
        await asyncio.sleep(0)
    budget.leave(source)
    await asyncio.gather(*flights)


@given(
    gives=st.lists(st.lists(st.booleans(), max_size=30), min_size=1, max_size=3),
    limit=st.integers(1, 15),
    at_once=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_the_limit_is_reached_exactly_or_everything_was_tried(
    gives: list[list[bool]], limit: int, at_once: int, seed: int
) -> None:
    most: list[int] = []
    names = [f"source{n}" for n in range(len(gives))]
    budget = Budget(limit, names, {}, at_once=at_once)

    async def crawl() -> None:
        rng = random.Random(seed)
        each = [spend(budget, name, own, rng, most) for name, own in zip(names, gives, strict=True)]
        await asyncio.wait_for(asyncio.gather(*each), 20)

    asyncio.run(crawl())
    assert budget.filled == min(limit, sum(map(sum, gives)))
    assert max(most, default=0) <= limit


def test_the_share_of_an_exhausted_source_goes_to_the_other() -> None:
    budget = Budget(10, ["a", "b"], {"a": 1}, at_once=16)

    async def crawl() -> None:
        rng = random.Random(1)
        await asyncio.gather(spend(budget, "a", [True], rng, []), spend(budget, "b", [True] * 20, rng, []))

    asyncio.run(crawl())
    assert budget.kept == {"a": 2, "b": 8}


def test_two_sources_that_have_enough_give_half_each() -> None:
    budget = Budget(9, ["a", "b"], {}, at_once=16)

    async def crawl() -> None:
        rng = random.Random(2)
        await asyncio.gather(*(spend(budget, name, [True] * 20, rng, []) for name in "ab"))

    asyncio.run(crawl())
    assert sum(budget.kept.values()) == 9
    assert set(budget.kept.values()) == {4, 5}


def test_two_processes_reach_one_limit_together(tmp_path: Path) -> None:
    file = tmp_path / "budget"
    file.write_bytes(bytes(2 * CELL.size))
    shared = [Shared(file, index, 2, before=3) for index in range(2)]
    budgets = [Budget(20, ["a"], {"a": 3}, at_once=4, shared=each) for each in shared]

    async def crawl() -> None:
        rng, most = random.Random(3), [0]
        await asyncio.gather(*(spend(budget, "a", [True, False] * 30, rng, most) for budget in budgets))

    asyncio.run(crawl())
    assert [budget.filled for budget in budgets] == [20, 20]
    assert sum(budget.kept["a"] - 3 for budget in budgets) == 17
    for each in shared:
        each.close()


# -- sources ------------------------------------------------------------------------------------------------------


def test_sources_tell_their_state(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from collector.spiders.runner import sources

    for name in ("FLICKR", "SMITHSONIAN", "EUROPEANA"):
        monkeypatch.delenv(f"COLLECT_{name}_KEY", raising=False)
    rows = sources(ws).sources
    states = {name: row["state"].partition(":")[0] for name, row in rows.items()}
    for name in ("openverse", "inaturalist", "met"):
        assert states[name] == "ready"
    assert states["wikimedia"] == "needs contact"
    for name in ("gbif", "internetarchive", "openimages"):
        assert states[name] == "ready when named"
    for name in ("flickr", "smithsonian", "europeana"):
        assert states[name] == "needs key"
    for name in ("unsplash", "pexels", "pixabay", "instagram"):
        assert states[name] == "refused"
    assert all(row["terms"] for row in rows.values())


def test_a_source_that_cannot_be_asked_is_explained_before_any_request(ws: Workspace) -> None:
    from collector.spiders.runner import crawl

    with pytest.raises(UsageError, match="did you mean `openverse`"):
        crawl(ws, "horse", sources=["openvers"])
    with pytest.raises(UsageError, match=r"refused: .*forbid"):
        crawl(ws, "horse", sources=["unsplash"])
    with pytest.raises(UsageError, match=r"crawl\.contact"):
        crawl(ws, "horse", sources=["wikimedia"])
    with pytest.raises(UsageError, match="not a license preset"):
        crawl(ws, "horse", license="free")
    with pytest.raises(UsageError, match="limit of 0"):
        crawl(ws, "horse", limit=0)


def test_the_address_of_a_source_is_taken_with_or_without_its_version(make_workspace: Any) -> None:
    from collector.spiders.load import source_config
    from tests.collector.spiders.replay import Replay, spider_at

    with Replay({}) as replay:
        address = replay.url
        for ending in ("", "/", "/v1", "/v1/"):
            replay.url = address + ending
            assert spider_at(replay, make_workspace(), "openverse").base_url == address
        replay.url = address
    for n, wrong in enumerate(('base_url = "file:///etc"', 'base_url = "openverse"')):
        with pytest.raises(UsageError, match=r"sources\.openverse\.base_url"):
            source_config(make_workspace(f"[sources.openverse]\n{wrong}\n", name=f"wrong{n}"), "openverse")
    with pytest.raises(UsageError, match=r"did you mean `sources\.openverse`"):
        source_config(make_workspace("[sources.openvers]\nenabled = false\n", name="typo"), "openverse")
