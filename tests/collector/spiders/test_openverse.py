"""Openverse: its results, its limits, and what it is asked for."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from collector import licenses
from collector.spiders import openverse
from collector.spiders.facets import Facets
from collector.workspace import Workspace
from tests.collector.spiders.replay import RECORDED, Params, Replay, pages, realdata, recorded, sample, spider_at


@pytest.mark.realdata
@realdata
@pytest.mark.parametrize("path", sorted((RECORDED / "openverse").glob("search-*.json")), ids=lambda path: path.stem)
def test_every_recorded_result_is_read(path: Path) -> None:
    answer = recorded(f"openverse/{path.name}")
    found = [openverse.read_result(result) for result in answer["results"]]
    for sighting, result in zip(found, answer["results"], strict=True):
        assert sighting is not None
        assert sighting.license.code == result["license"]
        assert sighting.license.version == result["license_version"]
        assert (sighting.url, sighting.page) == (result["url"], result["foreign_landing_url"])
        assert sighting.creator == " ".join(result["creator"].split())
        refused = licenses.judge(sighting.license, "open") is not None
        assert refused == (result["license"] not in ("by", "by-sa", "cc0", "pdm"))


@pytest.mark.realdata
@realdata
def test_the_recorded_detail_of_one_picture_has_its_size_and_tags() -> None:
    found = openverse.read_result(recorded("openverse/detail-2024-rate-limit-headers.json"))
    assert found is not None
    assert found.facts == {"width": 500, "height": 375, "mature": False, "tags": ["bubbles", "honey"]}
    assert found.license.evidence.startswith("license='by-sa' license_version='2.0'")


def test_null_fields_are_read_as_nothing() -> None:
    found = openverse.read_result(sample("openverse")["/v1/images/"]["results"][1])
    assert found is not None
    assert (found.title, found.creator, found.creator_url) == ("", "", "")
    assert found.facts == {"kind": "artwork", "mature": False}


def test_a_result_that_is_called_sensitive_is_mature() -> None:
    found = openverse.read_result({"id": "1", "mature": False, "unstable__sensitivity": ["sensitive_text"]})
    assert found is not None
    assert found.facts["mature"] is True


def test_only_accepted_licenses_and_wished_facets_are_asked_for(ws: Workspace) -> None:
    with Replay(sample("openverse")) as replay:
        pages(spider_at(replay, ws, "openverse", aspect="tall", kind="photograph", min_side=1500, creator="Ada"))
        asked = parse_qs(urlsplit(replay.asked[0]).query)
    assert asked["license"] == ["by,by-sa,cc0,pdm"]
    assert (asked["aspect_ratio"], asked["category"], asked["size"]) == (["tall"], ["photograph"], ["large"])
    assert not {"creator", "mature"} & asked.keys()  # not together with words; and left out by default


@pytest.mark.parametrize(("side", "size"), [(0, None), (500, None), (600, "medium,large"), (1400, "large")])
def test_no_size_is_left_out_that_could_fit(side: int, size: str | None) -> None:
    assert openverse.asked_facets(Facets(min_side=side)).get("size") == size


def test_pages_end_at_240_results(ws: Workspace) -> None:
    def answer(params: Params) -> dict[str, object]:
        begin = 20 * (int(params["page"][0]) - 1)
        results = [{"id": str(n), "url": f"https://files.example.org/{n}.jpg", "license": "cc0"} for n in range(20)]
        return {"page_count": 500, "results": [{**each, "id": str(begin + n)} for n, each in enumerate(results)]}

    with Replay({"/v1/images/": answer}) as replay:
        found = [each.source_id for page in pages(spider_at(replay, ws, "openverse")) for each in page.found]
    assert found == [str(n) for n in range(240)]
    assert len(replay.asked) == 12
