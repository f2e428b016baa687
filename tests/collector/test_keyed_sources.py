"""The sources with a key: what they read from answers, what they ask, and that nobody ever sees the key."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from collector import licenses
from collector.errors import UsageError
from collector.spiders import europeana, google, smithsonian
from collector.spiders.base import ImageSpider, Page, SchemaDrift
from collector.spiders.facets import Facets
from collector.spiders.runner import crawl, sources
from collector.spiders.secrets import keep_secret, masked
from collector.workspace import Workspace
from tests.collector.crawls import MakeWorkspace, adds_up
from tests.collector.spiders.replay import (
    FILES,
    Answers,
    Replay,
    pages,
    realdata,
    recorded,
    sample,
    settings,
    spider_at,
)

KEY, ENGINE = "k3y-0f_a+test/that%nobody sees", "engine:0f/a=test"
NAMES = ("flickr", "smithsonian", "europeana", "google")
Params = dict[str, list[str]]


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(f"COLLECT_{name.upper()}_KEY", KEY)
    monkeypatch.setenv("COLLECT_GOOGLE_ENGINE", ENGINE)


def at(answers: Answers) -> Answers:
    """A sample as a server has it: Flickr has one path for all of its methods."""
    return answers if "/" in "".join(answers) else {"/services/rest/": lambda params: answers[params["method"][0]]}


def first_page(spider: ImageSpider, cursor: Any = None) -> Page:
    return asyncio.run(spider.page("horse", cursor))


def asked(site: Replay) -> dict[str, str]:
    """The parameters of the last request."""
    return {name: ";".join(values) for name, values in parse_qs(urlsplit(site.asked[-1]).query).items()}


# -- Smithsonian ------------------------------------------------------------------------------------------------------

SEARCH = "/openaccess/api/v1.0/search"


def test_each_medium_of_the_smithsonian_has_its_own_conditions() -> None:
    rows = sample("smithsonian")[SEARCH]["response"]["rows"]
    free, bound, other = [each for row in rows for each in smithsonian.read_row(row)]
    assert [each.license.code for each in (free, bound, other)] == ["cc0", "unknown", "cc0"]
    assert bound.license.evidence == "online_media.media[].usage.access='Usage conditions apply'"
    assert (free.source_id, free.creator, free.facts["date"]) == ("edanmdm:nmex_1/NMEX-1-a", "Ada Example", "1919")
    assert (free.facts["kind"], free.facts["tags"]) == ("photograph", ["Horses"])
    assert free.page == "https://records.example.org/nmex_1"
    assert other.creator == "National Museum of Examples", "who collects a specimen takes no picture of it"
    assert "date" not in other.facts


@pytest.mark.realdata
@realdata
def test_every_recorded_medium_of_the_smithsonian_is_read() -> None:
    rows = recorded("smithsonian/search-page.json")["response"]["rows"]
    media = [each for row in rows for each in row["content"]["descriptiveNonRepeating"]["online_media"]["media"]]
    found = [each for row in rows for each in smithsonian.read_row(row)]
    assert [each.url for each in found] == [medium["content"] for medium in media if medium["type"] == "Images"]
    assert {each.license.code for each in found} == {"cc0"}
    assert len({each.source_id for each in found}) == len(found)
    assert found[0].creator == "Gruber, Martin A"
    (bird,) = smithsonian.read_row(recorded("smithsonian/record-nmnh-bird.json"))
    assert (bird.url, bird.license.code) == ("https://collections.nmnh.si.edu/media/?irn=15814382", "cc0")
    assert bird.source_id.startswith("edanmdm:nmnhvz_14800560/")


@pytest.mark.parametrize(
    ("words", "asked_for"),
    [
        ("horse", "horse"),
        ("sea horse", "sea AND horse"),
        ('horse" OR x:*', 'horse AND "OR" AND x'),
        ("ox-cart", "ox-cart"),
    ],
)
def test_words_are_words_in_the_smithsonians_search_language(words: str, asked_for: str) -> None:
    assert smithsonian.query(words) == f'{asked_for} AND online_media_type:"Images" AND media_usage:"CC0"'


def test_the_smithsonian_is_asked_until_its_rows_end_and_rechecked(ws: Workspace) -> None:
    answers = sample("smithsonian")
    rows = answers[SEARCH]["response"]["rows"]

    def one_row(params: Params) -> dict[str, Any]:
        start = int(params["start"][0])
        return {"response": {"rows": rows[start : start + 1], "rowCount": len(rows)}}

    with Replay({**answers, SEARCH: one_row}) as site:
        spider = spider_at(site, ws, "smithsonian")
        first, second = pages(spider)
        assert (len(first.found), first.cursor, len(second.found)) == (2, 1, 1)
        now = asyncio.run(spider.recheck(second.found[0]))
        gone = asyncio.run(spider.recheck(first.found[0]))
    assert now is not None
    assert now.license.code == "unknown", "it was taken back"
    assert gone is None


# -- Europeana --------------------------------------------------------------------------------------------------------


def test_the_rights_of_europeana_are_addresses() -> None:
    items = sample("europeana")["/record/v2/search.json"]["items"]
    found = [each for item in items if (each := europeana.read_item(item))]
    assert [each.license.code for each in found] == ["pdm", "by-sa", "inc", "contradictory"]
    assert found[1].license.jurisdiction == "nl"
    assert [each.creator for each in found] == ["Ada Example", "Bo Example; Cy Example", *["Museum of Examples"] * 2]
    assert (found[0].facts["date"], found[0].facts["language"], found[0].facts["tags"]) == ("1880", "nl", ["horses"])
    assert "sample-key" not in repr(found), "answers repeat the key"


@pytest.mark.realdata
@realdata
def test_every_recorded_item_of_europeana_is_read() -> None:
    answer = recorded("europeana/search-8-of-27-items.json")
    items = [*answer["items"], recorded("europeana/item-one.json")]
    found = [each for item in items if (each := europeana.read_item(item))]
    assert len(found) == len(items) == 9
    for each, item in zip(found, items, strict=True):
        assert (each.url, each.page) == (item["edmIsShownBy"][0], item["edmIsShownAt"][0])
        assert each.license.code == "cc0"
        assert each.license.evidence == f"rights={item['rights']!r}"
        assert "://" not in each.creator
    assert found[0].creator.startswith("Villemin, Charles")
    assert "Oña" not in found[0].creator, "the monastery is the subject"
    assert answer["apikey"] not in repr(found)


def test_europeana_is_asked_until_its_cursor_ends(ws: Workspace) -> None:
    answer = sample("europeana")["/record/v2/search.json"]
    over = {"success": True, "items": []}
    answers = {"/record/v2/search.json": lambda params: answer if params["cursor"] == ["*"] else over}
    with Replay(answers) as site:
        first, second = pages(spider_at(site, ws, "europeana", aspect="wide", language="nl", since="1900-05"))
        assert (len(first.found), first.cursor, len(second.found)) == (4, answer["nextCursor"], 0)
        told = asked(site)
    assert told["qf"] == "TYPE:IMAGE;IMAGE_ASPECTRATIO:landscape;LANGUAGE:nl;YEAR:[1900 TO *]"
    assert (told["reusability"], told["media"], told["rows"]) == ("open", "true", "100")
    assert europeana.reusability(licenses.allowed("noncommercial")) == ["open", "restricted"]


def test_europeana_is_rechecked(ws: Workspace) -> None:
    answers = sample("europeana")
    one, other = [europeana.read_item(item) for item in answers["/record/v2/search.json"]["items"][:2]]
    assert one is not None
    assert other is not None
    with Replay(answers) as site:
        spider = spider_at(site, ws, "europeana")
        now, gone = asyncio.run(spider.recheck(one)), asyncio.run(spider.recheck(other))
    assert now is not None
    assert now.license.code == "inc"
    assert gone is None


# -- Google -----------------------------------------------------------------------------------------------------------

FOUND = google.read_item(sample("google")["/customsearch/v1"]["items"][0])
CC_BY = "https://creativecommons.org/licenses/by/4.0/"
LICENSED = '<figure><img src="https://files.example.org/google/1.jpg"><a rel="license" href="{url}">CC</a></figure>'


def test_what_google_finds_has_no_license_of_its_own() -> None:
    assert licenses.judge(FOUND.license, "any-cc").reason == "license-missing"  # type: ignore[union-attr]
    assert (FOUND.facts["width"], FOUND.facts["height"]) == (1600, 1200)


@pytest.mark.parametrize(
    ("html", "code"),
    [
        (LICENSED.format(url=CC_BY), "by"),
        (LICENSED.format(url=CC_BY).replace("1.jpg", "2.jpg"), None),
        ('<img src="https://files.example.org/google/1.jpg">', "missing"),
        (LICENSED.format(url="https://example.org/all-rights-reserved"), "unknown"),
        ("", None),
    ],
)
def test_the_page_around_a_picture_states_its_license(html: str, code: str | None) -> None:
    shown = google.read_shown(FOUND, html, FOUND.page, ())
    assert (shown.license.code if shown else None) == code


def test_a_page_that_opts_out_is_obeyed() -> None:
    html = f'<meta name="robots" content="noai">{LICENSED.format(url=CC_BY)}'
    shown = google.read_shown(FOUND, html, FOUND.page, ("noai",))
    assert shown is not None
    assert "noai" in shown.facts["opted_out"]


def test_google_is_asked_for_facets_and_for_a_hundred_results_at_most(make_workspace: MakeWorkspace) -> None:
    ws = make_workspace('[sources.google]\nsite = "flickr.com"\nfile_type = "png"\n')
    wanted: dict[str, Any] = {"kind": "illustration", "color": "gray", "min_side": 1200, "language": "de"}
    with Replay(sample("google")) as site:
        spider = spider_at(site, ws, "google", dry_run=True, safe=False, **wanted)
        page = first_page(spider)
        told = asked(site)
        assert first_page(spider, cursor=91).cursor is None
    assert (len(page.found), page.cursor) == (2, 11)
    assert told["rights"] == "cc_publicdomain|cc_attribute|cc_sharealike"
    assert (told["imgType"], told["imgDominantColor"], told["imgSize"]) == ("clipart", "gray", "xxlarge")
    assert (told["safe"], told["lr"], told["siteSearch"], told["fileType"]) == ("off", "lang_de", "flickr.com", "png")
    assert (told["searchType"], told["num"], told["key"], told["cx"]) == ("image", "10", KEY, ENGINE)
    since = google.asked_facets(Facets(since="2020-01"), date(2020, 1, 31))
    assert since == {"safe": "active", "dateRestrict": "d30"}
    assert google.rights(licenses.allowed("noncommercial")).endswith("cc_noncommercial")


def test_no_results_are_no_drift(ws: Workspace) -> None:
    empty = {"kind": "customsearch#search", "searchInformation": {"totalResults": "0"}, "queries": {}}
    with Replay({"/customsearch/v1": empty}) as site:
        assert first_page(spider_at(site, ws, "google")).found == []


# -- all of them ------------------------------------------------------------------------------------------------------

DRIFTS = [
    ("flickr", "flickr.photos.search", "photos.photo"),
    ("smithsonian", SEARCH, "response.rows"),
    ("europeana", "/record/v2/search.json", "items"),
    ("google", "/customsearch/v1", "searchInformation"),
]


@pytest.mark.parametrize(("name", "place", "field"), DRIFTS, ids=NAMES)
def test_a_renamed_field_names_source_field_and_sample(ws: Workspace, name: str, place: str, field: str) -> None:
    answers = sample(name)
    above, _, last = field.rpartition(".")
    holder = answers[place][above] if above else answers[place]
    holder["renamed"] = holder.pop(last)
    holder.pop("items", None)  # Google gives none when it finds nothing
    with Replay(at(answers)) as site, pytest.raises(SchemaDrift) as caught:
        first_page(spider_at(site, ws, name))
    assert f"{name} has changed its answers: `{field}` is missing" in str(caught.value)
    assert f"collector/spiders/samples/{name}.json" in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_key_is_a_state_and_a_sentence(ws: Workspace, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = f"COLLECT_{name.upper()}_KEY"
    monkeypatch.delenv(variable)
    assert sources(ws).sources[name]["state"] == f"needs key: set {variable}"
    with pytest.raises(UsageError, match="needs a key") as caught:
        crawl(ws, "horse", sources=[name])
    assert variable in caught.value.hint


def world(url: str) -> Answers:
    """All four sources and the pages that Google finds, as one site. Answers repeat the key, as Europeana's do."""
    answers: Answers = {"/1.html": LICENSED.format(url=CC_BY), "/2.html": f'<img src="{FILES}/google/2.jpg">'}
    for name in NAMES:
        answers |= json.loads(json.dumps(sample(name)).replace("https://pages.example.org", url))

    def echoing(path: str) -> Any:
        def answer(params: Params) -> Any:
            told = answers[params["method"][0]] if "method" in params else answers[path]
            if params.get("cursor", ["*"]) != ["*"]:
                told = {"success": True, "items": []}
            if params.get("start", ["1"])[0] not in ("0", "1"):
                told = {"searchInformation": {}}
            return {**told, "echo": [params.get(secret) for secret in ("api_key", "wskey", "key", "cx")]}

        return answer

    asking = ("/services/rest/", SEARCH, "/record/v2/search.json", "/customsearch/v1")
    return {**answers, **{path: echoing(path) for path in asking}}


def test_a_crawl_of_all_four_keeps_what_is_licensed_and_no_key(make_workspace: MakeWorkspace) -> None:
    with Replay({}, files=True) as site:
        site.answers = world(site.url)
        ws = make_workspace(settings(site.url, *NAMES))
        summary = crawl(ws, "horse", limit=50, sources=NAMES)
    assert adds_up(summary)
    kept = {name: row["kept"] for name, row in summary.sources.items()}
    assert kept == {"flickr": 2, "smithsonian": 2, "europeana": 2, "google": 1}
    assert summary.rejected == {
        "license-missing": 2, "license-unknown": 2, "license-not-allowed": 1, "license-contradictory": 1
    }  # fmt: skip
    keep_secret(KEY, ENGINE)
    for path in ws.root.rglob("*"):
        data = path.read_bytes().decode("latin-1") if path.is_file() else ""
        assert masked(data) == data, path
    told = [parse_qs(urlsplit(target).query) for target in site.asked]
    assert sum(KEY in values for query in told for values in query.values()) >= 5, "the sources were asked with it"
