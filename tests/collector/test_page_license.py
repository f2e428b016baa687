"""Which license a page states for each of its pictures, and that nothing else is ever read as one."""

from __future__ import annotations

import html
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import licenses
from collector.spiders.page_license import Candidate, is_same_site, read_page
from collector.spiders.webpage import links, parse, srcset

URL = "https://www.example.org/gallery/horses.html"
BY = "https://creativecommons.org/licenses/by/4.0/"
SA = "https://creativecommons.org/licenses/by-sa/3.0/de/"
NC = "http://creativecommons.org/licenses/by-nc/2.0/deed.en"
ZERO = "https://creativecommons.org/publicdomain/zero/1.0/"


def read(body: str, head: str = "") -> dict[str, Candidate]:
    """The candidates of a page by the last part of their addresses."""
    found = read_page(f"<!doctype html><html><head><title>Our horses</title>{head}</head><body>{body}", URL)
    return {each.url.rsplit("/", 1)[-1]: each for each in found}


def codes(body: str, head: str = "") -> dict[str, str]:
    return {name: each.license.code for name, each in read(body, head).items()}


def json_ld(value: object) -> str:
    return f'<script type="application/ld+json">{json.dumps(value)}</script>'


def image_object(file: str = "a.jpg", license: object = BY, **more: object) -> dict[str, Any]:
    about = {"@context": "https://schema.org", "@type": "ImageObject", "contentUrl": f"/img/{file}", "license": license}
    return {**about, **more}


# -- schema.org -------------------------------------------------------------------------------------------------------


def test_an_image_object_tells_license_author_and_size() -> None:
    described = image_object(
        creator={"@type": "Person", "name": "Anna <b>Berg</b>\n", "url": "/people/anna"}, name="Two horses",
        width="1200", height={"@type": "QuantitativeValue", "value": 800}, acquireLicensePage="/buy",
    )  # fmt: skip
    found = read('<img src="/img/a.jpg" alt="Horses">', json_ld(described))["a.jpg"]
    assert found.url == "https://www.example.org/img/a.jpg"
    assert found.page == URL
    assert (found.license.code, found.license.version) == ("by", "4.0")
    assert found.license.evidence == f"JSON-LD ImageObject.license='{BY}'"
    assert (found.title, found.creator) == ("Two horses", "Anna <b>Berg</b>")
    assert found.creator_url == "https://www.example.org/people/anna"
    assert (found.facts["width"], found.facts["height"]) == (1200, 800)


@pytest.mark.parametrize(
    "wrapped",
    [
        {"@graph": [{"@type": "WebPage"}, image_object()]},
        [[image_object()]],
        {"@type": "Article", "image": [image_object()]},
        image_object(license=[BY]),
        image_object(license={"@type": "CreativeWork", "url": BY}),
        image_object(license={"@id": BY}),
        {"@graph": [image_object(license={"@id": "#cc"}), {"@id": "#cc", "@type": "CreativeWork", "url": BY}]},
        {**image_object(), "@type": ["ImageObject", "Thing"]},
        {"@type": ["http://schema.org/ImageObject"], "http://schema.org/contentUrl": [{"@value": "/img/a.jpg"}],
         "http://schema.org/license": [{"@id": BY}]},
        image_object(license=BY.replace("https:", "")),
        {"@type": "Photograph", "license": BY, "image": {"name": "A mare", "url": "/img/a.jpg"}},
    ],
)  # fmt: skip
def test_image_objects_are_found_in_any_wrapping(wrapped: object) -> None:
    assert codes('<img src="/img/a.jpg">', json_ld(wrapped)) == {"a.jpg": "by"}


def test_a_described_picture_needs_no_img() -> None:
    found = read("", json_ld(image_object(creator="Anna", creditText="Anna / Stables")))
    assert (found["a.jpg"].license.code, found["a.jpg"].creator) == ("by", "Anna")
    assert read("", json_ld(image_object(license=[]))) == {}
    assert read("", json_ld({"@type": "Organization", "logo": image_object("logo.png")})) == {}


