"""Credits: every part that a license asks for is there, and strangers' text stays text wherever it is read."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from collector import licenses
from collector.credits import (
    UNCHANGED,
    Credit,
    credit,
    in_order,
    lacking,
    no_formula,
    plain,
    required,
    to_csv,
    to_markdown,
    web_link,
)
from collector.records import License, Sighting

IMAGE = "ab" * 32
PAGE, PERSON = "https://site.example/photo/1", "https://site.example/ada"
HOSTILE = (
    "<script>alert(1)</script>",
    "![x](https://evil.example/x.png)",
    "[click](javascript:alert(1))",
    "a](javascript:alert(1)) [b",
    "`code` **bold** _it_ ~~no~~ | cell |",
    "# heading\n## another\r\n- item",
    "1. list\n> quote\n***\n<!-- gone",
    "&lt;b&gt; &amp; &#60;",
    "\\](https://evil.example)",
    "\x1b[31mred\x1b[0m\x07\x00",
    "\u202egpj.exe\u2066",
    "https://evil.example www.evil.example",
    "line\u2028separator\u0085next",
    "$x$ ==y== ^z^ :emoji: =1+1",
)


def of(license: License, **given: str) -> Credit:
    about: dict[str, Any] = {"page": PAGE, "title": "A horse", "creator": "Ada", "creator_url": PERSON, **given}
    return credit(IMAGE, Sighting("openverse", "1", "https://img.example/1.jpg", license, **about))


def by(code: str, version: str, port: str = "") -> License:
    return licenses.from_code("-".join(filter(None, (code, version, port))))


def line(each: Credit) -> str:
    return next(text for text in to_markdown("horse", [each]).decode().splitlines() if text.startswith("- "))


def tags(markdown: str) -> tuple[list[str], set[str]]:
    """(the elements that a real renderer makes, the addresses that they lead to); raw HTML would be passed on."""
    html = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown)
    return re.findall(r"<(\w+)", html), set(re.findall(r'(?:href|src)="([^"]*)"', html))


@pytest.mark.parametrize(
    ("license", "parts"),
    [
        (by("by", "1.0"), {"title", "creator", "license", "changes"}),
        (by("by-sa", "2.0"), {"title", "creator", "page", "license", "changes"}),
        (by("by-sa", "2.1", "jp"), {"title", "creator", "page", "license", "changes"}),
        (by("by-nc", "2.5"), {"title", "creator", "page", "license", "changes"}),
        (by("by-nd", "3.0", "de"), {"title", "creator", "page", "license", "changes"}),
        (by("by-nc-sa", "4.0"), {"creator", "page", "license", "changes"}),
        (licenses.PUBLIC["cc0"], set()),
        (licenses.PUBLIC["pdm"], set()),
        (licenses.PUBLIC["us-gov"], set()),
        (License("own"), set()),
        (License("unlicensed"), set()),
    ],
)
def test_each_version_asks_for_its_parts_and_all_are_written(license: License, parts: set[str]) -> None:
    assert set(required(license)) == parts
    each = of(license)
    written = {
        "title": "A horse",
        "creator": f"[Ada](<{PERSON}>)",
        "page": f"](<{PAGE}>)",
        "license": f"](<{license.url}>)",
        "changes": UNCHANGED,
    }
    for text in (line(each), to_csv([each]).decode("utf-8-sig")):
        assert IMAGE in text
        assert "A horse" in text
        assert each.license_title in text.replace("\\", "")
    assert {part for part in parts if written[part] not in line(each)} == set()
    assert each.lacks == ()


@pytest.mark.parametrize(
    ("version", "lacks"), [("3.0", ("title", "creator")), ("4.0", ("creator",)), ("1.0", ("title", "creator"))]
)
def test_a_part_that_the_source_does_not_give_is_named(version: str, lacks: tuple[str, ...]) -> None:
    each = of(by("by", version), title=" ", creator="")
    assert each.lacks == lacks
    assert "by a creator whom the source does not name" in line(each)
    assert lacking([each, of(by("by", "4.0"))]) == dict.fromkeys(sorted(lacks), 1)
    assert lacking([of(licenses.PUBLIC["cc0"], title="", creator="")]) == {}


def test_a_picture_without_a_page_is_credited_by_its_own_address() -> None:
    assert of(by("by", "4.0"), page="").page == "https://img.example/1.jpg"
    assert of(by("by", "4.0"), page="javascript:alert(1)").page == "https://img.example/1.jpg"


def test_the_table_has_a_row_for_each_image_with_all_parts() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv([of(by("by-sa", "3.0", "de"))]).decode("utf-8-sig"), newline="")))
    assert rows == [
        {
            "sha256": IMAGE, "title": "A horse", "creator": "Ada", "creator_url": PERSON, "page": PAGE,
            "source": "openverse", "license": "CC BY-SA 3.0 Germany", "license_code": "by-sa",
            "license_version": "3.0", "license_url": "https://creativecommons.org/licenses/by-sa/3.0/de/",
            "changes": "none: original bytes", "state": "live", "lacks": "", "also_stated": "",
        }
    ]  # fmt: skip


def test_what_has_no_license_comes_last_and_is_said_to_be_closed() -> None:
    listed = in_order([of(License("unlicensed")), of(License("own")), of(by("by", "4.0")), of(licenses.PUBLIC["cc0"])])
    assert [each.license.code for each in listed] == ["by", "cc0", "own", "unlicensed"]
    text = to_markdown("horse", listed).decode()
    assert text.index("## CC BY") < text.index("## own work") < text.index("never publish them")


def test_a_withdrawn_picture_and_another_license_are_noted() -> None:
    seen = Sighting(
        "flickr", "1", "https://img.example/1.jpg", by("by", "2.0"), title="A horse", creator="Ada", page=PAGE
    )
    text = line(credit(IMAGE, seen, state="withdrawn", also=("CC BY 2.0", "CC0 1.0")))
    assert "since then withdrawn by its source" in text
    assert "elsewhere also CC0 1\\.0." in text


@pytest.mark.parametrize("payload", HOSTILE)
def test_hostile_text_is_text_in_markdown(payload: str) -> None:
    each = of(by("by", "4.0"), title=payload, creator=payload, creator_url=payload)
    elements, links = tags(to_markdown(payload, [each]).decode())
    assert elements == ["h1", "p", "h2", "p", "a", "ul", "li", "a", "a", "code"]
    assert links == {PAGE, by("by", "4.0").url}


def test_the_check_of_markdown_itself_finds_what_is_not_escaped() -> None:
    plain_line = line(of(by("by", "4.0")))
    for payload in ("x](<https://evil.example>) [y", "<img src=x>", "**bold**", "`code`"):
        assert tags(plain_line.replace("A horse", payload)) != tags(plain_line)


@given(text=st.text() | st.sampled_from(HOSTILE))
def test_any_text_is_one_line_that_a_terminal_can_show(text: str) -> None:
    shown = plain(text)
    assert shown == "" or len(shown.splitlines()) == 1
    assert not [letter for letter in shown if unicodedata.category(letter) in ("Cc", "Cs") or letter in "\u202e\u2066"]
    assert to_markdown(text, [of(by("by", "4.0"), title=text, creator=text)]).decode("utf-8")


@given(text=st.text() | st.sampled_from(("=1+1", "+1", "-1", "@x", "\uff1d1", " =1", "\t=1", "\ufe631", *HOSTILE)))
def test_no_cell_is_a_formula(text: str) -> None:
    each = of(by("by", "4.0"), title=text, creator=text, page=text, creator_url=text)
    (row,) = list(csv.DictReader(io.StringIO(to_csv([each]).decode("utf-8-sig"), newline="")))
    for cell in row.values():
        assert unicodedata.normalize("NFKC", cell.lstrip())[:1] not in tuple("=+-@")
        assert cell[:1] not in tuple("\t\r\n")
    assert row["title"].removeprefix("'") == plain(text).removeprefix("'")
    assert no_formula("a=1") == "a=1"


@given(st.text() | st.from_regex(r"[a-z]{1,9}:[ -~]{0,20}"))
def test_only_web_pages_become_links(url: str) -> None:
    assert web_link(url) in ("", url)
    assert not web_link(url) or re.match(r"https?://", url, re.IGNORECASE)
