"""What tells the classes apart without the pixels is found, refused, and gone after a matched draw."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from collector import splits
from collector.dedup import dedup
from collector.errors import GateNotMet
from collector.importing import import_folder
from collector.matching import matched, stratum
from collector.metadata import Header, Metadata
from collector.negatives import negatives
from collector.workspace import Workspace
from pipelines.shortcuts import LEAST, Shortcut, columns, compared, measure, shortcuts
from pipelines.snapshot import snapshot
from tests.conftest import SHARED, jpeg
from tests.pipelines.labeled import answer, settle
from tests.pipelines.pooled import pool, take

Make = Callable[..., Workspace]
FLICKR = ((1024, 800), (85, 92), 0.7)  # long sides, qualities, share with EXIF
IMAGEN = ((500, 400), (96, 90), 0.05)


def crowd(seed: int, count: int, of: float, source: str = "flickr") -> dict[str, Metadata]:
    """Files of two kinds, the share `of` of the one: large with EXIF, or small and hardly compressed."""
    rng = np.random.default_rng(seed)
    found = {}
    for n in range(count):
        sides, qualities, exif = FLICKR if rng.random() < of else IMAGEN
        side, quality = int(rng.choice(sides)), int(rng.choice(qualities))
        size = (side, side * 3 // 4)
        header = Header(
            *size, bytes=int(side * side * (quality - 70) / 60 * rng.uniform(0.8, 1.2)), format="JPEG", gray=False,
            exif=bool(rng.random() < exif), icc=False, quality=quality, tables=f"q{quality}", chroma="4:2:0",
        )  # fmt: skip
        found[f"{source}-{seed}-{n}"] = Metadata(header, source, f"{source}.example", "2026-01-01")
    return found


def value(found: Shortcut) -> float:
    assert found.files
    return found.files.value


def test_a_planted_shortcut_is_found_with_what_gives_it_away() -> None:
    found = compared(crowd(1, 150, 0.95), crowd(2, 150, 0.05), seed=0)
    assert found.files
    assert found.files.value > 0.9
    assert found.files.low <= found.files.value <= found.files.high
    assert {name for name, _ in found.alone[:5]} >= {"long side", "JPEG quality"}
    assert "source" not in dict(found.alone)  # the same everywhere, it tells nothing


def test_where_there_is_none_the_interval_holds_one_half() -> None:
    found = compared(crowd(1, 200, 0.5), crowd(2, 200, 0.5), seed=0)
    assert found.files
    assert found.files.low < 0.5 < found.files.high
    assert value(found) < 0.6


def test_a_source_of_its_own_is_told_apart_from_what_lies_in_the_files() -> None:
    found = compared(crowd(1, 150, 0.5), crowd(2, 150, 0.5, source="imagen"), seed=0)
    assert found.everything
    assert value(found) < 0.6 < 0.99 < found.everything.value
    assert found.alone[0][0] in ("source", "host")


def test_after_a_matched_draw_the_planted_shortcut_is_gone() -> None:
    positives, candidates = crowd(1, 200, 0.8), crowd(2, 1500, 0.2)
    assert value(compared(positives, dict(list(candidates.items())[:200]), seed=0)) > 0.75
    shapes = [stratum(each.header, each.source) for each in positives.values()]
    drawn = matched({name: stratum(each.header, each.source) for name, each in candidates.items()}, shapes, 200, "seed")
    assert len(drawn) >= 190
    assert abs(value(compared(positives, {name: candidates[name] for name in drawn}, seed=0)) - 0.5) < 0.08


def test_the_same_images_give_the_same_figures() -> None:
    one, two = (compared(crowd(1, 60, 0.7), crowd(2, 60, 0.4), seed=3) for _ in range(2))
    assert (one.files, one.everything, one.alone) == (two.files, two.everything, two.alone)


def test_unknown_numbers_and_rare_words_are_values_like_others() -> None:
    rows = list(crowd(1, 40, 0.5).values())
    odd = Metadata(Header(10, 20, 30, "PNG", True, False, False, "not a date"), "rare", "", "")
    table = columns([*rows, odd])
    assert table["JPEG quality"][-1] == table["day taken"][-1] == table["day seen"][-1] == -1
    assert table["source"][-1] == 1
    assert all(np.isfinite(column).all() for column in table.values())


def mixed(ws: Workspace, each: int, *, differ: bool) -> tuple[list[str], list[str]]:
    """Positives and negatives, as files that differ in size and compression or do not."""
    other = ((120, 90), 60) if differ else ((160, 120), 90)
    positives = take(ws, [jpeg(n, (160, 120), 90) for n in range(each)], "horse")
    return positives, take(ws, [jpeg(n, *other) for n in range(1000, 1000 + each)], "not-horse")


def label(ws: Workspace, positives: list[str], negatives: list[str]) -> None:
    """Two people say what the pictures were collected as."""
    truth = dict.fromkeys(positives, "horse") | dict.fromkeys(negatives, "not-horse")
    answer(ws, truth, ("ann", "bob"))
    settle(ws, *((image, said, {said: 2}) for image, said in truth.items()))


def test_a_snapshot_of_a_shortcut_is_refused_unless_it_is_accepted(ws: Workspace) -> None:
    sides = mixed(ws, 40, differ=True)
    pool(ws, *sides)
    label(ws, *sides)
    with pytest.raises(GateNotMet, match=r"without the pixels, AUC (1\.00|0\.9)") as caught:
        snapshot(ws, "horse")
    assert caught.value.exit_code == 4
    assert "--accept-shortcut" in caught.value.hint
    assert ws.catalog.frame("snapshots").empty
    frozen = snapshot(ws, "horse", accept_shortcut=True)
    assert frozen.shortcut_auc is not None
    assert frozen.shortcut_auc > 0.95
    assert any("without the pixels" in warning for warning in frozen.warnings)


def test_the_gate_and_the_warning_are_settings(make_workspace: Make) -> None:
    ws = make_workspace("[shortcuts]\nwarn = 1.0\ngate = 1.0")
    sides = mixed(ws, 30, differ=True)
    pool(ws, *sides)
    label(ws, *sides)
    assert not [warning for warning in snapshot(ws, "horse").warnings if "AUC" in warning]


def test_without_scikit_learn_the_snapshot_says_that_nothing_was_measured(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.shortcuts.find_spec", lambda name: None)
    sides = mixed(ws, 30, differ=True)
    pool(ws, *sides)
    label(ws, *sides)
    frozen = snapshot(ws, "horse")
    assert frozen.shortcut_auc is None
    assert any("was not measured" in said and "train" in said for said in frozen.warnings)


def test_a_pool_without_a_shortcut_is_frozen_without_a_word(ws: Workspace) -> None:
    sides = mixed(ws, 40, differ=False)
    pool(ws, *sides)
    label(ws, *sides)
    frozen = snapshot(ws, "horse")
    assert frozen.shortcut_auc is not None
    assert frozen.shortcut_auc < 0.75
    assert frozen.shortcut_auc_low is not None
    assert frozen.shortcut_auc_low < 0.5


def test_few_images_are_told_to_be_few_and_close_no_gate(ws: Workspace) -> None:
    sides = mixed(ws, LEAST - 1, differ=True)
    pool(ws, *sides)
    label(ws, *sides)
    summary = shortcuts(ws, "horse")
    assert (summary.auc, summary.auc_with_origin, summary.features) == (None, None, {})
    assert "too few" in summary.warnings[0]
    assert snapshot(ws, "horse").shortcut_auc is None


def test_the_command_measures_the_pool_and_leaves_out_what_is_lost(ws: Workspace) -> None:
    positives, others = mixed(ws, 30, differ=True)
    pool(ws, positives, others)
    ws.store.fs.rm_file(ws.store.path(positives[0]))
    summary = shortcuts(ws, "horse")
    assert (summary.positives, summary.negatives) == (29, 30)
    assert summary.auc is not None
    assert summary.auc > 0.95
    assert list(summary.features.values()) == sorted(summary.features.values(), reverse=True)
    assert "may learn how the pictures were made" in summary.warnings[0]


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "data" / "imagen").is_dir(), reason="the real pictures in ../shared are absent")
def test_the_horses_of_weizmann_against_imagen_are_the_shortcut_that_they_are(ws: Workspace) -> None:
    data = SHARED / "data"
    import_folder(ws, "horse", data / "horses", license="unlicensed")
    dedup(ws)
    negatives(ws, "horse", imagen=data / "imagen")
    summary = shortcuts(ws, "horse")
    assert summary.auc_low is not None
    assert summary.auc_low > 0.98
    assert {"quantization tables", "JPEG quality", "long side"} & set(summary.features)
    assert "AUC 1.00" in summary.warnings[0]
    rows = ws.catalog.frame("pool")
    sides = [rows[rows["role"] == role]["image"].tolist() for role in ("positive", "negative")]
    splits.draw(ws, ws.concept("horse"))
    label(ws, *sides)
    with pytest.raises(GateNotMet, match="without the pixels"):
        snapshot(ws, "horse")


def test_measuring_needs_no_pixels(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL.ImageFile import ImageFile

    positives, others = mixed(ws, 25, differ=True)
    monkeypatch.setattr(ImageFile, "load", None)  # decoding would fail, and nothing would be found
    assert measure(ws, "horse", positives, others).files is not None