@pytest.mark.parametrize(
    ("described", "code"),
    [
        (image_object(license="https://example.org/terms"), "unknown"),
        (image_object(license="CC BY 4.0"), "unknown"),
        (image_object(license=f"{BY}x"), "unknown"),
        (image_object(license="https://creativecommons.org.evil.example/licenses/by/4.0/"), "unknown"),
        (image_object(license="https://creativecommons.org/licenses/b\u0443/4.0/"), "unknown"),
        (image_object(license={"name": "free"}), "unknown"),
        (image_object(license=[BY, SA]), "contradictory"),
        (image_object(license=[BY, "/terms"]), "contradictory"),
        (image_object(copyrightNotice="(c) Anna. All rights  Reserved."), "contradictory"),
        (image_object(license=[], acquireLicensePage="/buy"), "unknown"),
        (image_object(license=[]), "missing"),
        ([image_object(), image_object(license=NC)], "contradictory"),
        ([image_object(), image_object(license=BY.replace("https", "http"))], "by"),
    ],
)
def test_what_is_not_exactly_one_license_is_none(described: object, code: str) -> None:
    assert codes('<img src="/img/a.jpg">', json_ld(described)) == {"a.jpg": code}


def test_microdata_and_rdfa_lite_say_the_same_as_json() -> None:
    microdata = f"""<div itemscope itemtype="https://schema.org/ImageObject">
        <img src="/img/a.jpg" itemprop="contentUrl">
        by <span itemprop="creator" itemscope itemtype="https://schema.org/Person"><a itemprop="url" href="/anna">
        <b itemprop="name">Anna</b></a></span> <a itemprop="license" href="{BY}">free</a>
        <meta itemprop="name" content="A mare"></div><img src="/img/b.jpg">"""
    rdfa = microdata.replace('itemscope itemtype="https://schema.org/', 'typeof="').replace("itemprop", "property")
    for markup in (microdata, f'<main vocab="https://schema.org/">{rdfa}</main>'):
        found = read(markup)
        assert {name: each.license.code for name, each in found.items()} == {"a.jpg": "by", "b.jpg": "missing"}
        assert (found["a.jpg"].title, found["a.jpg"].creator) == ("A mare", "Anna")
        assert found["a.jpg"].creator_url == "https://www.example.org/anna"


# -- rel=license ------------------------------------------------------------------------------------------------------


def test_a_license_link_of_the_page_is_for_its_own_pictures() -> None:
    body = '<img src="/img/a.jpg"><img src="https://img.example.org/b.jpg"><img src="https://other.example.net/c.jpg">'
    expected = {"a.jpg": "by-sa", "b.jpg": "by-sa", "c.jpg": "missing"}
    assert codes(body, f'<link rel="license" href="{SA}">') == expected
    assert codes(f'{body}<footer><a rel="license noopener" href="{SA}">CC</a></footer>') == expected
    assert (
        codes(f'{body}<footer><a rel="license" href="{SA}">CC</a> <a rel=license href="{SA}">x</a></footer>')
        == expected
    )
    assert read(body, f'<link rel="license" href="{SA}">')["a.jpg"].license.jurisdiction == "de"


def test_a_page_with_two_licenses_has_none_for_the_rest() -> None:
    figure = (
        f'<figure><img src="/img/a.jpg"><figcaption>by A, <a rel="license" href="{BY}">CC</a></figcaption></figure>'
    )
    page_wide = f'<footer><a rel="license" href="{SA}">CC</a></footer>'
    assert codes(f'{figure}<img src="/img/b.jpg">{page_wide}') == {"a.jpg": "by", "b.jpg": "missing"}
    assert codes(f'<img src="/img/b.jpg">{page_wide}<a rel="license" href="{BY}">CC</a>') == {"b.jpg": "missing"}
    assert codes(f'<img src="/img/b.jpg">{page_wide}', json_ld(image_object(license=NC)))["b.jpg"] == "missing"


