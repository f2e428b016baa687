"""`collect credits` and the two pages about where images come from: complete, escaped, and equal to the catalog."""

from __future__ import annotations

import csv
import html
import io
import re
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from collector.catalog import models, sightings
from collector.errors import CollectError, UsageError
from collector.intake import take_in
from collector.licenses import PUBLIC, from_code
from collector.records import Kept, License, Sighting
from collector.workspace import Workspace
from pipelines.cli.main import cli
from pipelines.reports.build import report
from pipelines.reports.composition import LARGE_SHARE, composition
from pipelines.reports.credits import credits
from pipelines.reports.material import Material
from pipelines.snapshot import snapshot
from tests.conftest import jpeg
from tests.pipelines.conftest import BY, LINKS, PAYLOADS, find

FILES = {"ATTRIBUTION.md", "attribution.csv", "attribution.html"}


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "attribution.csv").read_text(encoding="utf-8-sig"), newline="")))


def add(ws: Workspace, number: int, license: License = BY, *, creator: str = "Ada", date: str = "") -> str:
    """Take one picture of a crawl in."""
    ws.concept("horse", create=True)
    seen = Sighting(
        "openverse", f"id-{number}", f"https://img{number % 2}.example/{number}.jpg", license, "horse", "horse",
        page=f"https://site.example/{number}", title=f"Horse {number}", creator=creator,
        facts={"date": date} if date else {},
    )  # fmt: skip
    outcome = take_in(ws, jpeg(number, (160 + 40 * number, 120 + 30 * number)), seen)
    assert isinstance(outcome, Kept)
    return outcome.image


def test_the_three_files_credit_every_image_of_a_concept(full: Workspace, tmp_path: Path) -> None:
    summary = credits(full, "horse", out=tmp_path / "out")
    folder = Path(summary.path)
    images = {seen.image for seen in sightings.latest(full.catalog, "horse")}
    assert {path.name for path in folder.iterdir()} == FILES
    assert {row["sha256"] for row in table(folder)} == images
    assert summary.images == len(images) == sum(summary.licenses.values())
    for name in ("ATTRIBUTION.md", "attribution.html"):
        text = (folder / name).read_text(encoding="utf-8")
        assert all(image in text for image in images), name
        assert "CC BY-SA 4.0" in html.unescape(text).replace("\\", "")
        assert BY.url in text
        assert "none: original bytes" in text.replace("\\", "")
    assert any("never publish" in warning for warning in summary.warnings)


