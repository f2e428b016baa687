"""Licenses: exactly known ones are read, everything else is refused with a reason."""

from __future__ import annotations

import re
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
        (f"{CC}/licenses/by/4.0/?ref=chooser-v1", "by", "4.0", ""),
        ("http://www.usa.gov/copyright.shtml", "us-gov", "", "us"),
        ("https://www.usa.gov/government-works", "us-gov", "", "us"),
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
        f"{CC}:443/licenses/by/4.0/",
        "https://reader@creativecommons.org/licenses/by/4.0/",
        f"{CC}/licenses/by/4.0/?license=by-nc",
        f"{CC}/licenses/by/4.0/#by-nc",
        f"{CC}/licenses/by/4.0/deed/legalcode",
        f"{CC}/licenses/by/4.0/\n",
        "https://creative\tcommons.org/licenses/by/4.0/",
        "https://www.usa.gov/copyright.shtml?page=2",
        "https://usa.gov.evil.example/copyright.shtml",
        "https://rightsstatements.org/vocab/NOPE/1.0/",
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
        ("", "", "https://www.flickr.com/commons/usage/", "no-known-restrictions"),
        ("", "", "http://rightsstatements.org/vocab/InC-EDU/1.0/", "inc-edu"),
        ("us-gov", "", "", "us-gov"),
        ("us-gov", "", "http://www.usa.gov/copyright.shtml", "us-gov"),
        ("us-gov", "1.0", "", "contradictory"),
        ("us-gov", "", f"{CC}/publicdomain/mark/1.0/", "contradictory"),
        ("pd", "", "http://rightsstatements.org/vocab/NoC-US/1.0/", "contradictory"),
        ("cc by-sa 3.0 de", "", "", "by-sa"),
        ("cc-by-sa-3.0-d\u212a", "", "", "unknown"),
        ("by\u3000", "4.0", "", "unknown"),
        ("by\0", "4.0", "", "unknown"),
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
        ("open", {"cc0", "pdm", "us-gov", "by", "by-sa"}),
        ("public-domain", {"cc0", "pdm", "us-gov"}),
        ("noncommercial", {"cc0", "pdm", "us-gov", "by", "by-sa", "by-nc", "by-nc-sa"}),
        ("any-cc", set(licenses.CODES)),
    ],
)
def test_a_preset_takes_its_licenses_only(preset: str, takes: set[str]) -> None:
    everything = (*licenses.CODES, *licenses.REFUSED, *licenses.OURS, *licenses.STATEMENTS, "", "sampling+")
    assert {code for code in everything if licenses.judge(License(code), preset) is None} == takes


@pytest.mark.parametrize(
    ("preset", "commercial", "modify", "takes"),
    [
        ("any-cc", True, False, {"cc0", "pdm", "us-gov", "by", "by-sa", "by-nd"}),
        ("any-cc", False, True, {"cc0", "pdm", "us-gov", "by", "by-sa", "by-nc", "by-nc-sa"}),
        ("any-cc", True, True, set(licenses.PRESETS["open"])),
        ("noncommercial", True, False, set(licenses.PRESETS["open"])),
        ("public-domain", True, True, set(licenses.PRESETS["public-domain"])),
    ],
)
def test_commercial_use_and_changes_narrow_a_preset(
    preset: str, commercial: bool, modify: bool, takes: set[str]
) -> None:
    accepted = licenses.allowed(preset, commercial=commercial, modify=modify)
    assert set(accepted) == takes
    assert {code for code in licenses.CODES if licenses.judge(License(code), accepted) is None} == takes


def test_no_list_of_codes_takes_what_is_no_open_license() -> None:
    for code in (*licenses.REFUSED, *licenses.OURS, *licenses.STATEMENTS, "", "sampling+"):
        assert licenses.judge(License(code), (code,)) is not None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://www.flickr.com/commons/usage/", "No known copyright restrictions"),
        ("http://flickr.com/commons/usage", "No known copyright restrictions"),
        ("http://rightsstatements.org/vocab/NoC-US/1.0/", "No Copyright - United States"),
        ("https://rightsstatements.org/page/InC/1.0/", "In Copyright"),
        ("https://rightsstatements.org/vocab/NKC/1.0/", "No Known Copyright"),
    ],
)
def test_a_statement_that_is_no_license_is_refused_by_its_name(url: str, says: str) -> None:
    why = licenses.judge(licenses.from_code("", url=url), "any-cc")
    assert why is not None
    assert why.reason == "license-not-allowed"
    assert why.detail.startswith(f"{says} is not among")


@pytest.mark.parametrize(
    ("license", "properties"),
    [
        (License("cc0"), {"public"}),
        (License("us-gov"), {"public"}),
        (License("by"), {"attribution_required"}),
        (License("by-nc-sa"), {"attribution_required", "nc", "sa"}),
        (License("by-nd"), {"attribution_required", "nd"}),
        (License("own"), set()),
        (License("unlicensed"), set()),
        (License("missing"), set()),
    ],
)
def test_a_license_knows_its_duties(license: License, properties: set[str]) -> None:
    every = ("public", "attribution_required", "nc", "nd", "sa")
    assert {name for name in every if getattr(license, name)} == properties


