"""The readers of opt-outs: whatever the spelling, and whatever else a stranger writes into a header or a file."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scrapy.http import Headers

from collector.spiders.config import CrawlConfig
from collector.spiders.optout import (
    content_usage,
    forbidden_by,
    matches,
    opted_out,
    robots_tag,
    tdm_reservation,
    tdmrep_rules,
    usage_rules,
)

WORDS = CrawlConfig().opt_outs
NOW = datetime(2026, 6, 1, tzinfo=UTC)
SPACE = st.text(" \t", max_size=3)
OTHERS = st.sampled_from(["nofollow", "all", "max-snippet:-1", "max-image-preview:large", "notranslate", ""])
AGENT = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)


def cased(word: str) -> st.SearchStrategy[str]:
    return st.lists(st.booleans(), min_size=len(word), max_size=len(word)).map(
        lambda upper: "".join(c.upper() if up else c for c, up in zip(word, upper, strict=True))
    )


@st.composite
def tags(draw: st.DrawFn) -> list[str]:
    """Header values of which one opts out, for somebody or for all."""
    word = draw(st.sampled_from(WORDS).flatmap(cased))
    agent = draw(st.one_of(st.just(""), AGENT.map(lambda name: f"{name}:")))
    parts = [*draw(st.lists(OTHERS, max_size=3)), f"{agent}{draw(SPACE)}{word}", *draw(st.lists(OTHERS, max_size=3))]
    value = ",".join(f"{draw(SPACE)}{part}{draw(SPACE)}" for part in parts)
    others = draw(st.lists(OTHERS, max_size=2))
    return [*others, value, *others]


@given(tags())
def test_every_spelling_of_x_robots_tag_opts_out(values: list[str]) -> None:
    assert robots_tag(values, WORDS) is not None
    headers = Headers({"x-robots-tag": [value.encode() for value in values]})
    assert opted_out(headers, WORDS) == robots_tag(values, WORDS)


@given(st.lists(st.one_of(OTHERS, AGENT.filter(lambda name: name.lower() not in (*WORDS, "none"))), max_size=5))
def test_nothing_else_in_x_robots_tag_does(words: list[str]) -> None:
    assert robots_tag([", ".join(words)], WORDS) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("unavailable_after: 25 Jun 2010 15:00:00 PST", True),
        ("unavailable_after: Friday, 25-Jun-10 15:00:00 UTC", True),
        ("noarchive, somebot: Unavailable_After : 2010-06-25T15:00:00Z, nofollow", True),
        ("unavailable_after: 2010-06-25", True),
        ("unavailable_after: 2999-06-25", False),
        ("unavailable_after: Fri, 25 Jun 2999 15:00:00 GMT, nofollow", False),
        ("unavailable_after: when the cows come home", False),
        ("none", True),
        ("otherbot: none", True),
        ("max-image-preview: none", False),
        ("noindex;nofollow", True),
    ],
)
def test_dates_and_none(value: str, expected: bool) -> None:
    assert (robots_tag([value], WORDS, NOW) is not None) is expected


def test_words_that_the_settings_do_not_name_are_ignored() -> None:
    assert robots_tag(["noindex, none"], ("noai",)) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1"], True),
        ([" 1 "], True),
        (["0", "1"], True),
        (["0, 1"], True),
        (["0"], False),
        (["10"], False),
        ([""], False),
    ],
)
def test_tdm_reservation_header(values: list[str], expected: int) -> None:
    assert (tdm_reservation(values) is not None) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("train-ai=n", True),
        ("Train-AI = n ;x=1, search=y", True),
        ("search=y,ai-train=no", True),
        ("train-genai=n", True),
        ("train-ai=y", False),
        ("search=n", False),
        ("train-ai", False),
        ("n=train-ai", False),
    ],
)
def test_content_usage_header(value: str, expected: bool) -> None:
    assert (content_usage([value]) is not None) is expected


ROBOTS = """
Content-Signal: search=yes
User-agent: GPTBot
Content-Usage: /for-gpt train-ai=n

