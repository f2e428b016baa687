"""Licenses: exactly known ones are read, everything else is refused with a reason."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import licenses
from collector.errors import UsageError
from collector.records import License
from collector.spiders.config import CrawlConfig

CC = "https://creativecommons.org"


@pytest.mark.parametrize(
    ("url", "code", "version", "port"),
    [
        (f"{CC}/licenses/by/4.0/", "by", "4.0", ""),
        ("http://creativecommons.org/licenses/by/2.0", "by", "2.0", ""),
        ("https://www.creativecommons.org/licenses/by-nc/3.0/", "by-nc", "3.0", ""),
        (f"{CC}/licenses/by-sa/3.0/de/deed.en", "by-sa", "3.0", "de"),
        (f"{CC}/licenses/by-sa/2.1/jp/", "by-sa", "2.1", "jp"),
        (f"{CC}/licenses/by-nc-sa/4.0/legalcode.pt-br", "by-nc-sa", "4.0", ""),
        (f"{CC}/licenses/by/3.0/igo/legalcode", "by", "3.0", "igo"),
        (f"{CC}/licenses/by/4.0/deed", "by", "4.0", ""),
        (f"{CC}/licenses/by-nd-nc/2.0/jp/", "by-nc-nd", "2.0", "jp"),
        (f"{CC}/publicdomain/zero/1.0/", "cc0", "1.0", ""),
        ("http://creativecommons.org/publicdomain/zero/1.0/deed.en", "cc0", "1.0", ""),
        (f"{CC}/publicdomain/mark/1.0/", "pdm", "1.0", ""),
    ],
)
def test_a_known_address_is_read(url: str, code: str, version: str, port: str) -> None:
    found = licenses.from_url(url)
    assert found is not None
    assert (found.code, found.version, found.jurisdiction) == (code, version, port)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "creativecommons.org/licenses/by/4.0/",
        f"{CC}/licenses/by/9.0/",
        f"{CC}/licenses/by/2.1/",
        f"{CC}/licenses/by/4.0/de/",
        f"{CC}/licenses/by/3.0/xx/",
        f"{CC}/licenses/sampling+/1.0/",
        f"{CC}/licenses/by-by/4.0/",
        f"{CC}/licenses/by/4.0/../../by-nc/4.0/",
        f"{CC}/licenses/by/٤.٠/",
        f"{CC}/publicdomain/zero/2.0/",
        "https://creativecommons.org.evil.example/licenses/by/4.0/",
        "https://creativecommons.org:443@evil.example/licenses/by/4.0/",
        "ftp://creativecommons.org/licenses/by/4.0/",
        "https://www.flickr.com/commons/usage/",
        "http://[broken",
    ],
)
def test_an_address_that_is_not_exactly_known_is_no_license(url: str) -> None:
    assert licenses.from_url(url) is None


@pytest.mark.parametrize(
    ("code", "version", "url", "read"),
    [
        ("by", "2.0", f"{CC}/licenses/by/2.0/", "by"),
        ("by-nc-nd", "2.0", f"{CC}/licenses/by-nd-nc/2.0/jp/", "by-nc-nd"),
        ("cc-by-sa-3.0-de", "", f"{CC}/licenses/by-sa/3.0/de/deed.en", "by-sa"),
        ("cc-by-sa-4.0", "", "", "by-sa"),
        ("pd", "", "", "pdm"),
        ("cc0", "1.0", f"{CC}/publicdomain/zero/1.0/", "cc0"),
        ("", "", f"{CC}/licenses/by/4.0/", "by"),
        ("", "", "", "missing"),
        ("", "", "https://www.flickr.com/commons/usage/", "unknown"),
        ("by", "2.0", "https://example.org/terms", "unknown"),
        ("by", "", "", "unknown"),
        ("by", "7.0", "", "unknown"),
        ("sampling+", "1.0", f"{CC}/licenses/sampling+/1.0/", "unknown"),
        ("cc-by-sa-4.0,3.0,2.5", "", "", "unknown"),
        ("all rights reserved", "", "", "unknown"),
        ("by", "2.0", f"{CC}/licenses/by-nd-nc/2.0/jp/", "contradictory"),
        ("by", "2.0", f"{CC}/licenses/by/4.0/", "contradictory"),
        ("cc-by-4.0", "2.0", "", "contradictory"),
        ("cc-by-sa-3.0-de", "", f"{CC}/licenses/by-sa/3.0/at/", "contradictory"),
        ("cc0", "1.0", f"{CC}/licenses/by/4.0/", "contradictory"),
    ],
)
def test_a_code_is_confirmed_by_its_version_and_address(code: str, version: str, url: str, read: str) -> None:
    assert licenses.from_code(code, version, url).code == read


def test_a_jurisdiction_and_the_evidence_are_kept() -> None:
    found = licenses.from_code("cc-by-sa-3.0-de", url=f"{CC}/licenses/by-sa/3.0/de/", evidence="License='cc-by-sa'")
    assert found == License("by-sa", "3.0", f"{CC}/licenses/by-sa/3.0/de/", "de", "License='cc-by-sa'")


@pytest.mark.parametrize(
    ("preset", "takes"),
    [
        ("open", {"cc0", "pdm", "by", "by-sa"}),
        ("public-domain", {"cc0", "pdm"}),
        ("noncommercial", {"cc0", "pdm", "by", "by-sa", "by-nc", "by-nc-sa"}),
        ("any-cc", set(licenses.CODES)),
    ],
)
def test_a_preset_takes_its_licenses_only(preset: str, takes: set[str]) -> None:
    everything = (*licenses.CODES, *licenses.REFUSED, *licenses.OURS, "", "sampling+")
    assert {code for code in everything if licenses.judge(License(code), preset) is None} == takes


@pytest.mark.parametrize("state", licenses.REFUSED)
def test_what_cannot_be_read_is_refused_by_every_preset(state: str) -> None:
    for preset in licenses.PRESETS:
        why = licenses.judge(License(state, evidence="license=''"), preset)
        assert why is not None
        assert (why.reason, why.detail) == (f"license-{state}", "license=''")


def test_the_presets_of_the_settings_are_the_presets() -> None:
    assert get_args(CrawlConfig.model_fields["license"].annotation) == tuple(licenses.PRESETS)


@pytest.mark.parametrize(
    ("text", "code", "version"),
    [("by-4.0", "by", "4.0"), ("CC-BY-SA-3.0", "by-sa", "3.0"), ("by", "by", ""), ("cc0", "cc0", "1.0"),
     ("own", "own", ""), ("unlicensed", "unlicensed", "")],
)  # fmt: skip
def test_a_person_may_state_a_license(text: str, code: str, version: str) -> None:
    stated = licenses.from_person(text)
    assert (stated.code, stated.version) == (code, version)
    assert text in stated.evidence


def test_a_misspelt_license_of_a_person_is_explained() -> None:
    with pytest.raises(UsageError, match="did you mean `unlicensed`"):
        licenses.from_person("unlicenced")
    with pytest.raises(UsageError, match="not a license code"):
        licenses.from_person("by-4.1")
    with pytest.raises(UsageError, match="did you mean `noncommercial`"):
        licenses.check_preset("non-commercial")


anything = st.text() | st.sampled_from(["by", "cc-by-4.0", "pd", f"{CC}/licenses/by/4.0/", f"{CC}/licenses/by-nc/2.0/"])


@given(code=anything, version=st.sampled_from(["", "1.0", "4.0", "x"]) | st.text(), url=anything)
def test_whatever_a_source_says_is_a_known_license_or_refused(code: str, version: str, url: str) -> None:
    found = licenses.from_code(code, version, url)
    if licenses.judge(found, "any-cc") is None:
        assert found.code in licenses.CODES
        assert licenses.from_url(found.url) is not None
        assert f"{found.code}{found.version}{found.url}{found.jurisdiction}".isascii()
        assert not url.strip() or licenses.from_url(url.strip()) is not None


@given(code=st.sampled_from(licenses.CODES), other=st.sampled_from(licenses.CODES))
def test_a_code_and_the_address_of_another_license_contradict(code: str, other: str) -> None:
    link = licenses.from_code(other, "" if other in licenses.PUBLIC else "4.0").url
    read = licenses.from_code(code, "" if code in licenses.PUBLIC else "4.0", link).code
    assert read == (code if code == other else "contradictory")


@given(st.text())
def test_no_text_breaks_the_reader_of_addresses(text: str) -> None:
    for url in (text, f"{CC}/licenses/{text}", f"http://{text}"):
        found = licenses.from_url(url)
        assert found is None or found.code in licenses.CODES