def test_a_figure_speaks_for_its_pictures_and_an_article_for_those_within() -> None:
    body = f"""<article><figure><img src="/img/a.jpg"><a rel="license" href="{BY}"></a></figure>
        <img src="/img/b.jpg"><a rel="license" href="{SA}">CC</a></article>
        <article><img src="/img/c.jpg"></article>
        <figure><img src="/img/d.jpg"><a rel="license" href="{BY}"></a><a rel="license" href="{NC}"></a></figure>"""
    assert codes(body) == {"a.jpg": "by", "b.jpg": "by-sa", "c.jpg": "missing", "d.jpg": "contradictory"}


def test_two_places_that_differ_about_one_picture_contradict_each_other() -> None:
    figure = f'<figure><img src="/img/a.jpg"><a rel="license" href="{NC}"></a></figure>'
    found = read(figure, json_ld(image_object()))["a.jpg"].license
    assert found.code == "contradictory"
    assert BY in found.evidence
    assert NC in found.evidence


def test_the_attributes_of_creative_commons_name_work_and_author() -> None:
    body = f"""<img src="/img/a.jpg"><p><a rel="license" href="{BY}"><img src="https://i.creativecommons.org/l/by/4.0/88x31.png"></a>
        <span property="dct:title">Mare &amp; foal</span> by
        <a property="cc:attributionName" rel="cc:attributionURL" href="/anna">Anna</a></p>"""
    found = read(body)
    assert list(found) == ["a.jpg"]
    assert (found["a.jpg"].title, found["a.jpg"].creator) == ("Mare & foal", "Anna")
    assert found["a.jpg"].creator_url == "https://www.example.org/anna"


def test_about_says_which_picture_is_meant() -> None:
    body = f"""<div about="/img/a.jpg"><a rel="license" href="{BY}">CC</a></div>
        <div about="/other.html"><a rel="license" href="{ZERO}">CC</a></div>
        <img src="/img/a.jpg"><img src="/img/b.jpg">"""
    assert codes(body) == {"a.jpg": "by", "b.jpg": "missing"}
    assert codes(f'<div about=""><a rel="license" href="{BY}">CC</a></div><img src="/img/b.jpg">') == {"b.jpg": "by"}


def test_a_link_that_only_looks_like_a_license_is_none() -> None:
    for link in (f'<a href="{BY}">CC BY</a>', f'<a rel="licenses" href="{BY}">', f'<a rel="license ugc" href="{BY}">'):
        assert codes(f'<img src="/img/a.jpg">{link}') == {"a.jpg": "missing"}
    assert codes('<img src="/img/a.jpg"><a rel="license" href="/terms">') == {"a.jpg": "unknown"}
    assert codes('<img src="/img/a.jpg"><a rel="license" href="http://[">') == {"a.jpg": "unknown"}


# -- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markup", "url"),
    [
        ('<img src="a.jpg">', "https://www.example.org/gallery/a.jpg"),
        ('<img src="//cdn.example.org/a.jpg#x">', "https://cdn.example.org/a.jpg"),
        ('<img src="s.jpg" srcset="m.jpg 640w, l,1.jpg 1280w,s.jpg 320w">', "https://www.example.org/gallery/l,1.jpg"),
        ('<img src="s.jpg" srcset="m.jpg, l.jpg 2x">', "https://www.example.org/gallery/l.jpg"),
        ('<picture><source srcset="/l.webp 1600w" type="image/webp"><img src="/s.jpg" srcset="/m.jpg 800w"></picture>',
         "https://www.example.org/l.webp"),
        ('<a href="/full.JPG"><img src="/thumb.jpg"></a>', "https://www.example.org/full.JPG"),
        ('<a href="/wiki/File:Horse.jpg"><img src="/thumb.jpg"></a>', "https://www.example.org/thumb.jpg"),
        ('<img src="data:image/gif;base64,R0lGOD" data-src="/lazy.jpg">', "https://www.example.org/lazy.jpg"),
        ('<img src="/blank.gif" data-original="/lazy.jpg">', "https://www.example.org/lazy.jpg"),
        ('<img src="/blank.gif" data-srcset="/l.jpg 2x, /s.jpg 1x">', "https://www.example.org/l.jpg"),
        ('<noscript><img src="/n.jpg"></noscript>', "https://www.example.org/n.jpg"),
        ('<a href="horse%201.jpg">horse 1</a>', "https://www.example.org/gallery/horse%201.jpg"),
        ('<meta property="og:image" content="/og.jpg">', "https://www.example.org/og.jpg"),
    ],
)  # fmt: skip
def test_a_picture_is_taken_at_its_best_address(markup: str, url: str) -> None:
    assert [each.url for each in read_page(markup, URL)] == [url]


