"""The report: figures that add up, strangers' text that stays text, files that are whole."""

from __future__ import annotations

import csv
import html
import io
import itertools
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from collector.catalog import images, models, sightings
from collector.credits import web_link
from collector.errors import CollectError
from collector.records import Rejected, Sighting
from collector.workspace import Workspace
from pipelines.cli.main import cli
from pipelines.reports.build import PAGES, report
from pipelines.reports.contact_sheet import PER_PAGE, Album
from pipelines.reports.material import Material
from pipelines.reports.stages import stages
from tests.conftest import REPOSITORY, jpeg
from tests.pipelines.conftest import BY, LINKS, PAYLOADS, find, say


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_step_has_a_page_and_the_funnel_adds_up(full: Workspace) -> None:
    summary = report(full)
    assert (summary.pages, summary.filled, summary.warnings) == (len(PAGES) + 1, len(PAGES), ())
    bars = stages(Material(full, full.concept("horse")))
    assert [bar.name for bar in bars] == ["seen", "kept", "distinct", "labeled", "agreed", "trained"]
    for above, below in itertools.pairwise(bars):
        assert above.count is not None
        assert below.count is not None
        assert above.count == below.count + sum(below.lost.values())
    run = models.find_finished(full.catalog, "horse")
    assert run is not None
    assert run.metrics is not None
    assert bars[-1].count == run.metrics["train"]


def test_the_same_workspace_gives_the_same_bytes(full: Workspace, tmp_path: Path) -> None:
    report(full, out=tmp_path / "first")
    report(full, out=tmp_path / "second")
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_nothing_in_the_pages_points_to_another_place(site: Path) -> None:
    for path in site.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "default-src 'none'" in html.unescape(text)
        assert not re.search(r"<(iframe|object|form|base)\b", text)
        assert text.count("<script>") == (path.name == "disagreements.html")  # j and k, by its hash
        assert not re.search(r"<script[^>]", text)
        assert all(source.startswith("data:image/") for source in re.findall(r'\bsrc="([^"]*)"', text))
        for link in re.findall(r"<a [^>]*>", text):
            outside = 'rel="noreferrer noopener nofollow"' in link
            target = re.findall(r'href="([^"]*)"', link)[0]
            file, _, place = target.partition("#")
            assert target.startswith(("http://", "https://")) if outside else (site / (file or path.name)).is_file()
            assert not place or outside or f'id="{place}"' in text


@pytest.mark.parametrize("url", ["https://good.example/a?b=c", "http://good.example"])
def test_a_web_page_becomes_a_link(url: str) -> None:
    assert web_link(url) == url


@pytest.mark.parametrize(
    "url",
    ["", "javascript:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "JAVASCRIPT:alert(1)", "http://[",
     "data:text/html,x", "file:///etc/passwd", "vbscript:x", "//evil.example", "https:", "mailto:a@b.example"],
)  # fmt: skip
def test_anything_else_never_does(url: str) -> None:
    assert web_link(url) == ""


def test_no_cell_of_the_credits_can_be_taken_for_a_formula(full: Workspace, site: Path) -> None:
    header, *rows = list(csv.reader(io.StringIO((site / "credits.csv").read_text(encoding="utf-8-sig"), newline="")))
    assert header[:3] == ["sha256", "title", "creator"]
    assert {row[0] for row in rows} == {seen.image for seen in sightings.latest(full.catalog, "horse")}
    titles = {row[1] for row in rows}
    assert '\'=HYPERLINK("http://evil.example")' in titles
    assert not [cell for row in rows for cell in row if cell.lstrip()[:1] in tuple("=+-@\t\r")]
    pages = {row[4] for row in rows}
    assert {each for each in pages if not each.startswith("https://img.example/")} == {"", LINKS[2], LINKS[4]}