def test_the_public_domain_is_the_same_everywhere() -> None:
    public = {code for code in (*licenses.CODES, *licenses.STATEMENTS) if License(code).public}
    assert public == set(licenses.PUBLIC) == set(licenses.PRESETS["public-domain"])


@pytest.mark.parametrize(
    ("license", "name"),
    [
        (License("by-sa", "3.0", jurisdiction="de"), "CC BY-SA 3.0 Germany"),
        (License("by", "4.0"), "CC BY 4.0"),
        (License("by"), "CC BY"),
        (License("by", "3.0", jurisdiction="igo"), "CC BY 3.0 IGO"),
        (licenses.PUBLIC["cc0"], "CC0 1.0"),
        (licenses.PUBLIC["pdm"], "Public Domain Mark 1.0"),
        (licenses.PUBLIC["us-gov"], "United States Government Work"),
        (License("own"), "own work"),
        (License("unlicensed"), "no license"),
        (License("inc-edu"), "In Copyright - Educational Use Permitted"),
    ],
)
def test_people_read_a_name(license: License, name: str) -> None:
    assert licenses.title(license) == name


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
     ("us-gov", "us-gov", ""), ("own", "own", ""), ("unlicensed", "unlicensed", "")],
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


KNOWN = {  # every address in the table, without what may stand before and after it
    *(f"creativecommons.org/licenses/{code}/{version}{port}" for code in licenses.CODES if code.startswith("by")
      for version in licenses.VERSIONS for port in ("", *(f"/{port}" for port in licenses.PORTS))
      if (version == "2.1") <= bool(port) and (version == "4.0") <= (not port)),
    *(f"creativecommons.org/licenses/by-nd-nc/{version}" for version in licenses.VERSIONS if version != "2.1"),
    "creativecommons.org/publicdomain/zero/1.0", "creativecommons.org/publicdomain/mark/1.0",
    *(f"usa.gov/{page}" for page in ("copyright.shtml", "government-works", "government-copyright")),
}  # fmt: skip
BEFORE = re.compile(r"^https?://(www\.)?(?=[^/]*(/|$))", re.ASCII | re.IGNORECASE)
AFTER = re.compile(r"(/(deed|legalcode)(\.[a-z_-]{2,12})?)?/?(\?ref=[a-z0-9-]+|\?)?#?$", re.ASCII | re.IGNORECASE)
TRICKS = (
    *"\0\t\n\r \x0b\x1c\x85\u00a0\u200b\u3000\ufeff",  # what some reader calls blank
    *"\u0430\u0435\u043e\u0441\u0443\uff42\uff59\u212a\u017f\u0131",  # what looks like a letter
    *"\u2044\u2215\uff0f\u3002\uff0e\u2024",  # what looks like a slash or a dot
    *"/\\@:;#?&%=+-._~,", "..", "/../", "//", "/./", "%2e%2e/", "%00", "%2f", "-nc", "-nd", "nc", "by-nc", "?ref=", "#",
    ".evil.example", "evil.example/", "evil@", ":8080", "licenses/", "4.0", "/deed", "/legalcode", "/de", "x", "9",
)  # fmt: skip


@given(data=st.data())
def test_no_trick_opens_an_address_outside_the_table(data: st.DataObject) -> None:
    url = f"https://{data.draw(st.sampled_from(sorted(KNOWN)))}/"
    for _ in range(data.draw(st.integers(1, 3))):
        at, cut = data.draw(st.integers(0, len(url))), data.draw(st.integers(0, 3))
        url = url[:at] + data.draw(st.sampled_from(("", *TRICKS))) + url[at + cut :]
    if licenses.judge(licenses.from_code("", url=url), "any-cc") is None:
        host, slash, path = AFTER.sub("", BEFORE.sub("", url.strip(" \t\r\n"))).partition("/")
        assert f"{host.lower()}{slash}{path}" in KNOWN


def test_every_address_of_the_table_is_open() -> None:
    assert not [url for url in KNOWN if licenses.judge(licenses.from_code("", url=f"https://{url}"), "any-cc")]


@given(code=st.sampled_from(licenses.CODES), trick=st.sampled_from(TRICKS), data=st.data())
def test_no_trick_makes_a_code_more_open(code: str, trick: str, data: st.DataObject) -> None:
    spelled = f"cc-{code}-4.0" if code.startswith("by") else code
    at = data.draw(st.integers(0, len(spelled)))
    read = licenses.from_code(spelled[:at] + trick + spelled[at:])
    if licenses.judge(read, "any-cc") is None:
        assert set(code.split("-")) <= set(read.code.split("-"))
