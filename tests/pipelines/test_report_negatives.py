"""The page about negatives: origins, suspects beside their nearest positive, what bounds the rest, shortcuts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from collector.catalog import images, suspects
from collector.catalog.suspects import Suspect
from collector.records import License, Rejected, Sighting
from collector.workspace import Workspace
from pipelines.reports.build import report
from pipelines.reports.material import Material
from pipelines.reports.negatives import negatives
from tests.conftest import jpeg
from tests.pipelines.labeled import answer, settle
from tests.pipelines.pooled import pool, take


@pytest.fixture
def sides(ws: Workspace) -> tuple[list[str], list[str]]:
    """30 small and rough positives, 30 larger and finer negatives from two sources, in the pool."""
    positives = take(ws, [jpeg(n, (120, 90), 60) for n in range(30)], "horse")
    one = take(ws, [jpeg(n, (160, 120), 95) for n in range(100, 120)], "not-horse")
    two = take(ws, [jpeg(n, (160, 120), 95) for n in range(200, 210)], "not-horse", source="imagen")
    pool(ws, positives, [*one, *two])
    return positives, [*one, *two]


def page(ws: Workspace) -> dict[str, Any]:
    found = negatives(Material(ws, ws.concept("horse")))
    assert found is not None
    return found


def test_before_the_first_negative_there_is_no_page(ws: Workspace) -> None:
    ws.concept("horse", create=True)
    assert negatives(Material(ws, ws.concept("horse"))) is None


def test_every_negative_counts_once_under_its_source_license_and_tier(
    ws: Workspace, sides: tuple[list[str], list[str]]
) -> None:
    seen = Sighting("imagen", "horse.jpg", "x", License("unlicensed"), "horse", "not-horse")
    images.reject(ws.catalog, seen, Rejected("is-the-concept", "n02374451"))
    found = page(ws)
    assert [(place[0], total) for place, total in found["places"]] == [("made", 20), ("imagen", 10)]
    assert sum(found["table"].values()) == found["negatives"] == 30
    assert found["excluded"] == [("is-the-concept", 1)]


def test_what_people_judged_bounds_the_rest(ws: Workspace, sides: tuple[list[str], list[str]]) -> None:
    assert page(ws)["bound"] is None
    truth = dict.fromkeys(sides[1][:10], "not-horse")
    answer(ws, truth, ("ann", "bob"))
    settle(ws, *((image, label, {label: 2}) for image, label in truth.items()))
    found = page(ws)
    assert (found["inspected"], found["contaminated"], found["bound"]) == (10, 0, 0.3)


def test_a_suspect_stands_beside_its_nearest_positive_with_what_people_say(
    ws: Workspace, sides: tuple[list[str], list[str]]
) -> None:
    positives, others = sides
    rows = [Suspect(others[0], "looks like one", 0.9, positives[0]), Suspect(others[1], "ambiguous: river horse")]
    suspects.put(ws.catalog, "horse", rows)
    settle(ws, (others[1], "horse", {"horse": 2}))
    first, second = page(ws)["suspects"]
    assert [each.image for each in first[:2]] == [others[0], positives[0]]
    assert (first[3], second[1], second[3]) == ("", None, "horse")


def test_the_shortcut_is_drawn_and_said(ws: Workspace, sides: tuple[list[str], list[str]]) -> None:
    found = page(ws)
    assert found["files"].value > 0.9
    assert len(found["histograms"]) == 4
    words = {(word.feature, word.value): (word.positives, word.negatives) for word in found["words"]}
    assert words["source", "imagen"] == (0, pytest.approx(1 / 3))
    text = Path(report(ws, "horse").path).with_name("negatives.html").read_text(encoding="utf-8")
    assert "--accept-shortcut" in text
    assert "quantization tables" in text


def test_few_images_have_a_page_without_figures(ws: Workspace) -> None:
    pool(ws, take(ws, [jpeg(1)], "horse"), take(ws, [jpeg(2)], "not-horse"))
    assert page(ws)["files"] is None
    assert "too few images to tell" in Path(report(ws, "horse").path).with_name("negatives.html").read_text("utf-8")
