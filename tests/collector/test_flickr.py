"""Flickr: 17 licenses, refusals with HTTP 200, and searches that repeat themselves after 4,000 photographs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from collector import licenses
from collector.catalog.crawls import KnownOf
from collector.records import License, Sighting
from collector.spiders import flickr
from collector.spiders.base import ImageSpider, NothingToAsk, Page, SourceDown
from collector.spiders.search import Search
from collector.workspace import Workspace
from tests.collector.spiders.replay import FILES, Answers, Replay, realdata, recorded, sample, spider_at

KEY = "k3y-0f_a+test/that%nobody sees"
Params = dict[str, list[str]]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLECT_FLICKR_KEY", KEY)


def first_page(spider: ImageSpider, cursor: Any = None) -> Page:
    return asyncio.run(spider.page("horse", cursor))


def asked(site: Replay) -> dict[str, str]:
    """The parameters of the last request."""
    return {name: values[0] for name, values in parse_qs(urlsplit(site.asked[-1]).query).items()}


# -- reading --------------------------------------------------------------------------------------------------

IDS = {
    "0": "missing", "1": "by-nc-sa 2.0", "2": "by-nc 2.0", "3": "by-nc-nd 2.0", "4": "by 2.0", "5": "by-sa 2.0",
    "6": "by-nd 2.0", "7": "no-known-restrictions", "8": "us-gov", "9": "cc0 1.0", "10": "pdm 1.0", "11": "by 4.0",
    "12": "by-sa 4.0", "13": "by-nd 4.0", "14": "by-nc 4.0", "15": "by-nc-sa 4.0", "16": "by-nc-nd 4.0",
}  # fmt: skip
TABLE = flickr.read_licenses(sample("flickr")["flickr.photos.licenses.getInfo"]["licenses"]["license"])


def test_flickrs_seventeen_license_ids_are_known() -> None:
    assert {code: f"{each.code} {each.version}".strip() for code, each in TABLE.items()} == IDS
    assert "license='4'" in TABLE["4"].evidence
    assert "https://creativecommons.org/licenses/by/2.0/" in TABLE["4"].evidence


@pytest.mark.parametrize(("code", "verdict"), [("17", "unknown"), ("", "missing"), ("by", "unknown"), ("4 ", "by")])
def test_a_license_id_that_the_table_lacks_is_refused(code: str, verdict: str) -> None:
    photo = {"id": "1", "owner": "a", "license": code}
    assert flickr.read_photo(photo, TABLE).license.code == verdict  # type: ignore[union-attr]


def test_a_table_that_changes_its_mind_is_believed() -> None:
    table = flickr.read_licenses(
        [{"id": 4, "name": "CC BY-NC 5.0", "url": "https://creativecommons.org/licenses/by-nc/5.0/"}]
    )
    assert flickr.read_license("4", table).code == "unknown"


def test_a_flickr_photograph_is_read_whole() -> None:
    photos = sample("flickr")["flickr.photos.search"]["photos"]["photo"]
    first, second, third, fourth = [flickr.read_photo(photo, TABLE) for photo in photos]
    assert first is not None
    assert first.url.endswith("9001_o.jpg")
    assert [url[-6:] for url in first.facts["fallbacks"]] == ["_k.jpg", "_l.jpg", "_m.jpg"]
    assert (first.facts["width"], first.facts["height"], first.facts["date"]) == (4000, 3000, "2019-05-04")
    assert (first.facts["kind"], first.facts["tags"]) == ("photograph", ["horse", "meadow"])
    assert first.page == "https://www.flickr.com/photos/1000001@N01/9001"
    assert (first.creator, first.creator_url) == ("Ada Example", "https://www.flickr.com/people/1000001@N01/")
    assert second is not None
    assert second.url.endswith("9002_l.jpg"), "owners may hide their originals"
    assert second.facts["date"] == "2018-07", "only the month is known"
    assert third is not None
    assert "date" not in third.facts
    assert [each.license.code for each in (first, second, third, fourth) if each] == [
        "by",
        "by-sa",
        "missing",
        "unknown",
    ]


@pytest.mark.realdata
@realdata
def test_every_recorded_flickr_photograph_is_read() -> None:
    photos = recorded("flickr/photos-search-30.json")["photos"]["photo"]
    found = [each for photo in photos if (each := flickr.read_photo(photo, TABLE))]
    assert len(found) == len(photos) == 30
    assert {each.license.code for each in found} == {"by-nc-sa"}
    for each, photo in zip(found, photos, strict=True):
        size = "l" if "url_l" in photo else "m"
        assert each.url == photo[f"url_{size}"]
        assert (each.facts["width"], each.facts["height"]) == (photo[f"width_{size}"], photo[f"height_{size}"])
        assert each.creator == photo["ownername"]
        assert each.page == f"https://www.flickr.com/photos/{photo['owner']}/{photo['id']}"
        assert ("date" in each.facts) == (photo["datetakenunknown"] == "0")
    one = flickr.read_photo(recorded("flickr/photo-one.json"), TABLE)
    assert one is not None
    assert (one.title[:9], one.facts["kind"]) == ("Surveying", "photograph")


# -- asking ---------------------------------------------------------------------------------------------------


class FlickrLike:
    """Photographs by their second of upload; 4,000 for one search, and the last of them again for those who ask on."""

    def __init__(self, uploads: Iterable[int]) -> None:
        self.photos = [(f"p{n}", when) for n, when in enumerate(uploads)]
        self.searches = 0

    def __call__(self, params: Params) -> dict[str, Any]:
        if params["method"] != ["flickr.photos.search"]:
            told: dict[str, Any] = sample("flickr")[params["method"][0]]
            return told
        self.searches += 1
        low, high = (
            int(params.get(f"{end}_upload_date", [default])[0]) for end, default in (("min", "0"), ("max", "9" * 12))
        )
        found = [name for name, when in self.photos if low <= when <= high]
        size, reachable = int(params["per_page"][0]), found[:4000]
        page = min(int(params["page"][0]), max(1, -(-len(reachable) // size)))
        shown = reachable[(page - 1) * size : page * size]
        photos = [{"id": name, "owner": "a", "license": "4", "url_l": f"{FILES}/{name}"} for name in shown]
        total = str(len(found)) if self.searches % 2 else len(found)  # it is either
        about = {"page": page, "pages": -(-len(found) // size), "perpage": size, "total": total, "photo": photos}
        return {"photos": about, "stat": "ok"}


async def candidates(spider: ImageSpider) -> list[str]:
    """The ids of all candidates, by the search of the base."""
    search = Search(lambda cursor: spider.page("horse", cursor), lambda found: KnownOf(), lambda to: None)
    names = []
    async for candidate in search.candidates(spider.handled):
        names.append(candidate.found.source_id)
        await candidate.settled()
    assert search.ended == "it has no more to give"
    return names


# nine thousand in two years, three thousand of them on the day on which a museum uploads its archive
UPLOADS = [1_300_000_000 + 10_000 * n for n in range(6000)] + [1_320_000_000 + 20 * n for n in range(3000)]


def test_nine_thousand_photographs_are_found_once_each_although_a_search_shows_four_thousand(ws: Workspace) -> None:
    like = FlickrLike(UPLOADS)
    with Replay({"/services/rest/": like}) as site:
        found = asyncio.run(candidates(spider_at(site, ws, "flickr")))
        assert len(found) == len(set(found)) == 9000
        assert found[:4000] == [name for name, _ in like.photos[:4000]], "the most relevant come first"
        assert like.searches < 60
        spider = spider_at(site, ws, "flickr")  # the fault bites: whoever only turns pages gets four thousand
        turned = [first_page(spider, cursor=[page, []]) for page in range(1, 19)]
        assert len({each.source_id for page in turned for each in page.found}) == 4000


def test_windows_go_on_from_a_cursor_alone(ws: Workspace) -> None:
    with Replay({"/services/rest/": FlickrLike(UPLOADS)}) as site:
        found: set[str] = set()
        cursor: Any = None
        while True:
            page = first_page(spider_at(site, ws, "flickr"), cursor)  # a new process for every page
            found.update(each.source_id for each in page.found)
            cursor = page.cursor
            if cursor is None:
                break
    assert len(found) == 9000


def test_a_second_with_too_many_uploads_is_no_endless_search(ws: Workspace) -> None:
    with Replay({"/services/rest/": FlickrLike([1_300_000_000] * 4500)}) as site:
        assert len(asyncio.run(candidates(spider_at(site, ws, "flickr")))) == 4000


def test_windows_are_halved_without_a_gap() -> None:
    windows = [[flickr.BEGAN, flickr.BEGAN + 1001]]
    for _ in range(6):
        windows = [half for window in windows for half in flickr.halves(*window)]
        assert all(one[1] + 1 == other[0] for one, other in pairwise(windows))
    assert (windows[0][0], windows[-1][1], len(windows)) == (flickr.BEGAN, flickr.BEGAN + 1001, 64)


@pytest.mark.parametrize(
    ("preset", "ids"),
    [("open", "4,5,8,9,10,11,12"), ("public-domain", "8,9,10"), ("noncommercial", "1,2,4,5,8,9,10,11,12,14,15")],
)
def test_flickr_is_asked_for_the_licenses_that_are_wanted_only(ws: Workspace, preset: str, ids: str) -> None:
    with Replay({"/services/rest/": FlickrLike([1])}) as site:
        spider = spider_at(site, ws, "flickr")
        spider.job.allowed = licenses.allowed(preset)
        first_page(spider)
        assert set(asked(site)["license"].split(",")) == set(ids.split(","))


def test_flickr_is_asked_for_facets(ws: Workspace) -> None:
    wanted: dict[str, Any] = {
        "kind": "illustration",
        "color": "yellow",
        "since": "2019",
        "until": "2020-02",
    }
    with Replay({"/services/rest/": FlickrLike([1])}) as site:
        first_page(spider_at(site, ws, "flickr", safe=False, creator="Ada Example", **wanted))
        told = asked(site)
    assert (told["content_types"], told["safe_search"], told["color_codes"]) == ("2", "3", "3,4")
    assert (told["min_taken_date"], told["max_taken_date"]) == ("2019-01-01 00:00:00", "2020-02-29 23:59:59")
    assert told["user_id"] == "1000001@N01"


def test_flickr_refuses_with_http_200_and_without_the_key_in_the_error(ws: Workspace) -> None:
    refusal = {"stat": "fail", "code": 100, "message": f"Invalid API Key ({KEY})"}
    with Replay({"/services/rest/": refusal}) as site, pytest.raises(SourceDown, match="Invalid API Key") as caught:
        first_page(spider_at(site, ws, "flickr"))
    assert "code 100" in str(caught.value)
    assert KEY not in str(caught.value)


def refusing(method: str, message: str) -> Answers:
    """Flickr, where one method answers that there is no such thing."""

    def answer(params: Params) -> dict[str, Any]:
        if params["method"] == [method] and "9001" not in params.get("photo_id", ()):
            return {"stat": "fail", "code": 1, "message": message}
        told: dict[str, Any] = sample("flickr")[params["method"][0]]
        return told

    return {"/services/rest/": answer}


def test_flickr_rechecks_a_photograph(ws: Workspace) -> None:
    before = Sighting("flickr", "9001", f"{FILES}/1.jpg", License("by", "2.0"), creator="Ada Example")
    with Replay(refusing("flickr.photos.getInfo", 'Photo "1" not found (invalid ID)')) as site:
        spider = spider_at(site, ws, "flickr")
        now = asyncio.run(spider.recheck(before))
        gone = asyncio.run(spider.recheck(Sighting("flickr", "1", "", License("by"))))
    assert now is not None
    assert (now.license.code, now.license.version, now.url, now.facts["mature"]) == ("by-nc", "2.0", before.url, True)
    assert gone is None


def test_a_creator_whom_flickr_does_not_know_is_no_failure(ws: Workspace) -> None:
    with (
        Replay(refusing("flickr.people.findByUsername", "User not found")) as site,
        pytest.raises(NothingToAsk, match="nobody there is called Zed"),
    ):
        first_page(spider_at(site, ws, "flickr", creator="Zed"))
