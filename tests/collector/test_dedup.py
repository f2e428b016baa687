"""Near-duplicates: exact search, stars, keepers with reasons."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from collector.catalog import pools
from collector.catalog.pools import Candidate
from collector.dedup import dedup, near_pairs, stars
from collector.intake import take_in
from collector.records import Kept, License, Sighting
from collector.workspace import Workspace
from tests.conftest import jpeg, picture

BY, CC0 = License("by", "4.0"), License("cc0", "1.0")


def keep(ws: Workspace, data: bytes, name: str, license: License = BY) -> str:
    ws.concept("horse", create=True)
    outcome = take_in(ws, data, Sighting("test", name, f"https://x/{name}", license, concept="horse", label="horse"))
    assert isinstance(outcome, Kept)
    return outcome.image


def candidate(image: str, phash: int, *, pixels: str = "", quality: float = 1.0) -> Candidate:
    return Candidate(image, pixels or image, phash, quality, 100, 100, ("by",), False, "")


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), st.integers(0, 12), st.integers(0, 2**32))
def test_the_search_finds_every_pair_within_the_radius_and_no_other(values: list[int], radius: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for value in list(values):  # copies a few bits away, or the radius would hardly ever be met
        values.append(
            value ^ sum(1 << int(bit) for bit in rng.choice(64, size=int(rng.integers(0, 22)), replace=False))
        )
    hashes = np.array(values, dtype=np.uint64)
    expected = {
        (i, j, (values[i] ^ values[j]).bit_count())
        for i in range(len(values))
        for j in range(i + 1, len(values))
        if (values[i] ^ values[j]).bit_count() <= radius
    }
    assert sorted(near_pairs(hashes, radius)) == sorted(expected)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=30), st.integers(0, 2**32))
def test_every_image_set_aside_lies_within_the_threshold_of_one_that_is_kept(values: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    chained = [value ^ (1 << int(rng.integers(64))) for value in values for _ in range(3)]
    ranked = [candidate(f"{i:04}", value) for i, value in enumerate([*values, *chained])]
    by_id = {each.image: each for each in ranked}
    found = stars(ranked, 2, 0.0)
    aside = {row.image for row in found}
    for row in found:
        assert row.keeper not in aside
        assert (by_id[row.image].phash ^ by_id[row.keeper].phash).bit_count() == row.distance <= 2


def test_flat_pictures_are_copies_only_when_their_pixels_are_equal() -> None:
    ranked = [
        candidate("a", 7, quality=0.0),
        candidate("b", 7, quality=0.0),
        candidate("c", 9, pixels="a", quality=0.0),
    ]
    assert [(row.image, row.keeper, row.method) for row in stars(ranked, 10, 0.1)] == [("c", "a", "pixels")]


def test_a_smaller_copy_is_set_aside_for_the_larger_one_with_the_reason(ws: Workspace) -> None:
    large = keep(ws, jpeg(1, (640, 480)), "large")
    small = keep(ws, jpeg(1, (320, 240)), "small")
    keep(ws, jpeg(2), "other")
    summary = dedup(ws)
    assert (summary.images, summary.groups, summary.duplicates, summary.kept) == (3, 1, 1, 2)
    row = pools.duplicates(ws.catalog)[small]
    assert row.keeper == large
    assert row.reason == "more pixels (307200 against 76800)"


def test_the_more_openly_licensed_copy_is_kept_even_when_it_is_smaller(ws: Workspace) -> None:
    keep(ws, jpeg(1, (640, 480)), "large")
    free = keep(ws, jpeg(1, (320, 240)), "free", CC0)
    dedup(ws)
    assert {row.keeper for row in pools.duplicates(ws.catalog).values()} == {free}


def test_the_same_pixels_in_another_file_format_are_an_exact_copy(ws: Workspace) -> None:
    data = jpeg(3)
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).save(buffer, "PNG")
    keep(ws, data, "jpeg")
    keep(ws, buffer.getvalue(), "png")
    assert dedup(ws).exact == 1


def test_a_second_run_changes_nothing_and_new_images_join_their_group(ws: Workspace) -> None:
    keep(ws, jpeg(1, (640, 480)), "large")
    assert dedup(ws).changed
    assert not dedup(ws).changed
    keep(ws, jpeg(1, (320, 240), quality=60), "small")
    assert dedup(ws).duplicates == 1


def test_a_dry_run_writes_nothing(ws: Workspace) -> None:
    keep(ws, jpeg(1, (640, 480)), "large")
    keep(ws, jpeg(1), "small")
    assert dedup(ws, dry_run=True).duplicates == 1
    assert pools.duplicates(ws.catalog) == {}


def test_pictures_made_for_tests_are_no_copies_of_each_other() -> None:
    from collector.fingerprints import phash

    hashes = [phash(picture(seed)) for seed in range(60)]
    distances = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) > 10


def test_a_placeholder_seen_a_hundred_thousand_times_is_one_group() -> None:
    ranked = [candidate(f"{i:06}", 0) for i in range(100_000)]
    found = stars(ranked, 10, 0.1)
    assert len(found) == 99_999
    assert {row.keeper for row in found} == {"000000"}
