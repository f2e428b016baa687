"""GBIF: the license of a picture is not that of its record."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from collector.licenses import allowed
from collector.spiders import gbif
from collector.spiders.base import NothingToAsk
from collector.spiders.gbif import read_record
from collector.workspace import Workspace
from tests.collector.spiders.replay import Params, Replay, pages, realdata, recorded, sample, spider_at


def records() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = sample("gbif")["/v1/occurrence/search"]["results"]
    return listed


@pytest.mark.realdata
@realdata
def test_recorded_pictures_have_their_own_license_not_that_of_the_record() -> None:
    answer = recorded("gbif/occurrence-search-stillimage-subset.json")
    differ = 0
    for record in answer["results"]:
        found = read_record(record)
        assert len(found) == sum(medium["type"] == "StillImage" for medium in record["media"])
        for each, medium in zip(found, record["media"], strict=True):
            kind = "cc0" if "zero" in medium["license"] else medium["license"].split("/")[4]
            assert (each.license.code, each.url) == (kind, medium["identifier"])
            assert each.page == medium["references"]
            assert each.creator == medium["creator"]
            assert each.facts["date"] == medium["created"][:10]
            differ += f"/{kind}/" not in record["license"] and kind != "cc0"
    assert differ >= 3


@pytest.mark.realdata
@realdata
def test_recorded_pictures_without_license_are_refused_whatever_the_record_says() -> None:
    answer = recorded("gbif/occurrence-search-recorded-by.json")
    found = [each for record in answer["results"] for each in read_record(record)]
    assert found
    assert {each.license.code for each in found} == {"missing"}


def test_only_still_images_are_read_and_named_by_their_address() -> None:
    found = [each for record in records() for each in read_record(record)]
    assert [each.license.code for each in found] == ["by", "by-nc", "missing", "cc0"]
    assert len({each.source_id for each in found}) == 4
    assert all(each.source_id.startswith(("4001/", "4002/")) for each in found)
    assert found[2].page == "https://www.gbif.org/occurrence/4002"
    assert found[2].creator == "A museum"
    assert [each.facts["date"] for each in found] == ["2024-01-06", "2024-01-06", "1931", "1931"]
    moved = {**records()[0], "media": list(reversed(records()[0]["media"]))}
    assert {each.source_id for each in read_record(moved)} == {each.source_id for each in found[:2]}


@pytest.mark.parametrize(
    ("said", "code"),
    [("http://creativecommons.org/licenses/by-sa/4.0/legalcode", "by-sa"), ("CC BY-NC 4.0", "by-nc"),
     ("© Ada Example, all rights reserved", "unknown"), ("CC BY", "unknown"), ("", "missing"), (None, "missing"),
     ("https://example.org/license", "unknown")],
)  # fmt: skip
def test_a_license_is_an_address_or_a_code(said: Any, code: str) -> None:
    assert gbif.read_license({"license": said}).code == code


def test_a_word_is_a_taxon_by_its_common_name_in_english_first() -> None:
    def taxon(key: int, canonical: str, status: str = "ACCEPTED", **names: str) -> dict[str, Any]:
        said = [{"vernacularName": name, "language": language} for language, name in names.items()]
        return {"key": key, "canonicalName": canonical, "taxonomicStatus": status, "vernacularNames": said}

    taxa = [
        taxon(1, "Tabanus", eng="horse flies"),
        taxon(2, "Hippus", nld="horse"),
        taxon(3, "Equus equus", "SYNONYM", eng="horse"),
        taxon(4, "Equus caballus", eng="Horse"),
    ]
    assert [each["key"] for each in gbif.taxa_named("horses", taxa)] == [4, 3, 2]
    assert gbif.taxa_named("mackerel", taxa) == []


def test_a_search_is_by_taxon_and_else_by_words(ws: Workspace) -> None:
    with Replay(sample("gbif")) as replay:
        spider = spider_at(replay, ws, "gbif", since="2020", creator="Ada Example")
        pages(spider)
        pages(spider, "white horse")
    first, second = (parse_qs(urlsplit(each).query) for each in replay.to("/v1/occurrence/search"))
    assert (first["taxonKey"], first["eventDate"], first["recordedBy"]) == (["302"], ["2020,*"], ["Ada Example"])
    assert first["license"] == ["CC0_1_0", "CC_BY_4_0"]
    assert second["q"] == ["white horse"]
    assert spider.job.notes["gbif"] == [
        "horse is taxon 302 Equus caballus (species)",
        "no taxon is called white horse: searched for in all fields of the records",
    ]
    assert gbif.records_of(allowed("noncommercial")) == {}
    with Replay({}) as replay, pytest.raises(NothingToAsk, match="photographs only"):
        pages(spider_at(replay, ws, "gbif", kind="illustration"))


def test_a_synonym_is_searched_for_by_its_accepted_taxon(ws: Workspace) -> None:
    answers = sample("gbif")
    answers["/v1/species/search"]["results"][1] |= {"taxonomicStatus": "SYNONYM", "acceptedKey": 309}
    with Replay(answers) as replay:
        pages(spider_at(replay, ws, "gbif"))
    assert "taxonKey=309" in replay.to("/v1/occurrence")[0]


@pytest.mark.parametrize(
    ("match", "key"),
    [({"usageKey": 7, "matchType": "EXACT", "status": "ACCEPTED"}, 7),
     ({"usageKey": 7, "acceptedUsageKey": 8, "matchType": "EXACT", "status": "SYNONYM"}, 8),
     ({"usageKey": 7, "matchType": "EXACT", "status": "DOUBTFUL"}, None),
     ({"usageKey": 7, "matchType": "FUZZY", "status": "ACCEPTED"}, None),
     ({"matchType": "NONE"}, None)],
)  # fmt: skip
def test_a_scientific_name_is_a_taxon_if_it_is_that_very_name(
    ws: Workspace, match: dict[str, Any], key: int | None
) -> None:
    answers = {**sample("gbif"), "/v1/species/match": {**match, "canonicalName": "Equus", "rank": "GENUS"}}
    with Replay(answers) as replay:
        pages(spider_at(replay, ws, "gbif"), "equus")
    asked = parse_qs(urlsplit(replay.to("/v1/occurrence")[0]).query)
    assert asked.get("taxonKey", []) == ([str(key)] if key else [])
    assert asked.get("q", []) == ([] if key else ["equus"])


def test_pages_go_on_by_offset_to_the_last_that_the_api_allows(ws: Workspace) -> None:
    def answer(params: Params) -> dict[str, Any]:
        begin = int(params["offset"][0])
        results = [{**records()[0], "key": key} for key in range(begin, begin + 100, 50)]
        results += [{"key": key, "media": []} for key in range(98)]
        return {"offset": begin, "limit": 100, "endOfRecords": begin == 200, "count": 300, "results": results}

    with Replay({**sample("gbif"), "/v1/occurrence/search": answer}) as replay:
        spider = spider_at(replay, ws, "gbif")
        found = pages(spider)
        assert [page.cursor and page.cursor["offset"] for page in found] == [100, 200, None]
        assert [len(page.found) for page in found] == [4, 4, 4]
        assert len(replay.to("/v1/species/search")) == 1  # a cursor knows the taxon
        last = asyncio.run(spider.page("horse", {"taxonKey": 302, "offset": 99_900}))
        assert last.cursor is None


def test_a_picture_is_asked_for_again(ws: Workspace) -> None:
    record = records()[0]
    with Replay({"/v1/occurrence/4001": record}) as replay:
        spider = spider_at(replay, ws, "gbif")
        before = read_record(record)[1]
        assert asyncio.run(spider.recheck(before)) == before
        del record["media"][1]
        assert asyncio.run(spider.recheck(before)) is None
        assert asyncio.run(spider.recheck(read_record(records()[1])[0])) is None
