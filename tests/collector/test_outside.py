"""Copies of outside sets, and leaks between splits."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import ImageOps

from collector.catalog import pools
from collector.dedup import dedup
from collector.dedup.against import against, take_back
from collector.dedup.explain import explain, say
from collector.dedup.leaks import leaks
from collector.errors import UsageError
from collector.fingerprints import PHASH, fingerprints, thumb
from collector.quality import QualityConfig, excluded
from collector.workspace import Workspace
from tests.collector.test_copies import aside, photo, saved
from tests.collector.test_dedup import keep
from tests.conftest import jpeg, picture


@pytest.fixture
def pool(ws: Workspace) -> dict[int, str]:
    return {seed: keep(ws, jpeg(seed, (640, 480)), str(seed)) for seed in range(4)}


def test_copies_of_a_folder_are_found_and_nothing_is_set_aside(
    ws: Workspace, pool: dict[int, str], tmp_path: Path
) -> None:
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (folder / "same.jpg").write_bytes(jpeg(0, (640, 480)))
    (folder / "smaller.jpg").write_bytes(jpeg(1, (200, 150), quality=60))
    (folder / "mirrored.png").write_bytes(saved(ImageOps.mirror(picture(2, (640, 480))), "PNG"))
    (folder / "stranger.jpg").write_bytes(jpeg(77))
    (folder / "notes.txt").write_text("no picture")
    found = against(ws, str(folder))
    assert (found.images, found.outside, found.unreadable, found.copies) == (4, 4, 1, 3)
    assert found.methods == {"dct": 1, "file": 1, "phash": 1}
    with open(found.path, encoding="utf-8-sig", newline="") as file:
        rows = {row["image"]: row["outside"] for row in csv.DictReader(file)}
    assert rows == {pool[0]: "same.jpg", pool[1]: "smaller.jpg", pool[2]: "mirrored.png"}
    assert aside(ws) == {}


def test_a_folder_that_changes_while_it_is_read_costs_only_what_is_gone(
    ws: Workspace, pool: dict[int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "moving"
    folder.mkdir()
    for seed in range(3):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed, (320, 240)))
    listed = sorted(folder.iterdir())
    monkeypatch.setattr("collector.folders.files", lambda _: listed)
    listed[1].unlink()
    listed[2].write_bytes(listed[2].read_bytes()[:2000])
    found = against(ws, str(folder))
    assert (found.outside, found.unreadable, found.copies) == (1, 2, 1)


def test_a_blocklist_of_hashes_names_what_is_on_it(ws: Workspace, pool: dict[int, str], tmp_path: Path) -> None:
    prints = fingerprints([thumb(picture(1, (640, 480)).convert("L"))])[0]
    phash = next(each.value for each in prints if each.algorithm == PHASH)
    listed = tmp_path / "blocked.txt"
    listed.write_text(f"# not these\n{pool[0].upper()}, first\n\nphash:{phash} second\ndct:{'0' * 64}\n")
    found = against(ws, str(listed))
    assert (found.outside, found.copies, found.methods) == (3, 2, {"file": 1, "phash": 1})


@pytest.mark.parametrize("text", ["", "# nothing\n", "horse\n", "abc\n", "phash:12\n", "\udcff"])
def test_a_file_that_holds_no_hashes_is_one_clear_sentence(ws: Workspace, tmp_path: Path, text: str) -> None:
    listed = tmp_path / "hashes.txt"
    listed.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=r"hash|text"):
        against(ws, str(listed))


def test_an_outside_set_that_is_missing_or_empty_is_one_clear_sentence(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    for name, said in (("nowhere", "no folder"), ("empty", "no files"), ("texts", "no picture")):
        with pytest.raises(UsageError, match=said):
            against(ws, str(tmp_path / name))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match="no snapshot"):
        against(ws, str(tmp_path / "broken.parquet"))


def test_the_members_of_a_snapshot_are_not_copies_of_themselves(
    ws: Workspace, pool: dict[int, str], tmp_path: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    copy = keep(ws, jpeg(3, (200, 150)), "copy")
    pq.write_table(pa.table({"image": [pool[3], "f" * 64]}), tmp_path / "other-team.parquet")
    found = against(ws, str(tmp_path / "other-team.parquet"))
    assert (found.images, found.outside, found.copies) == (4, 2, 1)
    assert copy in Path(found.path).read_text(encoding="utf-8")


# Leaks


def test_near_duplicates_across_splits_are_listed_by_pair_of_splits(ws: Workspace) -> None:
    names = [keep(ws, jpeg(seed, (640, 480)), str(seed)) for seed in range(3)]
    copies = [keep(ws, jpeg(seed, (320, 240)), f"copy{seed}") for seed in range(3)]
    rows = [pools.PoolRow(name, "horse", "positive", "positive", "test", {}) for name in (*names, *copies)]
    pools.add(ws.catalog, "horse", rows)
    home = dict.fromkeys(names, "train") | dict(zip(copies, ("validation", "test", "train"), strict=True))
    pools.freeze_splits(ws.catalog, "horse", home, "made")
    found = leaks(ws, "horse")
    assert found.leaks == {"test and train": 1, "test and validation": 0, "train and validation": 1}
    assert len(Path(found.path).read_text(encoding="utf-8-sig").splitlines()) == 3
    say(ws, names[0], copies[0], False)
    assert leaks(ws, "horse").leaks["train and validation"] == 0
    dedup(ws)
    assert sum(leaks(ws, "horse").leaks.values()) == 0


def test_without_splits_there_is_nothing_to_leak_and_that_is_said(ws: Workspace) -> None:
    keep(ws, jpeg(1), "one")
    assert "no split" in leaks(ws, "horse").warnings[0]


# What only geometry finds, and what is set aside


def test_a_crop_in_an_outside_folder_is_found_set_aside_and_taken_back(ws: Workspace, tmp_path: Path) -> None:
    original = photo(40, (640, 480))
    ours, other = keep(ws, saved(original), "ours"), keep(ws, saved(photo(41)), "other")
    copy = keep(ws, saved(original.resize((320, 240))), "smaller")
    dedup(ws)
    rows = [pools.PoolRow(name, "horse", "positive", "positive", "test", {}) for name in (ours, other)]
    pools.add(ws.catalog, "horse", rows)
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (folder / "crop.jpg").write_bytes(saved(ImageOps.mirror(original.crop((120, 80, 560, 420)))))
    found = against(ws, str(folder), exclude=True)
    assert (found.copies, found.excluded, found.methods) == (2, 2, {"geometry": 2})
    assert [row.image for row in pools.members(ws.catalog, "horse")] == [other]
    assert pools.keepers(ws.catalog, "horse").keys() == {other}
    assert excluded(ws.catalog, QualityConfig()) == dict.fromkeys((ours, copy), "copy of evaluation")
    assert explain(ws, ours).outside == "evaluation"
    dedup(ws)
    assert [row.image for row in pools.members(ws.catalog, "horse")] == [other]
    assert take_back(ws, str(folder)).images == 2
    assert len(pools.members(ws.catalog, "horse")) == 2


def test_a_rotated_copy_in_another_split_leaks_and_an_outside_set_is_compared_with_each_split(
    ws: Workspace, tmp_path: Path
) -> None:
    originals = [photo(50 + seed, (640, 480)) for seed in range(2)]
    train = [keep(ws, saved(each), f"train{k}") for k, each in enumerate(originals)]
    turned = keep(ws, saved(originals[0].rotate(25, expand=True)), "turned")
    names = (*train, turned)
    pools.add(ws.catalog, "horse", [pools.PoolRow(name, "horse", "positive", "positive", "t", {}) for name in names])
    home = dict.fromkeys(train, "train") | {turned: "test"}
    pools.freeze_splits(ws.catalog, "horse", home, "made")
    found = leaks(ws, "horse")
    assert found.leaks == {"test and train": 1}
    assert "geometry" in found.pairs[0]
    folder = tmp_path / "others"
    folder.mkdir()
    (folder / "framed.png").write_bytes(saved(ImageOps.expand(originals[1], 50, "black"), "PNG"))
    found = leaks(ws, "horse", outside=str(folder))
    assert found.leaks == {"test and others": 0, "train and others": 1}
    assert "framed.png (others)" in found.pairs[0]
    with pytest.raises(UsageError, match="no folder"):
        leaks(ws, "horse", outside=str(tmp_path / "nowhere"))