def test_the_page_that_goes_with_a_data_set_runs_nothing_and_asks_nobody(full: Workspace, tmp_path: Path) -> None:
    text = (Path(credits(full, out=tmp_path).path) / "attribution.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in html.unescape(text)
    assert not re.search(r"<(script|iframe|object|form|base|img|svg)\b", text)
    assert not re.search(r'\s(src|srcset|style|on\w+)="', text)
    links = {html.unescape(link) for link in re.findall(r'href="([^"]*)"', text)}
    own = {link for link in links if link.startswith("https://img.example/")}
    assert links - own == {"data:,", BY.url, LINKS[2], LINKS[4]}
    for payload in PAYLOADS[:5]:
        assert payload in html.unescape(text)
        assert payload not in text


def test_a_snapshot_is_credited_as_it_was_frozen(full: Workspace, tmp_path: Path) -> None:
    row = models.find_snapshot(full.catalog, "horse")
    assert row is not None
    summary = credits(full, "horse", snapshot=row.digest[:10], out=tmp_path)
    held = {image.image: image for image in Material(full, full.concept("horse")).manifest(row.digest).rows}
    assert summary.snapshot == row.digest
    assert summary.images == len(held)
    for each in table(tmp_path):
        frozen = held.pop(each["sha256"])
        assert (each["license_code"], each["license_version"]) == (frozen.license, frozen.license_version)
    assert held == {}
    with pytest.raises(UsageError, match="no snapshot"):
        credits(full, "horse", snapshot="ffff", out=tmp_path)


def test_nothing_to_credit_is_one_sentence(ws: Workspace, tmp_path: Path) -> None:
    ws.concept("horse", create=True)
    with pytest.raises(CollectError, match="no images to credit"):
        credits(ws)
    assert not (ws.data / "credits").exists()


def test_the_command_writes_beside_the_data_and_prints_no_control_character(ws: Workspace) -> None:
    find_in = "\x1b[31mred\x1b[0m <b>"
    ws.concept("horse", create=True)
    find(ws, jpeg(1), 1, find_in)
    done = CliRunner().invoke(cli, ["credits", "horse", "--config", str(ws.settings.path)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "\x1b[31m" not in done.output
    assert {path.name for path in (ws.data / "credits" / "horse").iterdir()} == FILES


def test_a_changed_license_and_a_withdrawn_picture_are_credited_as_such(ws: Workspace, tmp_path: Path) -> None:
    add(ws, 1, from_code("by-sa-3.0-de"))
    add(ws, 2, creator="")
    for seen in sightings.latest(ws.catalog, "horse"):
        if seen.found.source_id == "id-1":
            told = Sighting("x", "x", "x", from_code("by-4.0"), title="Horse 1", creator="Ada L.", page=seen.found.page)
            sightings.revise(ws.catalog, seen, told, "license-changed")
        else:
            sightings.revise(ws.catalog, seen, seen.found, "withdrawn")
    summary = credits(ws, out=tmp_path)
    first, second = sorted(table(tmp_path), key=lambda row: row["title"])
    assert (first["license"], first["creator"], first["state"]) == ("CC BY 4.0", "Ada L.", "license-changed")
    assert (second["state"], second["lacks"]) == ("withdrawn", "title creator" if not second["title"] else "creator")
    assert summary.lacking == {"creator": 1}
    assert summary.warnings == ("1 images were withdrawn by their source",)


def test_composition_counts_each_image_once_and_warns_of_one_creator(ws: Workspace) -> None:
    licenses = [BY, PUBLIC["cc0"], from_code("by-3.0-de"), BY, BY]
    for number, license in enumerate(licenses):
        add(ws, number, license, creator="Ada" if number < 3 else f"other {number}", date=f"{2015 + number}-06-01")
    about = composition(Material(ws, ws.concept("horse")))
    assert about is not None
    assert about["table"] == Counter(
        {("openverse", "CC BY-SA 4.0"): 3, ("openverse", "CC0 1.0"): 1, ("openverse", "CC BY 3.0 Germany"): 1}
    )
    assert about["creators"].rows[0] == ("Ada", 3)
    assert 3 / about["creators"].of > LARGE_SHARE
    assert dict(about["hosts"].rows) == {"img0.example": 3, "img1.example": 2}
    assert about["formats"].rows == [("JPEG", 5)]
    assert about["dated"] == 5
    text = (Path(report(ws).path).parent / "composition.html").read_text(encoding="utf-8")
    assert "60.0% of the gathered images" in text
    assert "crawl.per_creator" in text


def test_no_creator_is_warned_of_at_a_fifth_of_the_images(ws: Workspace) -> None:
    for number in range(5):
        add(ws, number, creator=f"creator {number}")
    text = (Path(report(ws).path).parent / "composition.html").read_text(encoding="utf-8")
    assert "crawl.per_creator" not in text
    assert "more than 20" not in text


def test_the_pages_say_what_a_recheck_has_found(ws: Workspace) -> None:
    add(ws, 1)
    (seen,) = sightings.latest(ws.catalog, "horse")
    closed = Sighting("x", "x", "x", from_code("by-nc-4.0"), title="<i>Horse</i>", page=seen.found.page)
    sightings.revise(ws.catalog, seen, closed, "license-changed")
    text = (Path(report(ws).path).parent / "composition.html").read_text(encoding="utf-8")
    assert "CC BY-NC 4.0" in text
    assert "&lt;i&gt;Horse" in text


def test_an_image_whose_license_was_closed_is_left_out_of_the_next_snapshot(full: Workspace) -> None:
    """Last, because it changes the workspace of the session: it puts everything back."""
    row = models.find_snapshot(full.catalog, "horse")
    assert row is not None
    held = Material(full, full.concept("horse")).manifest(row.digest)
    gone = next(each for each in held.rows if each.source == "openverse" and each.split == "train")
    (seen,) = [each for each in sightings.latest(full.catalog, "horse") if each.image == gone.image]
    sightings.revise(full.catalog, seen, Sighting("x", "x", "x", from_code("by-nd-4.0")), "license-changed")
    try:
        summary = snapshot(full, "horse")
        assert summary.excluded["license-changed"] == 1
        assert any("now states a license" in warning for warning in summary.warnings)
        assert summary.digest != row.digest
    finally:
        (closed,) = [each for each in sightings.latest(full.catalog, "horse") if each.image == gone.image]
        sightings.revise(full.catalog, closed, seen.found, "live")
    assert snapshot(full, "horse").digest == row.digest
