"""Wikimedia Commons: licenses from its metadata, batches that come in parts, and lag."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from collector.records import Sighting
from collector.spiders import wikimedia
from collector.spiders.base import SchemaDrift, SourceDown
from collector.spiders.facets import Facets
from collector.workspace import Workspace
from tests.collector.spiders.replay import Params, Replay, pages, realdata, recorded, sample, spider_at


def read(answer: dict[str, Any]) -> list[Sighting]:
    return [found for page in wikimedia.listed(answer) if (found := wikimedia.read_page(page))]


@pytest.mark.realdata
@realdata
def test_recorded_files_get_the_right_verdict() -> None:
    found = read(recorded("wikimedia/allimages-28-files-no-continue.json"))
    codes = [sighting.license.code for sighting in found]
    assert {code: codes.count(code) for code in set(codes)} == {"pdm": 10, "by-sa": 16, "no-known-restrictions": 2}
    german = next(sighting for sighting in found if sighting.license.jurisdiction)
    assert german.license.url == "https://creativecommons.org/licenses/by-sa/3.0/de/"
    assert german.creator == "Photo: Eckhard Henkel / Wikimedia Commons / CC BY-SA 3.0 DE"
    assert not [sighting for sighting in found if "<" in sighting.creator + sighting.title + str(sighting.facts)]
    assert all(sighting.url.startswith("https://upload.wikimedia.org/") for sighting in found)
    assert all(sighting.page.startswith("https://commons.wikimedia.org/wiki/File:") for sighting in found)
    assert all(sighting.facts["width"] and sighting.facts["height"] and sighting.facts["bytes"] for sighting in found)
    munch = next(sighting for sighting in found if "Munch" in sighting.title)
    assert munch.facts["date"] == "1891"


@pytest.mark.realdata
@realdata
def test_recorded_oddities_are_read() -> None:
    assert read(recorded("wikimedia/titles-missing-file.json")) == []
    assert read(recorded("wikimedia/titles-extmetadata-image-license.json")) == []  # it is said to be missing
    badger = read(recorded("wikimedia/titles-extmetadata-badger.json"))[0]
    assert (badger.license.code, badger.license.version, badger.creator) == ("by", "2.0", "Chris. P")
    assert badger.creator_url.startswith("http://www.flickr.com/people/")
    described = wikimedia.read_page(recorded("wikimedia/page-html-description.json"))
    assert described is None or "<" not in described.title


@pytest.mark.realdata
@realdata
def test_a_recorded_batch_in_two_parts_gives_each_file_once(ws: Workspace) -> None:
    parts = [recorded(f"wikimedia/allimages-continue-{n}.json") for n in (1, 2)]
    last = {**parts[1], "batchcomplete": ""}
    last.pop("continue", None)
    with Replay({"/w/api.php": lambda params: last if "gucontinue" in params else parts[0]}) as replay:
        found = [each for page in pages(spider_at(replay, ws, "wikimedia")) for each in page.found]
    assert len(replay.asked) == 2
    assert [each.source_id for each in found] == [each.source_id for each in read(parts[0])]
    assert read(parts[1]) == []


def about(**values: str) -> dict[str, dict[str, str]]:
    return {name: {"value": value} for name, value in values.items()}


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"License": "pd", "Copyrighted": "False"}, "pdm"),
        ({"LicenseShortName": "Public domain", "Copyrighted": "False"}, "pdm"),
        ({"License": "pd", "Copyrighted": "True"}, "contradictory"),
        ({"LicenseShortName": "No restrictions", "LicenseUrl": "https://www.flickr.com/commons/usage/",
          "Copyrighted": "True"}, "no-known-restrictions"),
        ({"LicenseShortName": "All rights reserved", "Copyrighted": "True"}, "missing"),
        ({"License": "cc-by-4.0", "LicenseUrl": "https://creativecommons.org/licenses/by-nc/4.0"}, "contradictory"),
        ({"LicenseUrl": "https://creativecommons.org/licenses/by/4.0"}, "by"),
        ({"License": "gfdl"}, "unknown"),
        ({}, "missing"),
    ],
)  # fmt: skip
def test_a_license_is_its_code_then_its_address(values: dict[str, str], code: str) -> None:
    assert wikimedia.read_license(about(**values)).code == code


def test_restrictions_of_a_file_are_kept_as_evidence_and_as_a_fact() -> None:
    assert (
        "Restrictions='personality'"
        in wikimedia.read_license(about(License="cc-by-4.0", Restrictions="personality")).evidence
    )
    assert [each.facts.get("restrictions") for each in read(sample("wikimedia")["/w/api.php"])] == [
        None, "trademarked", None,
    ]  # fmt: skip


def test_a_batch_in_parts_is_whole_at_batchcomplete_and_its_cursor_asks_for_the_next(ws: Workspace) -> None:
    whole = sample("wikimedia")["/w/api.php"]["query"]["pages"]
    bare = [{key: value for key, value in page.items() if key != "imageinfo"} for page in whole]

    def answer(params: Params) -> dict[str, Any]:
        if params.get("gsroffset") == ["50"]:
            page = {**copy.deepcopy(whole[0]), "pageid": 2001, "index": 51}
            return {"batchcomplete": True, "query": {"pages": [page]}}
        if "iicontinue" in params:
            more = {"gsroffset": 50, "continue": "gsroffset||"}
            return {"batchcomplete": True, "continue": more, "query": {"pages": [*bare[:2], whole[2]]}}
        more = {"iicontinue": "x", "continue": "||"}
        return {"continue": more, "query": {"pages": [whole[1], whole[0], bare[2]]}}

    with Replay({"/w/api.php": answer}) as replay:
        first, second = pages(spider_at(replay, ws, "wikimedia"))
    assert [each.source_id for each in first.found] == ["1001", "1002", "1003"]  # in the order of the search
    assert first.cursor == {"gsroffset": 50, "continue": "gsroffset||"}
    assert [each.source_id for each in second.found] == ["2001"]


def test_a_batch_that_never_ends_is_told(ws: Workspace) -> None:
    answer = {"continue": {"iicontinue": "again"}, "query": {"pages": []}}
    with Replay({"/w/api.php": answer}) as replay, pytest.raises(SchemaDrift, match="`batchcomplete` is missing"):
        pages(spider_at(replay, ws, "wikimedia"))


def test_an_error_is_told_and_lag_is_waited_for(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wikimedia, "LAG_S", 0.0)
    lags = [{"error": {"code": "maxlag", "info": "Waiting"}}] * 2
    with Replay({"/w/api.php": lambda params: lags.pop() if lags else sample("wikimedia")["/w/api.php"]}) as replay:
        assert len(pages(spider_at(replay, ws, "wikimedia"))[0].found) == 3
    bad = {"error": {"code": "srsearch-disabled", "info": "Search is off"}}
    with Replay({"/w/api.php": bad}) as replay, pytest.raises(SourceDown, match="it refuses: srsearch-disabled"):
        pages(spider_at(replay, ws, "wikimedia"))


def test_a_least_size_is_part_of_the_search() -> None:
    assert wikimedia.search_words("horse", Facets(min_side=800)) == "horse filetype:bitmap filew:>799 fileh:>799"
    assert wikimedia.search_words("horse", Facets()) == "horse filetype:bitmap"
