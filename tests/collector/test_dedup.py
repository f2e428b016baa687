"""Near-duplicates: copies set aside, keepers with reasons."""

from __future__ import annotations

import io

from collector.catalog import pools
from collector.dedup import dedup
from collector.fingerprints import PHASH, fingerprints, thumb
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


def test_the_same_pixels_in_another_file_are_an_exact_copy(ws: Workspace) -> None:
    for format_ in ("PNG", "WEBP"):
        buffer = io.BytesIO()
        picture(3).save(buffer, format_, lossless=True)
        keep(ws, buffer.getvalue(), format_)
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
    thumbs = [thumb(picture(seed).convert("L")) for seed in range(60)]
    hashes = [int(each.value, 16) for prints in fingerprints(thumbs) for each in prints if each.algorithm == PHASH]
    distances = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) > 10