def test_a_page_whose_step_has_not_run_names_the_command(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    summary = report(ws)
    assert summary.filled == 0
    assert summary.next == "collect crawl horse"
    folder = Path(summary.path).parent
    for page in PAGES:
        text = (folder / f"{page.name}.html").read_text(encoding="utf-8")
        assert (
            f"<code>collect {page.command}{'' if page.name in ('duplicates', 'quality') else ' horse'}</code>" in text
        )
    index = Path(summary.path).read_text(encoding="utf-8")
    assert "<code>collect dedup</code>" in index
    assert "<code>collect crawl horse</code>" in index


def test_answers_of_one_person_alone_make_a_page_that_says_what_is_missing(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    say(ws, find(ws, jpeg(1), 1), "ann", "horse")
    text = (Path(report(ws).path).parent / "agreement.html").read_text(encoding="utf-8")
    assert "no image was labeled by two annotators" in text
    assert not re.search(r"\bnan\b", text)


def test_each_judgment_page_shows_strangers_names_as_text(site: Path) -> None:
    for name in ("agreement", "disagreements", "annotators", "events", "errata"):
        text = (site / f"{name}.html").read_text(encoding="utf-8")
        assert html.escape(PAYLOADS[0]) in text, name
        assert text.replace("<script>//", "").count("<script>") == 0, name


def test_the_disagreements_lead_to_the_tasks_and_say_what_a_model_thinks_that_has_not_seen_them(site: Path) -> None:
    text = (site / "disagreements.html").read_text(encoding="utf-8")
    assert 'href="http://127.0.0.1:8330/projects/7/data?task=70"' in text
    assert "model, not trained on it:" in text


def test_a_table_of_answers_becomes_a_page_without_a_workspace(tmp_path: Path) -> None:
    rows = [(f"picture {n}", who, "cat" if n % 2 or who == PAYLOADS[0] else PAYLOADS[1], None, 1.0 + n)
            for n in range(40) for who in ("ann", "ben", PAYLOADS[0])]  # fmt: skip
    table = tmp_path / "answers.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("task", "annotator", "label", "truth", "seconds"), *rows])
    page = tmp_path / "page.html"
    done = CliRunner().invoke(cli, ["agreement", "--from", str(table), "--html", str(page), "--json"])
    assert done.exit_code == 0, done.output
    text = page.read_text(encoding="utf-8")
    assert html.escape(PAYLOADS[0]) in text
    assert "<script" not in text
    assert "href=" not in text.replace('href="data:,"', "")
    assert "Look at the answers of" in text
    refused = CliRunner().invoke(cli, ["agreement", "--html", str(page)])
    assert refused.exit_code == 2
    assert "goes with --from" in refused.output


def test_a_picture_whose_bytes_are_gone_is_named_and_the_rest_is_shown(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    gone, there = find(ws, jpeg(1), 1), find(ws, jpeg(2), 2)
    Path(ws.store.path(gone)).unlink()
    summary = report(ws)
    assert summary.warnings == ("1 pictures cannot be read any more; restore the store from a backup",)
    text = (Path(summary.path).parent / "crawl.html").read_text(encoding="utf-8")
    assert f"the bytes of {gone[:12]} cannot be read" in text
    assert f'alt="image {there[:12]}"' in text


def test_a_snapshot_that_was_changed_by_hand_spoils_its_own_page_only(full: Workspace, tmp_path: Path) -> None:
    row = models.find_snapshot(full.catalog, "horse")
    assert row is not None
    path = full.data / row.path
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    try:
        summary = report(full, out=tmp_path / "site")
    finally:
        path.write_bytes(whole)
    assert [warning.split(":")[0] for warning in summary.warnings] == ["snapshot"]
    assert "This page could not be made" in (tmp_path / "site" / "snapshot.html").read_text(encoding="utf-8")
    assert summary.filled == len(PAGES) - 1


def test_pure_noise_on_every_picture_of_a_page_stays_below_four_megabytes(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(buffer, "PNG")
    noise = find(ws, buffer.getvalue(), 1)
    assert len(Album(ws, {}).picture(noise).uri) * PER_PAGE < 4_000_000


def test_a_folder_of_the_user_keeps_what_else_is_in_it(ws: Workspace, tmp_path: Path) -> None:
    ws.concept("horse", create=True)
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    report(ws, out=tmp_path)
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "mine"
    assert (tmp_path / "index.html").is_file()


def test_a_file_in_the_way_of_the_folder_is_one_clear_sentence(ws: Workspace, tmp_path: Path) -> None:
    ws.concept("horse", create=True)
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    with pytest.raises(CollectError, match="taken"):
        report(ws, out=tmp_path / "taken")


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "<i>horse</i>", "лошадь", "a%2Fb"])
def test_any_name_of_a_concept_gives_a_folder_inside_the_reports(ws: Workspace, name: str) -> None:
    ws.concept(name, create=True)
    index = Path(report(ws, name).path)
    assert index.parent.parent == (ws.data / "reports").resolve()
    assert index.is_file()


def test_a_report_killed_while_it_writes_leaves_whole_pages(
    make_workspace: Callable[..., Workspace], tmp_path: Path
) -> None:
    ws = make_workspace()
    ws.concept("horse", create=True)
    for n in range(8):
        find(ws, jpeg(n), n)
    out = tmp_path / "site"
    report(ws, out=out)
    old = contents(out)
    images.reject(ws.catalog, Sighting("x", "1", "https://x/1", BY, "horse", "horse"), Rejected("empty"))
    command = [sys.executable, "-m", "pipelines.cli", "report", "horse", "--out", str(out), "-q"]
    for _ in range(5):  # until it was killed while it wrote
        child = subprocess.Popen([*command, "--config", str(ws.settings.path)], cwd=REPOSITORY)
        while child.poll() is None and not [*out.glob(".draft-*/*")]:
            time.sleep(0.0005)
        child.kill()
        child.wait()
        if [*out.glob(".draft-*")]:
            break
    assert [*out.glob(".draft-*")]
    left = {name: (out / name).read_bytes() for name in old}
    report(ws, out=out)
    new = contents(out)
    assert new.keys() == old.keys()
    assert new["index.html"] != old["index.html"]
    assert all(left[name] in (old[name], new[name]) for name in old)