User-Agent: otherbot
User-Agent: *   # and everybody else
Disallow: /private
content-usage: train-ai=y
Content-Usage: /art/ train-ai=n
Content-Usage: /art/free/ train-ai=y
Content-Usage: /*.gif$ train-ai=n

User-agent: Collect/1.0
Content-Signal: /ours ai-train=no
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", None),
        ("/for-gpt", None),
        ("/art/1.jpg", "robots.txt: Content-Usage: /art/ train-ai=n"),
        ("/%61rt/1.jpg", "robots.txt: Content-Usage: /art/ train-ai=n"),
        ("/art/free/1.jpg", None),
        ("/x/1.gif", "robots.txt: Content-Usage: /*.gif$ train-ai=n"),
        ("/x/1.gif?size=2", None),
        ("/ours/1", "robots.txt: Content-Signal: /ours ai-train=no"),
    ],
)
def test_content_usage_lines_of_robots(path: str, expected: str | None) -> None:
    assert forbidden_by(usage_rules(ROBOTS, "collect"), path) == expected


def test_tdmrep_rules_by_the_longest_pattern_or_the_first() -> None:
    rules = tdmrep_rules(
        json.dumps(
            [
                {"location": "/a", "tdm-reservation": 0},
                {"location": "/a/b", "tdm-reservation": 1},
                {"location": "/c", "tdm-reservation": 1, "tdm-policy": "https://example.org/policy"},
                {"location": "/c/free", "tdm-reservation": 0},
                {"location": 3, "tdm-reservation": 1},
                "no rule",
            ]
        ).encode()
    )
    refused = {path for path in ("/", "/a", "/a/1", "/a/b/1", "/c/1", "/c/free/1") if forbidden_by(rules, path)}
    assert refused == {"/a/b/1", "/c/1", "/c/free/1"}
    assert tdmrep_rules(b"<!doctype html>") == tdmrep_rules(b"") == tdmrep_rules(b"[" * 100_000) == ()


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/", "/x", True), ("/x", "/", False), ("/x$", "/x", True), ("/x$", "/xy", False), ("*", "/x", True),
        ("/*.jpg$", "/a/b.jpg", True), ("/*.jpg$", "/b.jpg?x", False), ("/a*b*c", "/aXbXXc.", True),
        ("/a*b*c", "/acb", False), ("/ab*b$", "/ab", False), ("/a b", "/a%20b", True), ("/%7ea", "/~a", True),
        ("", "/", True), ("/a*$", "/abc", True),
    ],
)  # fmt: skip
def test_patterns(pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, path) is expected


@given(st.text("ab*$/%2", max_size=12), st.text("ab/%2", max_size=12))
def test_a_pattern_matches_what_its_stars_can_become(pattern: str, path: str) -> None:
    if "%" not in pattern + path and "$" not in pattern:
        assert matches(pattern.replace("*", "a") + "$", pattern.replace("*", "a"))
        assert matches(pattern, pattern.replace("*", path))
    matches(pattern, path)


def test_a_hostile_pattern_takes_no_time() -> None:
    assert not matches("/" + "*a" * 5_000 + "$", "/" + "a" * 4_999)


@given(st.lists(st.text(), max_size=4))
def test_readers_of_headers_survive_strangers(values: list[str]) -> None:
    for signal in (robots_tag(values, WORDS), tdm_reservation(values), content_usage(values)):
        assert signal is None or any(value.strip() in signal for value in values)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from(["location", "/", 1]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["location", "tdm-reservation", "x"]), inner),
)


@given(st.one_of(st.binary(), JSON.map(lambda value: json.dumps(value).encode())), st.text())
def test_readers_of_files_survive_strangers(data: bytes, path: str) -> None:
    forbidden_by(tdmrep_rules(data), path)
    forbidden_by(usage_rules(data.decode("latin-1"), "collect"), path)
    forbidden_by(usage_rules(f"User-agent: *\nContent-Usage: {path} train-ai=n", "collect"), path)
