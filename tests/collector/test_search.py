"""How a search is worked off: pages in order, each candidate once, and a cursor that never passes unsettled work."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from collector.catalog.crawls import KnownOf, Progress
from collector.records import License, Sighting
from collector.spiders.search import Candidate, Page, Search


def sighting(number: int) -> Sighting:
    return Sighting("here", f"id{number}", f"http://here.example/{number}.jpg", License("by"))


class Source:
    """Pages of three candidates; the cursor of a page is its number."""

    def __init__(self, pages: int) -> None:
        self.pages = pages
        self.asked: list[Any] = []

    async def page(self, cursor: Any) -> Page:
        self.asked.append(cursor)
        number = cursor or 0
        found = [sighting(3 * number + each) for each in range(3)]
        return Page(found, number + 1 if number + 1 < self.pages else None)


def nothing_known(found: Sequence[Sighting]) -> KnownOf:
    return KnownOf()


async def everything(search: Search, *, settle: bool = True) -> list[Candidate]:
    got = []
    async for candidate in search.candidates(set()):
        got.append(candidate)
        if settle:
            await candidate.settled()
    return got


def test_every_candidate_comes_once_and_the_end_is_written_down() -> None:
    source, saved = Source(4), list[Progress]()
    search = Search(source.page, nothing_known, saved.append)
    got = asyncio.run(everything(search))
    assert [each.found.source_id for each in got] == [f"id{n}" for n in range(12)]
    assert saved == [Progress(1, False), Progress(2, False), Progress(3, False), Progress(None, True)]
    assert search.ended == "it has no more to give"


@given(st.integers(1, 6), st.data())
def test_the_cursor_never_passes_a_candidate_that_is_not_settled(pages: int, data: st.DataObject) -> None:
    """Whatever the order in which outcomes arrive, and wherever a crawl is killed."""
    order = data.draw(st.permutations(range(3 * pages)))
    killed_after = data.draw(st.integers(0, 3 * pages))

    async def crawl() -> None:
        saved = [Progress(None, False)]
        got = await everything(Search(Source(pages).page, nothing_known, saved.append), settle=False)
        for number in order[:killed_after]:
            await got[number].settled()
        open_pages = [number // 3 for number in order[killed_after:]]
        reached = saved[-1]
        if open_pages:
            assert not reached.exhausted
            assert (reached.cursor or 0) == min(open_pages)
        else:
            assert reached.exhausted

    asyncio.run(crawl())


def test_a_search_continues_at_its_cursor() -> None:
    source = Source(5)
    got = asyncio.run(everything(Search(source.page, nothing_known, lambda to: None, cursor=3)))
    assert source.asked == [3, 4]
    assert got[0].found.source_id == "id9"


def test_a_source_whose_cursor_comes_again_is_left() -> None:
    async def page(cursor: Any) -> Page:
        return Page([sighting(random.getrandbits(60))], (cursor or 0) % 3 + 1)

    search = Search(page, nothing_known, lambda to: None)
    assert len(asyncio.run(everything(search))) == 4
    assert search.ended == "its pages repeat themselves"


def test_a_source_that_shows_the_same_page_for_ever_is_left() -> None:
    async def page(cursor: Any) -> Page:
        return Page([sighting(1), sighting(2)], (cursor or 0) + 1)

    search = Search(page, nothing_known, lambda to: None)
    assert len(asyncio.run(everything(search))) == 2
    assert search.ended == "its pages repeat themselves"


def test_a_repeated_search_ends_after_so_many_known_in_a_row() -> None:
    source, saved = Source(100), list[Progress]()

    def known(found: Sequence[Sighting]) -> KnownOf:
        return KnownOf(stored={each.source_id for each in found if int(each.source_id[2:]) >= 3})

    search = Search(source.page, known, saved.append, until_known=7)
    got = asyncio.run(everything(search))
    assert source.asked == [None, 1, 2, 3]
    assert len(got) == 12
    assert search.ended == "9 results in a row are known"
    assert saved[-1] == Progress(None, True)
