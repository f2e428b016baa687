"""The demo's site answers like the real services, and plants what goes wrong on the real web."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from pipelines.demo.entries import Picture
from pipelines.demo.site import Site

SAMPLES = Path(__file__).resolve().parents[2] / "../shared/api-samples"
AGENT = "collect-tests/1 (tests@example.org)"
COMMONS = {
    "action": "query", "format": "json", "formatversion": "2", "generator": "search", "gsrnamespace": "6",
    "gsrsearch": "horse filetype:bitmap", "gsrlimit": "20", "prop": "imageinfo", "maxlag": "5",
    "iiprop": "url|size|mime|sha1|user|timestamp|extmetadata", "iiextmetadatalanguage": "en",
}  # fmt: skip


def _jpeg(number: int) -> bytes:
    noise = Image.frombytes("RGB", (16, 12), hashlib.shake_128(str(number).encode()).digest(16 * 12 * 3))
    buffer = io.BytesIO()
    noise.resize((240, 180), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


PICTURES = [Picture(f"p{i}", f"Horse, drawing no. {i}", _jpeg(i), ("horse", "drawing")) for i in range(170)]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site(PICTURES) as running:
        yield running


@pytest.fixture(scope="module")
def web(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url, headers={"User-Agent": AGENT}) as client:
        yield client


def _openverse(site: Site, **params: str) -> list[dict[str, Any]]:
    """All results of a search, asked in process: the HTTP side is limited to 20 searches a minute, as the real one."""
    from pipelines.demo.answers import openverse_answer

    found: list[dict[str, Any]] = []
    for page in range(1, 13):
        status, body = openverse_answer(site.listing.openverse, {"q": "horse", "page": str(page), **params}, site.url)
        assert status == 200
        found += body["results"]
    return found


def _commons(web: httpx.Client, **params: str) -> list[dict[str, Any]]:
    """All parts of a Commons search, following `continue` as the API asks."""
    answers, request = [], COMMONS | params
    while True:
        answers.append(web.get("/w/api.php", params=request).json())
        if "continue" not in answers[-1]:
            return answers
        request = COMMONS | params | {key: str(value) for key, value in answers[-1]["continue"].items()}


def _merged(answers: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    pages: dict[int, dict[str, Any]] = {}
    for answer in answers:
        for page in answer["query"]["pages"]:
            pages.setdefault(page["pageid"], {}).update(page)
    return pages


def test_an_openverse_page_has_twenty_results_and_rate_limit_headers(web: httpx.Client) -> None:
    answer = web.get("/v1/images/", params={"q": "horse", "license_type": "commercial,modification"})
    body = answer.json()
    assert len(body["results"]) == body["page_size"] == 20
    assert body["page_count"] == -(-body["result_count"] // 20)
    assert answer.headers["x-ratelimit-limit-anon_burst"] == "20/min"
    assert int(answer.headers["x-ratelimit-available-anon_burst"]) < 20


def test_the_twenty_first_search_in_a_minute_is_refused_with_retry_after() -> None:
    with Site(PICTURES[:9]) as site, httpx.Client(base_url=site.url) as client:
        statuses = [client.get("/v1/images/", params={"q": "horse"}).status_code for _ in range(20)]
        last = client.get("/v1/images/", params={"q": "horse"})
    assert statuses == [200] * 20
    assert last.status_code == 429
    assert 1 <= int(last.headers["Retry-After"]) <= 61


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"page_size": "21"}, 401),
        ({"page": "21"}, 400),
        ({"page": "one"}, 400),
        ({"license_type": "free"}, 400),
        ({"license": "gpl"}, 400),
        ({"pagesize": "10"}, 400),
        ({"unstable__tag": "x"}, 200),
    ],
)
def test_openverse_refuses_what_the_real_one_refuses(web: httpx.Client, params: dict[str, str], status: int) -> None:
    assert web.get("/v1/images/", params={"q": "horse"} | params).status_code == status


def test_openverse_filters_by_license_type_but_lets_wrong_facts_through(site: Site) -> None:
    everything = {result["license"] for result in _openverse(site)}
    filtered = _openverse(site, license_type="commercial,modification")
    assert {"by-nc", "by-nc-sa", "by-nc-nd", "by-nd"} <= everything
    assert {result["license"] for result in filtered} == {"by", "by-sa", "cc0", "pdm", "sampling+"}
    assert any("/by-nd-nc/" in result["license_url"] for result in filtered)


def test_openverse_never_shows_more_than_240_results() -> None:
    from pipelines.demo.answers import openverse_answer

    with Site([PICTURES[0]] * 600) as site:
        _, body = openverse_answer(site.listing.openverse, {"q": "horse"}, site.url)
    assert body["result_count"] == 240
    assert body["page_count"] == 12


def test_a_word_that_nothing_carries_finds_nothing(web: httpx.Client) -> None:
    assert web.get("/v1/images/", params={"q": "submarine"}).json()["result_count"] == 0
    assert web.get("/w/api.php", params=COMMONS | {"gsrsearch": "submarine"}).json() == {"batchcomplete": True}


def test_commons_batches_continue_and_the_first_comes_in_two_parts(web: httpx.Client) -> None:
    first, second, *rest = _commons(web)
    assert "batchcomplete" not in first
    assert second["batchcomplete"] is True
    assert {page["pageid"] for page in first["query"]["pages"]} == {page["pageid"] for page in second["query"]["pages"]}
    assert 0 < sum("imageinfo" not in page for page in first["query"]["pages"]) < 20
    assert all(answer["batchcomplete"] for answer in rest)
    assert len(rest) >= 3


def test_merged_commons_pages_are_complete_but_for_the_one_whose_file_is_gone(site: Site, web: httpx.Client) -> None:
    pages = _merged(_commons(web))
    assert len(pages) == len(site.listing.commons)
    assert sum("imageinfo" not in page for page in pages.values()) == 1
    ranks = sorted(page["index"] for page in pages.values())
    assert ranks == list(range(1, len(pages) + 1))


def test_commons_licenses_come_in_all_their_spellings(web: httpx.Client) -> None:
    facts = [page["imageinfo"][0]["extmetadata"] for page in _merged(_commons(web)).values() if "imageinfo" in page]
    codes = {fact["License"]["value"] for fact in facts if "License" in fact}
    assert {"cc-by-sa-4.0", "cc0", "pd", "cc-by-sa-3.0-de", "cc-by-nc-sa-4.0"} <= codes
    assert all("LicenseUrl" not in fact for fact in facts if fact.get("License", {}).get("value") == "pd")
    assert {fact["LicenseShortName"]["value"] for fact in facts if "License" not in fact} == {
        "No restrictions",
        "All rights reserved",
    }
    assert any(fact["Artist"]["value"].startswith("<a href=") for fact in facts)


def test_commons_wants_a_contact_and_answers_maxlag(web: httpx.Client) -> None:
    assert web.get("/w/api.php", params=COMMONS, headers={"User-Agent": "python"}).status_code == 403
    assert web.get("/w/api.php", params=COMMONS | {"maxlag": "-1"}).json()["error"]["code"] == "maxlag"


def test_the_files_are_what_the_entries_promise_or_fail_as_planned(site: Site, web: httpx.Client) -> None:
    statuses: dict[int, int] = {}
    for entry in (*site.listing.openverse, *site.listing.commons):
        answer = web.get(entry.path)
        if answer.status_code == 429:
            assert answer.headers["Retry-After"] == "1"
            assert web.get(entry.path).content == entry.picture.data
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
    assert {status: count for status, count in statuses.items() if status != 200} == {404: 3, 410: 1, 429: 1}
    files = site.listing.files().values()
    assert sum(not file.body for file in files) == 1
    assert sum(file.mime.startswith("text/html") for file in files) == 1
    assert sum(("X-Robots-Tag", "noai") in file.headers for file in files) == 1


def test_every_whole_file_is_traced_to_the_picture_it_shows_even_a_copy(site: Site) -> None:
    shown = site.listing.shown()
    exact = {hashlib.sha256(picture.data).hexdigest(): picture.name for picture in PICTURES}
    names = {picture.name for picture in PICTURES}
    assert sum(digest not in exact for digest in shown) > 10  # the re-encoded copies
    assert set(shown.values()) <= names
    assert all(shown[digest] == name for digest, name in exact.items() if digest in shown)


def test_enough_open_pictures_remain_for_a_crawl_of_150(site: Site) -> None:
    whole = {
        entry.file.body
        for entry in (*site.listing.openverse, *site.listing.commons)
        if entry.file.status == 200 and entry.file.body == entry.picture.data and not entry.file.headers
    }
    assert len(whole) >= 150


def test_requests_are_counted_and_logged(tmp_path: Path) -> None:
    log = tmp_path / "requests.log"
    with Site(PICTURES[:9], log=log) as site, httpx.Client(base_url=site.url) as client:
        path = site.listing.openverse[0].path
        client.get(path)
        client.get(path)
        client.get("/robots.txt")
    assert site.requests == {path: 2}
    assert log.read_text().splitlines() == [f"200 {path}"] * 2


def _keys(sample: str) -> Any:
    path = SAMPLES / sample
    if not path.exists():
        pytest.skip(f"{path} is absent")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.realdata
def test_openverse_results_have_the_fields_of_a_recorded_answer(site: Site, web: httpx.Client) -> None:
    recorded = _keys("openverse/detail-2024-rate-limit-headers.json")
    assert set(_openverse(site)[0]) == set(recorded["body"])
    wanted = {name for name in recorded["headers"] if name.startswith("x-ratelimit")}
    assert wanted <= set(web.get("/v1/images/", params={"q": "horse"}).headers)


@pytest.mark.realdata
def test_commons_pages_have_the_fields_of_a_recorded_answer(web: httpx.Client) -> None:
    recorded = next(iter(_keys("wikimedia/allimages-continue-1.json")["query"]["pages"].values()))
    page = next(page for page in _merged(_commons(web)).values() if "imageinfo" in page)
    assert set(page) == set(recorded) - {"globalusage"} | {"index"}
    assert set(recorded["imageinfo"][0]) <= set(page["imageinfo"][0])
    assert set(page["imageinfo"][0]["extmetadata"]) <= set(recorded["imageinfo"][0]["extmetadata"]) | {"LicenseUrl"}