def test_the_other_addresses_of_a_picture_are_kept_for_when_the_best_is_gone() -> None:
    found = read_page('<a href="/full.jpg"><img src="/s.jpg" srcset="/m.jpg 2x" alt="A pony"></a>', URL)[0]
    assert found.facts["fallbacks"] == ["https://www.example.org/m.jpg", "https://www.example.org/s.jpg"]
    assert (found.title, found.link) == ("A pony", "")
    assert "pony" in found.text


def test_what_belongs_to_the_page_is_no_picture_of_it() -> None:
    body = """<header><img src="/logo.png"></header><nav><img src="/menu.png"></nav><footer><img src="/f.png"></footer>
        <img src="/counter.gif" width="1" height="1"><img src="/drawing.svg"><img><img src=""><img src="javascript:x">
        <div style="background-image: url(/back.jpg)"></div><article><header><img src="/kept.jpg"></header></article>"""
    assert list(read(body)) == ["kept.jpg"]


def test_a_base_address_counts() -> None:
    assert next(iter(read('<img src="a.jpg">', '<base href="/b/">').values())).url == "https://www.example.org/b/a.jpg"


def test_addresses_of_one_registered_domain_are_one_site() -> None:
    assert is_same_site("https://img.example.co.uk/a", "http://www.example.co.uk:8080/")
    assert not is_same_site("https://a.co.uk/", "https://b.co.uk/")
    assert not is_same_site("https://anna.github.io/", "https://bob.github.io/")
    assert is_same_site("http://127.0.0.1:1/", "http://127.0.0.1:2/")
    assert not is_same_site("http://127.0.0.1/", "http://127.0.0.2/")


# -- links and wishes -------------------------------------------------------------------------------------------------


def test_links_lead_to_pages_of_the_same_host() -> None:
    page = parse(
        """<link rel="next" href="?page=2"><a href="/p/1"><img src="t.jpg"></a><a href="/about">x</a>
        <a href="https://other.example.net/">x</a><a href="/x.jpg">x</a><a href="/doc.pdf">x</a>
        <a href="mailto:a@b.c">x</a>
        <a rel="nofollow" href="/secret">x</a><a href="http://[">x</a><link rel="stylesheet" href="/x"><a>x</a>""",
        URL,
    )
    assert page is not None
    found = links(page)
    assert found.next == [f"{URL}?page=2"]
    assert found.near == ["https://www.example.org/p/1"]
    assert found.far == ["https://www.example.org/about"]


WORDS = ("noai", "noimageai", "noindex", "noimageindex", "noml")


@pytest.mark.parametrize(
    ("meta", "forbids", "follow"),
    [
        ('<meta name="robots" content="NoAI, noimageai">', True, True),
        ('<meta name="ROBOTS" content="noindex,nofollow">', True, False),
        ('<meta name="robots" content="none">', True, False),
        ('<meta name="robots" content="nofollow">', False, False),
        ('<meta name="googlebot" content="noimageindex">', True, True),
        ('<meta name="tdm-reservation" content="1">', True, True),
        ('<meta name="tdm-reservation" content="0">', False, True),
        ('<meta name="robots" content="index, follow, max-image-preview:none">', False, True),
        ('<meta name="description" content="noai">', False, True),
    ],
)
def test_a_page_may_forbid_its_pictures_or_its_links(meta: str, forbids: bool, follow: bool) -> None:
    page = parse(f'{meta}<a href="/next">x</a>', URL, WORDS)
    assert page is not None
    assert (bool(page.forbids), page.follow) == (forbids, follow)
    assert bool(links(page).far) == follow
    assert not forbids or "content=" in page.forbids


