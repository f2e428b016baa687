"""The Internet Archive: items with a stated license, their original files, and the search beyond 10,000."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from collector.records import Sighting
from collector.spiders import internetarchive
from collector.spiders.base import SourceDown
from collector.spiders.facets import Facets
from collector.spiders.internetarchive import read_doc, read_item
from collector.workspace import Workspace
from tests.collector.spiders.replay import Params, Replay, pages, realdata, recorded, sample, spider_at


def album() -> dict[str, Any]:
    return dict(sample("internetarchive")["/metadata/horse-album"])


@pytest.mark.realdata
@realdata
def test_a_recorded_item_gives_its_original_pictures_only() -> None:
    (globe,) = read_item(recorded("internetarchive/metadata-nasa.json"))
    assert globe.source_id == "nasa/globe_west_540.jpg"
    assert globe.url == "https://archive.org/download/nasa/globe_west_540.jpg"
    assert globe.page == "https://archive.org/details/nasa"
    assert globe.facts["bytes"] == 66065
    assert globe.facts["md5"] == "9366a4b09386bf673c447e33d806d904"
    assert globe.facts["sha1"] == "3e20a009994405f535cdf07cdc2974cef2fce8f2"
    assert globe.license.code == "missing"  # `rights` is a text, no license


@pytest.mark.realdata
@realdata
def test_recorded_items_without_licenseurl_are_refused_before_their_files_are_asked_for(ws: Workspace) -> None:
    answer = recorded("internetarchive/advancedsearch-nasa-50.json")
    with Replay({"/advancedsearch.php": answer}) as replay:
        (page,) = pages(spider_at(replay, ws, "internetarchive"))
    assert len(page.found) == 50
    assert {each.license.code for each in page.found} == {"missing"}
    assert page.found[1].creator == "NASA Ames Research Center"
    assert len(replay.asked) == 1


@pytest.mark.realdata
@realdata
def test_a_recorded_answer_of_the_other_search_gives_its_items_and_cursor(ws: Workspace) -> None:
    with Replay({"/services/search/v1/scrape": recorded("internetarchive/scrape-nasa.json")}) as replay:
        page = asyncio.run(spider_at(replay, ws, "internetarchive").page("nasa", ""))
    assert len(page.found) == 100
    assert page.cursor == "W3siaWRlbnRpZmllciI6IjE5NjEtTC0wNTkxNCJ9XQ=="


def test_files_with_spaces_and_folders_have_an_address() -> None:
    first, second = read_item(album())
    assert (first.source_id, second.source_id) == ("horse-album/bay horse.jpg", "horse-album/scans/gray.tif")
    assert first.url == "https://archive.org/download/horse-album/bay%20horse.jpg"
    assert second.url == "https://archive.org/download/horse-album/scans/gray.tif"
    assert (first.license.code, first.license.version) == ("by", "3.0")
    assert first.creator == "Ada Example; Bo Example"
    assert first.facts == {
        "width": 320, "height": 240, "bytes": 20480, "date": "1912-05-01", "tags": ["horses", "valley"],
    }  # fmt: skip


def test_an_item_that_is_withdrawn_has_no_pictures() -> None:
    assert read_item({}) == []
    assert read_item({**album(), "is_dark": True}) == []
    private = {**album(), "files": [{**album()["files"][0], "private": "true"}]}
    assert read_item(private) == []


@pytest.mark.parametrize(
    ("said", "code"),
    [("https://creativecommons.org/licenses/by-sa/4.0/", "by-sa"), ("http://creativecommons.org/publicdomain/mark/1.0/",
     "pdm"), (["https://creativecommons.org/licenses/by/3.0/"] * 2, "by"), (["a", "b"], "contradictory"),
     ("https://creativecommons.org/publicdomain/certification/", "unknown"), ("", "missing"), (None, "missing"),
     ({}, "missing"), ([], "missing")],
)  # fmt: skip
def test_a_license_is_one_address(said: Any, code: str) -> None:
    assert internetarchive.read_license({"licenseurl": said}).code == code


def test_a_search_is_plain_words_with_a_license() -> None:
    assert internetarchive.search_words('white "horse" OR:', Facets()) == (
        "(white AND horse AND OR) AND mediatype:image AND licenseurl:*creativecommons*"
    )
    wished = Facets(creator='Ada "A" Example', since="1900", until="1910-05")
    assert internetarchive.search_words("horse", wished).endswith(
        'creator:"Ada  A  Example" AND date:[1900 TO 1910-05]'
    )


def test_a_dry_run_shows_items_and_asks_for_no_files(ws: Workspace) -> None:
    with Replay(sample("internetarchive")) as replay:
        (page,) = pages(spider_at(replay, ws, "internetarchive", dry_run=True))
    assert [each.source_id for each in page.found] == ["horse-album", "horse-unlicensed", "horse-withdrawn"]
    assert len(replay.asked) == 1


def test_beyond_its_last_item_the_other_search_goes_on_where_the_first_ended(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert internetarchive.LAST == 10_000
    monkeypatch.setattr(internetarchive, "LAST", 500)

    def doc(n: int) -> dict[str, str]:
        return {"identifier": f"item{n}"}  # no license: refused without a request for its files

    def first(params: Params) -> dict[str, Any]:
        begin = 50 * (int(params["page"][0]) - 1)
        return {"response": {"numFound": 570, "docs": [doc(n) for n in range(begin, begin + 50)]}}

    def second(params: Params) -> dict[str, Any]:
        begin = int(params.get("cursor", ["0"])[0])
        more = {"cursor": str(begin + 100)} if begin + 100 < 570 else {}
        return {"items": [doc(n) for n in range(begin, min(begin + 100, 570))], **more}

    with Replay({"/advancedsearch.php": first, "/services/search/v1/scrape": second}) as replay:
        spider = spider_at(replay, ws, "internetarchive")
        found = [each.source_id for page in pages(spider, most=40) for each in page.found]
    assert found == [f"item{n}" for n in range(570)]
    assert len(replay.to("/advancedsearch.php")) == 10
    assert parse_qs(urlsplit(replay.asked[0]).query)["fl[]"] == ["identifier,title,creator,licenseurl,date"]


def test_one_item_that_fails_is_left_out_and_a_source_that_fails_is_told(ws: Workspace) -> None:
    answers = sample("internetarchive")
    for item in ("horse-album", "horse-withdrawn"):
        answers[f"/metadata/{item}"] = 500
    with Replay(answers) as replay:
        spider = spider_at(replay, ws, "internetarchive")
        (page,) = pages(spider)
        assert [each.source_id for each in page.found] == ["horse-unlicensed"]
        assert min(spider.job.notes["internetarchive"]).startswith(
            "the files of horse-album are not known: it answered"
        )
        del answers["/advancedsearch.php"]["response"]["docs"][1]
        with pytest.raises(SourceDown, match="HTTP 500"):
            pages(spider_at(replay, ws, "internetarchive"))


def test_a_file_is_asked_for_again(ws: Workspace) -> None:
    now = album()

    async def again(found: Sighting) -> Sighting | None:
        return await spider.recheck(found)

    with Replay({"/metadata/horse-album": now, "/metadata/horse-withdrawn": {}}) as replay:
        spider = spider_at(replay, ws, "internetarchive")
        (before, _) = read_item(now, f"{replay.url}/download")
        assert asyncio.run(again(before)) == before
        now["metadata"] = {**now["metadata"], "licenseurl": ""}
        after = asyncio.run(again(before))
        assert after is not None
        assert after.license.code == "missing"
        now["files"] = now["files"][1:]
        assert asyncio.run(again(before)) is None
        assert asyncio.run(again(read_doc({"identifier": "horse-withdrawn"}))) is None
