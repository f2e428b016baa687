"""The Met: CC0 where the museum says public domain, no license where it does not, and only what was searched for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from collector.spiders import met
from collector.spiders.base import SchemaDrift
from collector.spiders.met import read_object
from collector.workspace import Workspace
from tests.collector.spiders.replay import Answers, Replay, pages, realdata, recorded, sample, spider_at

OBJECTS = "/public/collection/v1/objects"


def record(number: int) -> dict[str, Any]:
    return dict(sample("met")[f"{OBJECTS}/{number}"])


@pytest.mark.realdata
@realdata
def test_recorded_objects_give_all_their_pictures() -> None:
    answer = recorded("met/object-with-additional-images.json")
    found = read_object(answer)
    assert [each.url for each in found] == [answer["primaryImage"], *answer["additionalImages"]]
    assert {(each.license.code, each.license.evidence) for each in found} == {("cc0", "isPublicDomain=True")}
    assert {each.page for each in found} == {answer["objectURL"]}
    assert found[0].title == "Quail and Millet"
    assert found[0].facts["tags"][:2] == ["Birds", "Leaves"]
    (cover,) = read_object(recorded("met/object-without-additional-images.json"))
    assert cover.source_id == "47533/79_2_414b_S1_sf.jpg"
    assert cover.facts == {"kind": "artwork", "tags": ["Cover", "Ceramics"]}  # it was made over sixty years


def test_an_object_that_is_not_in_the_public_domain_is_one_refused_candidate() -> None:
    (found,) = read_object(record(2002))
    assert (found.source_id, found.url) == ("2002", "")
    assert (found.license.code, found.license.evidence) == ("missing", "isPublicDomain=False")
    (odd,) = read_object({**record(2001), "isPublicDomain": "true"})
    assert odd.license.code == "missing"  # only the word true itself counts


def test_an_object_without_a_picture_is_no_candidate() -> None:
    assert read_object({**record(2001), "primaryImage": "", "additionalImages": []}) == []


@pytest.mark.parametrize(("number", "mentioned"), [(2001, True), (2003, True), (2004, False)])
def test_an_object_must_mention_the_words(number: int, mentioned: bool) -> None:
    found = replace(read_object(record(number))[0], query="horse")
    why = met.off_topic(found)
    assert (why is None) == mentioned
    assert why is None or why.reason == "off-topic"


def test_dates_are_stated_where_they_are_one_year() -> None:
    assert read_object(record(2001))[0].facts["date"] == "1853"
    assert "date" not in read_object(record(2003))[0].facts
    assert read_object({**record(2001), "objectBeginDate": 850, "objectEndDate": 850})[0].facts["date"] == "0850"
    assert "date" not in read_object({**record(2001), "objectBeginDate": -50, "objectEndDate": -50})[0].facts


@pytest.mark.parametrize(
    ("facets", "asked"),
    [({}, {}), ({"kind": "photograph"}, {"medium": ["Photographs"]}),
     ({"kind": "illustration"}, {"medium": ["Drawings|Prints"]}),
     ({"since": "1850-05"}, {"dateBegin": ["1850"], "dateEnd": ["2100"]}),
     ({"until": "1900"}, {"dateBegin": ["-8000"], "dateEnd": ["1900"]})],
)  # fmt: skip
def test_facets_are_asked_for(ws: Workspace, facets: dict[str, Any], asked: dict[str, list[str]]) -> None:
    with Replay(sample("met")) as replay:
        pages(spider_at(replay, ws, "met", **facets))
    sent = parse_qs(urlsplit(replay.to("/public/collection/v1/search")[0]).query)
    assert sent == {"q": ["horse"], "hasImages": ["true"], **asked}


def many(number: int) -> Answers:
    answers: Answers = {f"{OBJECTS}/{n}": {**record(2001), "objectID": n} for n in range(number) if n % 10}
    return {**answers, "/public/collection/v1/search": {"total": number, "objectIDs": list(range(number))}}


def test_pages_are_places_in_the_search_and_objects_that_are_gone_are_counted(ws: Workspace) -> None:
    with Replay(many(90)) as replay:
        spider = spider_at(replay, ws, "met")
        found = pages(spider)
        assert [page.cursor for page in found] == [40, 80, None]
        assert [len(page.found) for page in found] == [72, 72, 18]
        assert len(replay.to("/public/collection/v1/search")) == 1
        assert spider.job.notes["met"][0] == "4 objects are listed but gone, from place 0 on"
        again = spider_at(replay, ws, "met")  # as after a kill
        assert asyncio.run(again.page("horse", 80)) == found[2]


def test_a_dry_run_asks_for_no_object(ws: Workspace) -> None:
    with Replay(many(90)) as replay:
        spider = spider_at(replay, ws, "met", dry_run=True)
        assert [page.found for page in pages(spider)] == [[]]
    assert len(replay.asked) == 1
    assert spider.job.notes["met"] == ["horse finds 90 objects; a crawl asks for the license of each"]


def test_a_search_that_finds_nothing_has_null_instead_of_a_list(ws: Workspace) -> None:
    with Replay({"/public/collection/v1/search": {"total": 0, "objectIDs": None}}) as replay:
        assert [list(page.found) for page in pages(spider_at(replay, ws, "met"))] == [[]]
    drifted = {"/public/collection/v1/search": {"total": 3, "objectIDs": None}}
    with Replay(drifted) as replay, pytest.raises(SchemaDrift, match="`objectIDs` is missing, expected list"):
        pages(spider_at(replay, ws, "met"))


def test_a_picture_is_asked_for_again(ws: Workspace) -> None:
    now = record(2001)
    with Replay({f"{OBJECTS}/2001": now}) as replay:
        spider = spider_at(replay, ws, "met")
        first, detail = read_object(now)
        assert asyncio.run(spider.recheck(detail)) == detail
        now["additionalImages"] = []
        assert asyncio.run(spider.recheck(first)) == first
        assert asyncio.run(spider.recheck(detail)) is None
        assert asyncio.run(spider.recheck(replace(first, source_id="1/x.jpg"))) is None
