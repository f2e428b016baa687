"""iNaturalist: words become taxa only by name, and every photograph has its own license."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from collector import licenses
from collector.spiders import inaturalist
from collector.spiders.base import NothingToAsk, SchemaDrift
from collector.spiders.inaturalist import read_observation
from collector.workspace import Workspace
from tests.collector.spiders.replay import Params, Replay, pages, realdata, recorded, sample, spider_at


def observations() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = sample("inaturalist")["/v1/observations"]["results"]
    return listed


@pytest.mark.realdata
@realdata
def test_recorded_observations_are_read() -> None:
    (monarch,) = read_observation(recorded("inaturalist/v1-observations-page1.json")["results"][0])
    assert (monarch.license.code, monarch.license.version, monarch.creator) == ("by-nc", "4.0", "samroom")
    assert monarch.url == "https://static.inaturalist.org/photos/92152429/original.jpg?1598551272"
    assert monarch.page == "https://www.inaturalist.org/observations/57754375"
    assert monarch.creator_url == "https://www.inaturalist.org/people/samroom"
    assert monarch.title == "Monarch"
    assert monarch.facts["date"] == "2020-08-27"
    (cicada,) = read_observation(recorded("inaturalist/v1-observation-cc0.json"))
    assert (cicada.license.code, cicada.creator) == ("by", "Ken-ichi Ueda")  # the observation is cc0, its photo is not
    assert (cicada.facts["width"], cicada.facts["height"]) == (1365, 2048)


@pytest.mark.realdata
@realdata
def test_a_recorded_photograph_with_all_rights_reserved_is_refused() -> None:
    (observation,) = recorded("inaturalist/v2-observations-all-rights-reserved.json")["results"]
    found = read_observation(observation)
    assert len(found) == len(observation["photos"])
    assert {each.creator for each in found} == {"jmilligan"}
    refused = [licenses.judge(each.license, "any-cc") for each in found]
    assert {why.reason for why in refused if why} == {"license-missing"}
    assert all(each.license.evidence == "photos[].license_code=None" for each in found)


@pytest.mark.realdata
@realdata
def test_a_recorded_list_of_taxa_names_one_by_its_exact_name_only() -> None:
    taxa = recorded("inaturalist/v1-taxa-autocomplete.json")["results"]
    assert [taxon["id"] for taxon in inaturalist.taxa_named("vespidae", taxa)] == [52747]
    assert [taxon["id"] for taxon in inaturalist.taxa_named("vespicula waspfish", taxa)] == [621585]
    assert inaturalist.taxa_named("vespi", taxa) == []
    assert inaturalist.taxa_named("wasp", taxa) == []  # "Paper Wasps, Potter Wasps, and Allies" are more than wasps


def test_the_license_of_each_photograph_is_its_own() -> None:
    found = [photo for each in observations() for photo in read_observation(each)]
    assert [(each.source_id, each.license.code) for each in found] == [
        ("7001/9001", "by"), ("7001/9002", "missing"), ("7002/9003", "cc0"), ("7002/9004", "contradictory"),
    ]  # fmt: skip
    assert [each.creator for each in found] == ["Ada Example", "Ada Example", "bo_example", "Somebody Else"]
    assert [each.creator_url[-3:] for each in found] == ["ada", "ada", "ple", ""]
    assert found[2].url.endswith("/9003/original.jpeg")
    assert "captive" in found[0].facts["tags"]


@pytest.mark.parametrize("code", ["pd", "gfdl", "cc-by-sampling", "by", "C"])
def test_a_code_that_is_not_listed_is_unknown(code: str) -> None:
    assert inaturalist.read_license({"license_code": code}).code == "unknown"


def test_a_photographer_is_read_in_any_language() -> None:
    said = {"attribution": "(c) Ada Example, certains droits réservés (CC BY-NC)"}
    assert inaturalist.owner(said, {}) == "Ada Example"
    assert inaturalist.owner({"attribution": ""}, {"name": None, "login": "ada"}) == "ada"


def test_a_horse_is_no_horse_fly_and_the_dry_run_says_so(ws: Workspace) -> None:
    with Replay(sample("inaturalist")) as replay:
        spider = spider_at(replay, ws, "inaturalist")
        (page,) = pages(spider)
        asked = parse_qs(urlsplit(replay.to("/v1/observations")[0]).query)
    assert len(page.found) == 4
    assert asked["taxon_id"] == ["502"]
    assert asked["photo_license"] == ["cc0,cc-by,cc-by-sa"]
    assert asked["quality_grade"] == ["research,casual"]
    (note,) = spider.job.notes["inaturalist"]
    assert note.startswith("horse is taxon 502 Equus caballus (species, Domestic Horse), not 501 Tabanidae (family, ")
    assert "sources.inaturalist.taxa" in note


def test_a_word_that_is_no_taxon_is_skipped_with_what_was_found_instead(ws: Workspace) -> None:
    with Replay(sample("inaturalist")) as replay, pytest.raises(NothingToAsk) as told:
        pages(spider_at(replay, ws, "inaturalist"), "horseback rider")
    assert str(told.value) == (
        "no taxon is called horseback rider; it knows 501 Tabanidae (family, Horse and Deer Flies), 502 Equus caballus "
        "(species, Domestic Horse), 503 Equisetum (genus, Horsetails); one can be chosen by sources.inaturalist.taxa, "
        "as in horseback-rider = ID"
    )
    assert not replay.to("/v1/observations")


def test_a_taxon_can_be_chosen_in_the_settings(make_workspace: Any) -> None:
    ws = make_workspace("[sources.inaturalist.taxa]\nhorse = 43327\n")
    with Replay(sample("inaturalist")) as replay:
        pages(spider_at(replay, ws, "inaturalist"), "Horses")
    assert not replay.to("/v1/taxa")
    assert "taxon_id=43327" in replay.asked[0]


def test_pages_go_on_above_the_last_observation_whatever_photographs_it_has(ws: Workspace) -> None:
    def answer(params: Params) -> dict[str, Any]:
        begin = int(params["id_above"][0]) + 1
        photo = observations()[0]["photos"][0]
        results = [{"id": n, "photos": [{**photo, "id": n}] if n % 50 == 0 else []} for n in range(begin, 251)][:100]
        return {"total_results": 250, "per_page": 100, "results": results}

    with Replay({**sample("inaturalist"), "/v1/observations": answer}) as replay:
        found = pages(spider_at(replay, ws, "inaturalist"))
    assert [[each.source_id for each in page.found] for page in found] == [
        ["50/50", "100/100"], ["150/150", "200/200"], ["250/250"],
    ]  # fmt: skip
    assert [page.cursor for page in found] == [[502, 100], [502, 200], None]
    assert len(replay.to("/v1/taxa")) == 1  # a cursor knows the taxon


def test_dates_and_logins_are_asked_for(ws: Workspace) -> None:
    with Replay(sample("inaturalist")) as replay:
        pages(spider_at(replay, ws, "inaturalist", since="2020", until="2021-02", creator="ada"))
        pages(spider_at(replay, ws, "inaturalist", creator="Ada Example"))
    first, second = (parse_qs(urlsplit(each).query) for each in replay.to("/v1/observations"))
    assert (first["d1"], first["d2"], first["user_login"]) == (["2020-01-01"], ["2021-02-28"], ["ada"])
    assert "user_login" not in second
    with Replay({}) as replay, pytest.raises(NothingToAsk, match="photographs only"):
        pages(spider_at(replay, ws, "inaturalist", kind="illustration"))


def test_a_photograph_is_asked_for_again(ws: Workspace) -> None:
    one, gone = observations()
    answers = {"/v1/observations/7001": {"results": [one]}, "/v1/observations/7002": {"results": []}}
    with Replay(answers) as replay:
        spider = spider_at(replay, ws, "inaturalist")
        before = read_observation(one)[0]
        assert asyncio.run(spider.recheck(before)) == before
        one["photos"][0]["license_code"] = None
        after = asyncio.run(spider.recheck(before))
        assert after is not None
        assert after.license.code == "missing"
        assert asyncio.run(spider.recheck(read_observation(gone)[0])) is None
        del answers["/v1/observations/7001"]
        assert asyncio.run(spider.recheck(before)) is None


def test_a_photograph_without_license_field_is_told_as_drift(ws: Workspace) -> None:
    answers = sample("inaturalist")
    for each in answers["/v1/observations"]["results"]:
        for photo in each["photos"]:
            photo["licence"] = photo.pop("license_code")
    with Replay(answers) as replay, pytest.raises(SchemaDrift, match=r"`photos\[\].license_code` is missing"):
        pages(spider_at(replay, ws, "inaturalist"))
