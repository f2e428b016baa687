"""What the spiders read from answers and headers, and how they share a limit; no crawl is run here."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import licenses
from collector.errors import UsageError
from collector.records import Kept, Known, Outcome, Rejected, Sighting
from collector.spiders import openverse, wikimedia
from collector.spiders.budget import Budget
from collector.spiders.middlewares import opted_out, retry_after
from collector.workspace import Workspace
from tests.conftest import SHARED

SAMPLES = SHARED / "api-samples"
realdata = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the recorded answers in ../shared are not here")


def sample(name: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((SAMPLES / name).read_text())
    body: dict[str, Any] = answer.get("body", answer)
    return body


def commons(name: str) -> list[Sighting]:
    return [found for page in wikimedia.listed(sample(name)) if (found := wikimedia.read_page(page))]


# -- real answers -------------------------------------------------------------------------------------------------


@pytest.mark.realdata
@realdata
@pytest.mark.parametrize("path", sorted((SAMPLES / "openverse").glob("search-*.json")), ids=lambda path: path.stem)
def test_every_recorded_openverse_result_is_read(path: Path) -> None:
    answer = sample(f"openverse/{path.name}")
    found = [openverse.read_result(result) for result in answer["results"]]
    assert len(found) == len(answer["results"])
    for sighting, result in zip(found, answer["results"], strict=True):
        assert sighting is not None
        assert sighting.license.code == result["license"]
        assert sighting.license.version == result["license_version"]
        assert (sighting.url, sighting.page) == (result["url"], result["foreign_landing_url"])
        refused = licenses.judge(sighting.license, "open") is not None
        assert refused == (result["license"] not in ("by", "by-sa", "cc0", "pdm"))


@pytest.mark.realdata
@realdata
def test_recorded_commons_files_get_the_right_verdict() -> None:
    found = commons("wikimedia/allimages-28-files-no-continue.json")
    codes = [sighting.license.code for sighting in found]
    assert len(found) == 28
    assert {code: codes.count(code) for code in set(codes)} == {"pdm": 10, "by-sa": 16, "unknown": 2}
    german = next(sighting for sighting in found if sighting.license.jurisdiction)
    assert german.license.url == "https://creativecommons.org/licenses/by-sa/3.0/de/"
    assert german.creator == "Photo: Eckhard Henkel / Wikimedia Commons / CC BY-SA 3.0 DE"
    assert not [sighting for sighting in found if "<" in sighting.creator + sighting.title]
    assert all(sighting.url.startswith("https://upload.wikimedia.org/") for sighting in found)
    assert all(sighting.page.startswith("https://commons.wikimedia.org/wiki/File:") for sighting in found)


@pytest.mark.realdata
@realdata
def test_recorded_commons_oddities_are_read() -> None:
    assert commons("wikimedia/titles-missing-file.json") == []
    badger = commons("wikimedia/titles-extmetadata-badger.json")[0]
    assert (badger.license.code, badger.license.version, badger.creator) == ("by", "2.0", "Chris. P")
    assert badger.creator_url.startswith("http://www.flickr.com/people/")
    parts = [sample(f"wikimedia/allimages-continue-{n}.json") for n in (1, 2)]
    assert commons("wikimedia/allimages-continue-2.json") == []
    assert {str(page["pageid"]) for page in wikimedia.listed(parts[0])} >= {
        sighting.source_id for sighting in commons("wikimedia/allimages-continue-1.json")
    }


# -- reading answers ----------------------------------------------------------------------------------------------


def about(**values: str) -> dict[str, dict[str, str]]:
    return {name: {"value": value} for name, value in values.items()}


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"License": "pd", "Copyrighted": "False"}, "pdm"),
        ({"LicenseShortName": "Public domain", "Copyrighted": "False"}, "pdm"),
        ({"License": "pd", "Copyrighted": "True"}, "contradictory"),
        ({"LicenseShortName": "No restrictions", "LicenseUrl": "https://www.flickr.com/commons/usage/",
          "Copyrighted": "True"}, "unknown"),
        ({"LicenseShortName": "All rights reserved", "Copyrighted": "True"}, "missing"),
        ({"License": "cc-by-4.0", "LicenseUrl": "https://creativecommons.org/licenses/by-nc/4.0"}, "contradictory"),
        ({"LicenseUrl": "https://creativecommons.org/licenses/by/4.0"}, "by"),
        ({"License": "gfdl"}, "unknown"),
        ({}, "missing"),
    ],
)  # fmt: skip
def test_a_commons_license_is_its_code_then_its_address(values: dict[str, str], code: str) -> None:
    assert wikimedia.read_license(about(**values)).code == code


def test_restrictions_of_a_commons_file_are_kept_as_evidence() -> None:
    read = wikimedia.read_license(about(License="cc-by-4.0", Restrictions="personality"))
    assert "Restrictions='personality'" in read.evidence


def test_html_is_stripped_and_the_first_link_kept() -> None:
    assert wikimedia.plain('<p>By <a href="//c.org/wiki/User:A" title="x">A &amp; B</a>\n and <a href="/z">C</a>') == (
        "By A & B and C",
        "https://c.org/wiki/User:A",
    )


@given(st.text())
def test_no_markup_breaks_the_reader_of_html(markup: str) -> None:
    assert isinstance(wikimedia.plain(markup), tuple)


@given(st.dictionaries(st.sampled_from(["id", "url", "license", "title", "creator"]), st.none() | st.text()))
def test_an_openverse_result_may_lack_any_field(result: dict[str, Any]) -> None:
    found = openverse.read_result(result)
    assert (found is None) == (not result.get("id"))


# -- headers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["noai", "noimageai", "noindex", "noimageindex", "noml"])
def test_every_form_of_an_opt_out_is_heard(word: str) -> None:
    for tag in (word, word.upper(), f"nofollow, {word}", f"somebot: {word}", f"somebot: nofollow,{word}"):
        assert opted_out([tag.encode()])
        assert opted_out([b"nofollow", tag.encode()])


def test_other_robots_tags_are_no_opt_out() -> None:
    assert not opted_out([])
    assert not opted_out([b"all, nofollow", b"unavailable_after: 25 Jun 2030 15:00:00 PST", b"noarchive", b"noaim"])


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


async def spend(budget: Budget, source: str, gives: list[Outcome], rng: random.Random, most: list[int]) -> None:
    """A spider in small: takes places, and settles each a little later, in any order."""
    flights = []

    async def fly(outcome: Outcome) -> None:
        for _ in range(rng.randrange(4)):
            await asyncio.sleep(0)
        most.append(len(budget.held) + budget.flying.total())
        budget.settle(source, outcome)

    for outcome in gives:
        if not await budget.take(source):
            break
        flights.append(asyncio.create_task(fly(outcome)))
        await asyncio.sleep(0)
    budget.leave(source)
    await asyncio.gather(*flights)


outcomes = st.lists(
    st.integers(0, 12).map(lambda n: Kept(f"image{n}")) | st.just(Rejected("broken")) | st.just(Known("image3")),
    max_size=30,
)


@given(gives=st.lists(outcomes, min_size=1, max_size=3), limit=st.integers(1, 15), seed=st.integers(0, 99))
def test_the_limit_is_reached_exactly_or_everything_was_tried(
    gives: list[list[Outcome]], limit: int, seed: int
) -> None:
    most: list[int] = []
    names = [f"source{n}" for n in range(len(gives))]
    budget = Budget(limit, names, {})

    async def crawl() -> None:
        rng = random.Random(seed)
        each = [spend(budget, name, own, rng, most) for name, own in zip(names, gives, strict=True)]
        await asyncio.wait_for(asyncio.gather(*each), 20)

    asyncio.run(crawl())
    exist = {outcome.image for own in gives for outcome in own if not isinstance(outcome, Rejected)}
    assert len(budget.held) == min(limit, len(exist))
    assert max(most, default=0) <= limit


def test_the_share_of_an_exhausted_source_goes_to_the_other() -> None:
    budget = Budget(10, ["a", "b"], {"old": "a"})

    async def crawl() -> None:
        rng = random.Random(1)
        few: list[Outcome] = [Kept("a1")]
        many: list[Outcome] = [Kept(f"b{n}") for n in range(20)]
        await asyncio.gather(spend(budget, "a", few, rng, []), spend(budget, "b", many, rng, []))

    asyncio.run(crawl())
    assert budget.kept == {"a": 2, "b": 8}


def test_two_sources_that_have_enough_give_half_each() -> None:
    budget = Budget(9, ["a", "b"], {})

    async def crawl() -> None:
        rng = random.Random(2)
        own = {name: [Kept(f"{name}{n}") for n in range(20)] for name in "ab"}
        await asyncio.gather(*(spend(budget, name, list(own[name]), rng, []) for name in "ab"))

    asyncio.run(crawl())
    assert sum(budget.kept.values()) == 9
    assert set(budget.kept.values()) == {4, 5}


# -- sources ------------------------------------------------------------------------------------------------------


def test_sources_tell_their_state(ws: Workspace) -> None:
    from collector.spiders.runner import sources

    rows = sources(ws).sources
    assert {name: row["state"] for name, row in rows.items()} == {
        "openverse": "ready",
        "wikimedia": "needs contact",
        "unsplash": "refused",
        "pexels": "refused",
        "pixabay": "refused",
        "instagram": "refused",
    }
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
    from collector.spiders.sources import base_url

    for n, address in enumerate(("http://127.0.0.1:1", "http://127.0.0.1:1/", "http://127.0.0.1:1/v1/")):
        ws = make_workspace(f'[sources.openverse]\nbase_url = "{address}"\n', name=f"ws{n}")
        assert base_url(ws, "openverse") == "http://127.0.0.1:1"
    with pytest.raises(UsageError, match=r"sources\.openverse\.base_url"):
        base_url(make_workspace('[sources.openverse]\nbase_url = "file:///etc"\n', name="wrong"), "openverse")
    with pytest.raises(UsageError, match=r"did you mean `sources\.openverse`"):
        base_url(make_workspace("[sources.openvers]\nenabled = false\n", name="typo"), "openverse")
