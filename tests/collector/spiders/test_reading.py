"""What is read from the answers of all sources: dates, numbers, names, digests; and nothing that breaks on junk."""

from __future__ import annotations

import hashlib
import random
from datetime import date as Date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.records import License, Sighting
from collector.spiders import gbif, inaturalist, internetarchive, met, openverse, wikimedia
from collector.spiders.reading import (
    date,
    first_day,
    last_day,
    mentions,
    number,
    plain,
    same_name,
    stated,
    text,
    wrong_digest,
)

READERS = {
    openverse.read_result: "id url license title tags mature width unstable__sensitivity",
    wikimedia.read_page: "pageid title imageinfo",
    inaturalist.read_observation: "id photos taxon user observed_on captive",
    gbif.read_record: "key media species eventDate",
    met.read_object: "objectID isPublicDomain primaryImage additionalImages tags classification objectEndDate",
    internetarchive.read_item: "metadata identifier files is_dark",
}


def junk(rng: random.Random, names: list[str], depth: int = 4) -> Any:
    kind = rng.randrange(9 if depth else 7)
    if kind < 7:
        return (None, True, False, 0, 17, "", "text")[kind]
    parts = [junk(rng, names, depth - 1) for _ in range(rng.randrange(4))]
    return parts if kind == 7 else dict(zip(rng.sample(names, len(parts)), parts, strict=True))


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__module__.rpartition(".")[2])
def test_no_answer_breaks_a_reader(reader: Any) -> None:
    rng = random.Random(reader.__module__)
    names = [*READERS[reader].split(), "id", "url", "license", "name", "value", "type"]
    for _ in range(2000):
        reader({name: junk(rng, names) for name in rng.sample(names, rng.randrange(len(names)))})


@pytest.mark.parametrize(
    ("said", "read"),
    [("2015", "2015"), ("2015-02", "2015-02"), ("2015-02-04 15:19", "2015-02-04"), ("2015:02:04 10:11", "2015-02-04"),
     ("1891 (printed 1900)", "1891"), ("circa 1617", ""), ("2015-02-31", "2015-02"), ("2015-13-01", "2015"),
     ("0000-00-00", ""), ("19991231", ""), ("", ""), (None, ""), ({}, ""), (1912, "1912")],
)  # fmt: skip
def test_a_date_is_as_long_as_it_is_exact(said: Any, read: str) -> None:
    assert date(said) == read


@given(st.dates(Date(1000, 1, 1)))
def test_a_day_lies_within_its_month_and_year(day: Date) -> None:
    iso = day.isoformat()
    for length in (4, 7, 10):
        assert first_day(iso[:length]) <= iso <= last_day(iso[:length])
        assert Date.fromisoformat(last_day(iso[:length]))


@pytest.mark.parametrize(
    ("said", "read"),
    [("38366", 38366), (" 7 ", 7), (12, 12), (0, None), ("0", None), ("-5", None), ("\u0665", None), ("1e3", None),
     (True, None), (None, None), ("9" * 30, None), ([3], None)],
)  # fmt: skip
def test_a_number_may_be_written_as_text(said: Any, read: int | None) -> None:
    assert number(said) == read


def test_a_list_of_texts_is_one_text_and_an_object_is_none() -> None:
    assert text(["Ada", None, " Bo  Example\n"]) == "Ada; Bo Example"
    assert text({"name": "Ada"}) == ""
    assert stated(width=None, tags=[], mature=False, title="") == {"mature": False}


@pytest.mark.parametrize(
    ("one", "other"),
    [("horse", "Horse"), ("horses", "Horse"), ("fox", "foxes"), ("fly", "flies"), ("Horse Fly", "horse flies"),
     ("sea-horse", "Sea Horse")],
)  # fmt: skip
def test_a_name_is_the_same_in_the_plural(one: str, other: str) -> None:
    assert same_name(one, other)
    assert same_name(other, one)


@pytest.mark.parametrize("other", ["horse flies", "Horsetails", "seahorse", "Horse mackerel", "", None, "hose"])
def test_a_longer_name_is_another_one(other: Any) -> None:
    assert not same_name("horse", other)


def test_words_are_mentioned_as_whole_words() -> None:
    assert mentions("horse", "The Horse Fair")
    assert mentions("horse", "Study", "Horses; Men")
    assert mentions("white horse", "Horses, white")
    assert not mentions("horse", "Seahorse", "horseshoe")
    assert not mentions("white horse", "The Horse Fair")


def test_html_is_stripped_and_the_first_link_kept() -> None:
    assert plain('<p>By <a href="//c.org/wiki/User:A" title="x">A &amp; B</a>\n and <a href="/z">C</a>') == (
        "By A & B and C",
        "https://c.org/wiki/User:A",
    )


@given(st.text())
def test_no_markup_breaks_the_reader_of_html(markup: str) -> None:
    assert isinstance(plain(markup), tuple)


@pytest.mark.parametrize("name", ["sha1", "md5"])
def test_bytes_must_have_the_digest_that_their_source_states(name: str) -> None:
    promised = hashlib.new(name, b"picture", usedforsecurity=False).hexdigest().upper()
    found = Sighting("source", "1", "https://example.org/1", License("cc0"), facts={name: promised})
    assert wrong_digest(found, b"picture") is None
    refused = wrong_digest(found, b"another")
    assert refused is not None
    assert refused.reason == "hash-mismatch"
    assert promised.lower() in refused.detail