# -- hostile pages ----------------------------------------------------------------------------------------------------

PIECES = st.sampled_from([
    "<img src=a.jpg>", "<img srcset='a 1x,,b 9w,' src=//[>", "<figure>", "</figure>", "<article>",
    "<a rel=license href=", f"'{BY}'>", f"{NC}>", "<div about=''>", "<div about=a.jpg>",
    "<div itemscope itemtype=https://schema.org/ImageObject>",
    "<p itemprop='license creator url'>", "<p property=license typeof=ImageObject resource=a.jpg>", "<base href=http://[>",
    '<script type="application/ld+json">{"@type":"ImageObject","contentUrl":"a.jpg","license":', f'"{SA}"}}</script>',
    '[[{"@id":"x","creator":{"@id":"x"}}]]', "creativecommons.org/licenses/by/4.0", "<meta property=og:image content=",
    "</html>", "\0", "\ud800", "&#99;", "<!--", "]]>", "<svg><style>", "<template>",
])  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=8), max_size=30).map("".join), st.text(max_size=20) | st.just(URL))
def test_no_page_breaks_the_reader_or_is_open_without_a_license_address(markup: str, url: str) -> None:
    for found in read_page(markup, url):
        assert found.url.startswith(("http://", "https://"))
        if licenses.judge(found.license, "any-cc") is None:
            assert "creativecommons.org" in html.unescape(markup)
            assert found.license.evidence


KEYS = ["@type", "@id", "@graph", "@value", "license", "contentUrl", "creator", "name", "url", "width", "image"]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["ImageObject", "a.jpg", "#x"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
)


@given(VALUES)
def test_no_json_breaks_the_reader(value: object) -> None:
    assert all(licenses.judge(each.license, "any-cc") for each in read_page(json_ld(value), URL))


@pytest.mark.parametrize(
    "markup",
    [
        "<div>" * 100_000 + "<img src=a.jpg>",
        "<figure><article>" * 100_000,
        "<a href=x.jpg>" * 200_000,
        f"<img srcset='{'a 1x,' * 200_000}'>",
        f"<img srcset='{',' * 1_000_000}' alt='{'x' * 1_000_000}'>",
        "<div itemscope itemtype=https://schema.org/ImageObject itemprop=license>" * 50_000,
        f'<script type="application/ld+json">{"[" * 1_000_000}</script>',
        f'<script type="application/ld+json">{"[{" * 10}"@type":"ImageObject"{"}]" * 10}</script>' * 1000,
        json_ld([{"@type": "ImageObject", "contentUrl": "a.jpg", "license": BY}] * 50_000) + "<img src=a.jpg>" * 5_000,
        "<p property=x typeof=ImageObject about=a.jpg rel=license href=x>" * 50_000,
        "<" * 8_000_001,
        "x" * 8_000_001,
    ],
    ids=range(12),
)
def test_a_hostile_page_takes_little_time(markup: str) -> None:
    began = time.process_time()
    read_page(markup, URL)
    assert time.process_time() - began < 15.0


def test_a_srcset_is_read_as_browsers_do() -> None:
    assert list(srcset("a.jpg 1x, b.jpg 2.5x")) == [("a.jpg", 1.0), ("b.jpg", 2.5)]
    assert list(srcset("a,b.jpg 10w,c.jpg 20w , d.jpg")) == [("a,b.jpg", 10.0), ("c.jpg", 20.0), ("d.jpg", 1.0)]
    assert list(srcset(" , ,, ")) == []
