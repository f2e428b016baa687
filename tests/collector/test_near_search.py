"""The search behind deduplication: exact in all forms, incremental, and small whatever it is given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ImageOps

from collector.catalog import comparisons, images, pools
from collector.dedup import DedupConfig, dedup, dihedral, thresholds
from collector.dedup.forest import components, spanning_forest
from collector.dedup.gallery import Gallery
from collector.dedup.step import choose_limits, find
from collector.fingerprints import DCT, PHASH, fingerprints, thumb
from collector.fingerprints import dihedral as forms_of
from collector.workspace import Workspace
from tests.collector.gallery import add, add_all, hashes, near
from tests.collector.test_copies import aside, photo, saved
from tests.collector.test_dedup import keep
from tests.conftest import SHARED

OFF = '[dedup]\ngeometry = "off"\nkeep = ["license", "resolution"]\n'  # nothing that reads files: there are none


def family(rng: np.random.Generator, n: int) -> NDArray[np.uint64]:
    """Random hashes, each with copies some bits away in each of the 8 forms, and their negatives."""
    base = rng.integers(0, 2**64, (n, 4), dtype=np.uint64)
    noise = np.bitwise_and.reduce(rng.integers(0, 2**64, (3, 8, n, 4), dtype=np.uint64))
    return rng.permutation(np.concatenate([base, *(forms_of(base) ^ noise), ~base]))


@given(st.integers(0, 2**32), st.integers(0, 100), st.data())
@settings(max_examples=20)
def test_pairs_are_found_in_every_form_and_no_others(seed: int, radius: int, data: st.DataObject) -> None:
    all_ = family(np.random.default_rng(seed), 12)
    start = data.draw(st.integers(0, len(all_)))
    strips = list(dihedral.between(all_[start:], all_, radius, start=start))
    found = {
        (i + start, j, away)
        for strip in strips
        for i, j, away in zip(*(column.tolist() for column in strip), strict=True)
    }
    least = np.bitwise_count(forms_of(all_)[:, :, None] ^ all_[None, None]).sum(axis=3).min(axis=0)
    expected = {(i, j, int(least[i, j])) for i in range(start, len(all_)) for j in range(i) if least[i, j] <= radius}
    assert found == expected


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19), st.integers(0, 9)), max_size=60))
def test_a_spanning_forest_connects_the_same_images_at_every_radius(rows: list[tuple[int, int, int]]) -> None:
    first, second, weight = np.array(rows, np.int64).reshape(-1, 3).T
    kept = spanning_forest(20, first, second, weight)
    assert len(kept) == 20 - len(np.unique(components(20, first, second)))
    for radius in range(10):
        near_, left = weight <= radius, kept[weight[kept] <= radius]
        whole = components(20, first[near_], second[near_])
        assert np.array_equal(whole, components(20, first[left], second[left]))


def test_the_nearest_other_hash_is_found_in_any_form() -> None:
    all_ = family(np.random.default_rng(0), 5)
    least = np.bitwise_count(forms_of(all_)[:, :, None] ^ all_[None, None]).sum(axis=3).min(axis=0).astype(int)
    np.fill_diagonal(least, 256)
    drawn = np.arange(12)
    assert dihedral.nearest(drawn, all_).tolist() == least[drawn].min(axis=1).tolist()
    assert dihedral.nearest(np.arange(1), all_[:1]).tolist() == [256]


def results(ws: Workspace) -> list[pools.Duplicate]:
    return sorted(pools.duplicates(ws.catalog).values())


@pytest.mark.parametrize("strictness", ["star", "clique", "component"])
def test_images_in_any_order_and_in_any_portions_give_what_one_run_from_scratch_gives(
    make_workspace: Callable[..., Workspace], strictness: str
) -> None:
    rng = np.random.default_rng(7)
    rows = []
    for k in range(20):
        phash, dct = hashes(rng), hashes(rng, 256)
        for copy in range(int(rng.integers(1, 5))):
            name = f"{int(rng.integers(2**40)):010x}{k:02x}{copy:02x}"
            quality = 0.01 if rng.random() < 0.1 else 1.0
            pixels = f"{k}" if rng.random() < 0.2 else ""
            side = int(rng.integers(50, 90))
            rows.append((name, near(rng, phash, 14), near(rng, dct, 90, 256), pixels, quality, (side, side)))
    config = f'{OFF}groups = "{strictness}"\n'
    scratch = make_workspace(config, "scratch")
    add_all(scratch, rows)
    dedup(scratch)
    assert len(results(scratch)) > 10
    for trial in range(3):
        ws = make_workspace(config, f"trial{trial}")
        order = rng.permutation(len(rows)).tolist()
        while order:
            portion = int(rng.integers(1, 30))
            add_all(ws, [rows[i] for i in order[:portion]])
            dedup(ws)
            del order[:portion]
        assert results(ws) == results(scratch)


def test_only_new_images_are_searched(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    for k in range(10):
        add(ws, f"{k:02x}", hashes(rng))
    dedup(ws)
    asked: list[int] = []
    between = dihedral.between

    def counting(queries: NDArray[np.uint64], *rest: object, **named: object) -> object:
        asked.append(len(queries))
        return between(queries, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("collector.dedup.neighbors.dihedral.between", counting)
    dedup(ws)
    add(ws, "ff", hashes(rng))
    dedup(ws)
    assert asked == [1]


def test_a_buried_image_still_holds_together_what_was_found_through_it(
    make_workspace: Callable[..., Workspace],
) -> None:
    ws = make_workspace(OFF)
    one, middle, other = add(ws, "aa", 0), add(ws, "bb", 0b1111), add(ws, "cc", 0b11111111)
    dedup(ws)
    images.bury(ws.catalog, middle, "placeholder")
    dedup(ws)
    assert {(row.image, row.keeper) for row in results(ws)} == {(other, one)}


@pytest.mark.parametrize("n", [5000, pytest.param(50_000, marks=pytest.mark.slow)])
def test_a_group_of_many_reposts_makes_no_rows_at_all(make_workspace: Callable[..., Workspace], n: int) -> None:
    ws = make_workspace(OFF)
    add_all(ws, [(f"{k:08x}", 7, 9, "", 1.0, (100, 100)) for k in range(n)])
    summary = dedup(ws)
    assert (summary.groups, summary.duplicates) == (1, n - 1)
    assert len(comparisons.compared(ws.catalog, PHASH)) == 0


def test_thousands_of_reposts_that_differ_in_a_few_bits_make_a_row_each(
    make_workspace: Callable[..., Workspace],
) -> None:
    ws = make_workspace(OFF)
    rng = np.random.default_rng(2)
    phash, dct = hashes(rng), hashes(rng, 256)
    rows = [(f"{k:08x}", near(rng, phash, 5), near(rng, dct, 20, 256), "", 1.0, (100, 100)) for k in range(1500)]
    add_all(ws, rows)
    summary = dedup(ws)
    assert (summary.groups, summary.duplicates) == (1, 1499)
    for algorithm in (PHASH, DCT):
        assert len(comparisons.compared(ws.catalog, algorithm)) < 1500


def test_thousands_of_pictures_of_one_color_make_neither_groups_nor_work(
    make_workspace: Callable[..., Workspace],
) -> None:
    ws = make_workspace(OFF)
    add_all(ws, [(f"{k:08x}", k % 3, k % 5, "" if k % 2 else "gray", 0.0, (100, 100)) for k in range(2000)])
    summary = dedup(ws)
    assert (summary.groups, summary.exact) == (1, 999)
    assert comparisons.compared(ws.catalog, DCT) == []


def test_hashes_of_an_older_version_are_not_mixed_with_new_ones(ws: Workspace) -> None:
    old = add(ws, "aa", 5)
    with ws.catalog.write() as connection:
        connection.exec_driver_sql(f"update fingerprint set algorithm = 'old' || algorithm where image = '{old}'")
    add(ws, "bb", 5)
    assert dedup(ws).duplicates == 0  # its bytes are gone, so it has no hash that could be compared


def test_unrelated_pictures_of_a_large_pool_are_given_a_smaller_threshold() -> None:
    rng = np.random.default_rng(3)
    phash, dct = rng.integers(0, 2**64, 600, dtype=np.uint64), rng.integers(0, 2**64, (600, 4), dtype=np.uint64)
    chances = thresholds.chances(phash, dct)
    wanted = thresholds.Wanted(64, 256, 0.5, 0.1)
    found = [thresholds.limits(chances, n, n * (n - 1) / 2, wanted) for n in (100, 1_000, 100_000, 1_000_000)]
    assert [each.phash for each in found] == sorted((each.phash for each in found), reverse=True)
    assert all(each.expected <= 0.5 for each in found)
    assert all(each.phash <= each.grey_phash and each.dct <= each.grey_dct for each in found)


def test_the_expected_false_pairs_of_random_hashes_are_those_of_the_binomial_distribution() -> None:
    rng = np.random.default_rng(4)
    phash, dct = rng.integers(0, 2**64, 1000, dtype=np.uint64), rng.integers(0, 2**64, (1000, 4), dtype=np.uint64)
    of_64, of_256 = thresholds.chances(phash, dct)
    assert of_64.within(14) == pytest.approx(3.9e-6, rel=0.5)  # P(Binomial(64, 1/2) <= 14)
    assert of_256.within(86) / 8 == pytest.approx(9.4e-8, rel=0.7)  # P(Binomial(256, 1/2) <= 86)


def test_true_copies_in_the_pool_do_not_move_the_threshold() -> None:
    rng = np.random.default_rng(5)
    phash, dct = rng.integers(0, 2**64, 700, dtype=np.uint64), rng.integers(0, 2**64, (700, 4), dtype=np.uint64)
    again = np.concatenate([phash, phash[:350]]), np.concatenate([dct, dct[:350]])
    clean, mixed = thresholds.chances(phash, dct), thresholds.chances(*again)
    for one, other in zip(clean, mixed, strict=True):
        assert other.distance(1e-7) == one.distance(1e-7)


def test_a_pool_too_small_to_show_its_own_tail_is_given_the_reference(ws: Workspace) -> None:
    add(ws, "aa", 1)
    add(ws, "bb", 2**63)
    summary = dedup(ws)
    assert (summary.basis, summary.threshold, summary.threshold_dct) == ("reference", 10, 40)
    assert 0 < summary.expected_false_pairs < 0.01


def test_a_threshold_that_is_given_is_used_as_it_is_and_its_cost_is_shown(ws: Workspace) -> None:
    rng = np.random.default_rng(6)
    add_all(ws, [(f"{k:04x}", hashes(rng), None, "", 1.0, (100, 100)) for k in range(300)])
    summary = dedup(ws, threshold=20)
    assert (summary.basis, summary.threshold, summary.threshold_dct) == ("given", 20, 80)
    assert summary.expected_false_pairs > 10
    assert dedup(ws).expected_false_pairs <= 0.5


def test_an_empty_pool_and_a_single_image_are_no_problem(ws: Workspace) -> None:
    assert dedup(ws).images == 0
    add(ws, "aa", 1)
    assert (dedup(ws).images, dedup(ws).duplicates) == (1, 0)


@pytest.mark.realdata
def test_the_estimate_from_some_photographs_foretells_how_near_others_come() -> None:
    from PIL import Image

    files = sorted((SHARED / "data" / "imagen").glob("*.jpg"))
    thumbs = [thumb(Image.open(path).convert("L")) for path in files[::2]]
    prints = fingerprints(thumbs)
    value = {name: [each.value for some in prints for each in some if each.algorithm == name] for name in (PHASH, DCT)}
    from collector.fingerprints import pack

    phash, dct = pack(value[PHASH]), pack(value[DCT])
    few = thresholds.chances(phash[:200], dct[:200])
    away = np.bitwise_count(phash[:, None] ^ phash[None])[np.triu_indices(len(phash), 1)]
    forms = np.bitwise_count(forms_of(dct)[:, :, None] ^ dct[None, None]).sum(axis=3).min(axis=0)
    turned = forms[np.triu_indices(len(dct), 1)]
    for chance, distances, at in ((few[0], away, 16), (few[1], turned, 96)):
        assert 0.2 < chance.within(at) * len(distances) / max(1, int((distances <= at).sum())) < 5


def test_what_a_dry_run_finds_is_what_a_run_writes(make_workspace: Callable[..., Workspace]) -> None:
    ws = make_workspace(OFF)
    add(ws, "aa", 0)
    add(ws, "bb", 3)
    gallery = Gallery.read(ws.catalog, 0.1)
    found = find(ws, gallery, ws.section(DedupConfig), choose_limits(gallery, ws.section(DedupConfig)))
    dedup(ws)
    assert found.duplicates == results(ws)


def test_pictures_in_any_order_give_what_one_run_from_scratch_gives_with_geometry(
    make_workspace: Callable[..., Workspace],
) -> None:
    files = []
    for seed in range(3):
        original = photo(30 + seed)
        files += [
            saved(original, quality=90),
            saved(original.resize((240, 180)), quality=70),
            saved(original.crop((60, 40, 420, 330)), quality=85),
            saved(original.rotate(15, expand=True), quality=85),
            saved(ImageOps.mirror(ImageOps.expand(original, 40, "black"))),
        ]
    scratch = make_workspace("", "scratch")
    for k, data in enumerate(files):
        keep(scratch, data, str(k))
    assert dedup(scratch).duplicates == 12
    rng = np.random.default_rng(3)
    for trial in range(2):
        ws = make_workspace("", f"trial{trial}")
        for k in rng.permutation(len(files)).tolist():
            keep(ws, files[k], str(k))
            if rng.random() < 0.4:
                dedup(ws)
        dedup(ws)
        assert aside(ws) == aside(scratch)
