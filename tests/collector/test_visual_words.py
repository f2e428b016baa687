"""Candidates by their points alone: crops, collages and mirror images lead all strangers, and come once."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from collector.dedup import visual_words
from collector.dedup.geometry import Points, extract
from collector.dedup.visual_words import candidates, candidates_between
from tests.collector.drawn import beside, cropped, gray, scene

NONE = extract(np.zeros((100, 100), np.uint8))


def points(picture: Image.Image) -> Points:
    return extract(gray(picture))


def pairs(found: visual_words.Candidates) -> list[tuple[int, int]]:
    return list(zip(found.first.tolist(), found.second.tolist(), strict=True))


@pytest.fixture(scope="module")
def strangers() -> list[Points]:
    return [points(scene(seed)) for seed in range(100, 130)]


def test_crops_turns_and_collages_are_candidates_of_their_original(strangers: list[Points]) -> None:
    source = scene(1)
    copies = [
        cropped(source, 0.7),
        cropped(source, 0.5),
        source.rotate(25, Image.Resampling.BICUBIC, expand=True),
        ImageOps.expand(source, 60, 0),
        beside(scene(2), source),
    ]
    for copy in copies:
        assert (0, 31) in pairs(candidates([points(source), *strangers, points(copy)]))


def test_a_copy_has_more_votes_than_any_stranger(strangers: list[Points]) -> None:
    found = candidates([points(cropped(scene(100), 0.6)), *strangers])
    assert pairs(found)[int(found.score.argmax())] == (0, 1)


def test_both_halves_of_a_collage_lead(strangers: list[Points]) -> None:
    parts = [points(scene(3)), points(scene(4))]
    found = candidates_between([points(beside(scene(3), scene(4)))], [*strangers, *parts])
    assert set(found.second[np.argsort(-found.score)[:2]].tolist()) == {30, 31}


def test_a_mirrored_crop_is_found_with_the_points_of_mirror_images(strangers: list[Points]) -> None:
    shown = [scene(5), ImageOps.mirror(cropped(scene(5), 0.7))]
    upright = [*map(points, shown), *strangers]
    flipped = [*(points(ImageOps.mirror(each)) for each in shown), *([NONE] * len(strangers))]
    assert pairs(candidates(upright, least=10)) == []
    found = candidates(upright, flipped)
    assert pairs(found)[int(found.score.argmax())] == (0, 1)


def test_pairs_are_ordered_and_unique(strangers: list[Points]) -> None:
    found = pairs(candidates([*strangers[:3], *strangers[:3], *strangers[:3]]))
    assert found == sorted(set(found))
    assert all(first < second for first, second in found)
    assert {(0, 3), (0, 6), (3, 6)} <= set(found)


def test_each_picture_has_its_best_candidates_only() -> None:
    group = [points(cropped(scene(6), share)) for share in np.linspace(1, 0.8, 12)]
    kept = pairs(candidates(group, least=0, most=1))
    assert 6 <= len(kept) <= 12
    assert set(range(12)) == {side for pair in kept for side in pair}


def test_how_the_work_is_cut_up_does_not_matter(strangers: list[Points], monkeypatch: pytest.MonkeyPatch) -> None:
    pool = [*strangers, points(cropped(scene(100), 0.6)), points(beside(scene(101), scene(102)))]
    whole = candidates(pool)
    monkeypatch.setattr(visual_words, "PART", 1000)
    monkeypatch.setattr(visual_words, "SLICE", 7)
    cut = candidates(pool)
    assert pairs(whole) == pairs(cut)
    np.testing.assert_allclose(whole.score, cut.score)


def test_blank_pictures_and_empty_pools_have_no_candidates(strangers: list[Points]) -> None:
    for pool in ([], [NONE], [NONE] * 50, [strangers[0]]):
        assert pairs(candidates(pool)) == []
        assert pairs(candidates(pool, pool)) == []
        assert pairs(candidates_between([], pool)) == pairs(candidates_between(pool, [])) == []
    assert pairs(candidates([NONE, strangers[0], NONE, strangers[0]])) == [(1, 3)]


def test_a_thousand_copies_of_one_picture_cost_no_square_of_pairs(strangers: list[Points]) -> None:
    assert len(candidates([strangers[0]] * 1000).first) <= 1000 * visual_words.MOST
