"""Copies never get in: of positives, of held-out pictures of any concept, of other negatives."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from collector import splits
from collector.catalog import comparisons, consensus, labels, pools
from collector.catalog.comparisons import Verdict
from collector.catalog.consensus import Settled
from collector.dedup import dedup
from collector.intake import take_in
from collector.negatives import negatives
from collector.negatives.guard import Guard, called_positive
from collector.records import Kept, License, Sighting
from collector.workspace import Workspace
from tests.collector.drawn import cropped, scene
from tests.collector.test_dedup import keep
from tests.conftest import jpeg, picture

TURNS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as it was": lambda image: image,
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "on its side": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "smaller": lambda image: image.resize((160, 120)),
}


def saved(image: Image.Image, quality: int = 70) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@pytest.fixture
def others(tmp_path: Path) -> Path:
    folder = tmp_path / "others"
    folder.mkdir()
    for seed in range(900, 904):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed))
    return folder


def store(ws: Workspace, concept: str, data: bytes) -> str:
    ws.concept(concept, create=True)
    name = f"{concept}{len(data)}"
    found = Sighting("test", name, f"https://x/{name}", License("by"), concept=concept, label=concept)
    outcome = take_in(ws, data, found)
    assert isinstance(outcome, Kept)
    return outcome.image


def answer(ws: Workspace, image: str, label: str) -> None:
    labels.add_annotators(ws.catalog, {"ann": "a@example.org"})
    row = {"concept": "horse", "image": image, "annotator": "ann", "state": "answered", "label": label, "note": "",
           "content": image}  # fmt: skip
    labels.add_annotations(ws.catalog, [row])


@pytest.mark.parametrize("turn", TURNS)
def test_a_copy_of_a_positive_is_no_negative_however_it_is_turned(ws: Workspace, others: Path, turn: str) -> None:
    keep(ws, jpeg(3), "horse")
    (others / "copy.jpg").write_bytes(saved(TURNS[turn](picture(3))))
    summary = negatives(ws, "horse", folder=others, ratio=9)
    assert summary.excluded == {"copy-of-a-positive": 1}
    assert summary.negatives == 4


def test_a_part_of_a_positive_is_no_negative(ws: Workspace, others: Path) -> None:
    keep(ws, saved(scene(3).convert("RGB"), 90), "horse")
    (others / "part.jpg").write_bytes(saved(cropped(scene(3), 0.94).convert("RGB"), 90))
    summary = negatives(ws, "horse", folder=others, ratio=9)
    assert summary.excluded == {"copy-of-a-positive": 1}


def test_what_a_person_says_of_a_pair_comes_first(ws: Workspace, others: Path) -> None:
    horse, zebra = keep(ws, jpeg(3), "horse"), store(ws, "zebra", jpeg(900))
    copy = store(ws, "zebra", jpeg(3, quality=60))
    splits.enroll(ws, ws.concept("horse"))
    guard = Guard(ws, ws.concept("horse"), set())
    assert [each and each.reason for each in guard.judge([copy, zebra])] == ["copy-of-a-positive", None]
    for image, same in ((copy, False), (zebra, True)):
        first, second = sorted((horse, image))
        comparisons.say(ws.catalog, Verdict(first, second, same, "ann", ""))
    guard = Guard(ws, ws.concept("horse"), set())
    assert [each and each.reason for each in guard.judge([copy, zebra])] == [None, "copy-of-a-positive"]


def test_the_limits_are_those_of_the_last_pass_of_dedup(ws: Workspace) -> None:
    keep(ws, jpeg(3), "horse")
    assert Guard(ws, ws.concept("horse"), set()).limits.basis == "reference"
    dedup(ws, threshold=4)
    limits = Guard(ws, ws.concept("horse"), set()).limits
    assert (limits.basis, limits.phash, limits.dct) == ("given", 4, 16)


def test_one_of_many_copies_is_drawn(ws: Workspace, others: Path) -> None:
    keep(ws, jpeg(3), "horse")
    for quality in range(50, 95, 5):
        (others / f"again{quality}.jpg").write_bytes(jpeg(77, quality=quality))
    (others / "mirrored.jpg").write_bytes(saved(TURNS["mirrored"](picture(77))))
    summary = negatives(ws, "horse", folder=others, ratio=20)
    assert summary.excluded == {"copy-of-a-negative": 9}
    assert summary.negatives == 5


def test_a_copy_that_comes_later_does_not_replace_an_earlier_pick(ws: Workspace, others: Path) -> None:
    keep(ws, jpeg(3), "horse")
    negatives(ws, "horse", folder=others, ratio=20)
    before = {row.image for row in pools.members(ws.catalog, "horse")}
    for n, seed in enumerate(range(900, 904)):
        (others / f"copy{n}.jpg").write_bytes(jpeg(seed, quality=60))
    assert negatives(ws, "horse", folder=others, ratio=20).new == 0
    assert {row.image for row in pools.members(ws.catalog, "horse")} == before


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_copy_of_a_held_out_picture_of_any_concept_is_no_negative(ws: Workspace, others: Path, part: str) -> None:
    dog = store(ws, "dog", jpeg(900, quality=60))
    pools.freeze_splits(ws.catalog, "dog", {dog: part}, "rule")
    keep(ws, jpeg(3), "horse")
    summary = negatives(ws, "horse", folder=others, ratio=20)
    assert summary.excluded == {"copy-of-an-evaluation-image": 1}
    assert summary.negatives == 3


def test_a_copy_of_a_training_picture_of_another_concept_may_be_one(ws: Workspace, others: Path) -> None:
    pools.freeze_splits(ws.catalog, "dog", {store(ws, "dog", jpeg(900)): "train"}, "rule")
    keep(ws, jpeg(3), "horse")
    assert negatives(ws, "horse", folder=others, ratio=20).negatives == 4


@pytest.mark.parametrize("how", ["one answer", "consensus"])
def test_what_people_call_the_concept_is_no_negative(ws: Workspace, others: Path, how: str) -> None:
    keep(ws, jpeg(3), "horse")
    image = store(ws, "dog", jpeg(900))
    if how == "consensus":
        consensus.settle(ws.catalog, "horse", [Settled(image, "horse", 1.0, "majority", {"horse": 2})])
    else:
        answer(ws, image, "horse")
    assert called_positive(ws, ws.concept("horse")) == {image}
    summary = negatives(ws, "horse", folder=others, ratio=20)
    assert summary.excluded == {"labeled-as-the-concept": 1}
    assert summary.negatives == 3


def test_a_consensus_outweighs_one_answer(ws: Workspace) -> None:
    image = keep(ws, jpeg(3), "horse")
    answer(ws, image, "horse")
    consensus.settle(ws.catalog, "horse", [Settled(image, "not-horse", 0.7, "majority", {"not-horse": 2, "horse": 1})])
    assert called_positive(ws, ws.concept("horse")) == set()


def test_a_negative_that_people_call_the_concept_is_told_and_a_rerun_draws_nothing_new(
    ws: Workspace, others: Path
) -> None:
    for seed in range(3):
        keep(ws, jpeg(seed), f"horse{seed}")
    assert negatives(ws, "horse", folder=others).negatives == 3
    wrong = next(row.image for row in pools.members(ws.catalog, "horse") if row.role == "negative")
    answer(ws, wrong, "horse")
    again = negatives(ws, "horse", folder=others)
    assert (again.wanted, again.new, again.mistaken) == (3, 0, 1)


def test_flat_pictures_are_not_taken_for_copies_of_each_other(ws: Workspace, others: Path) -> None:
    keep(ws, saved(Image.new("RGB", (200, 200), "white")), "horse")
    for n, color in enumerate(("red", "blue", "black")):
        (others / f"flat{n}.jpg").write_bytes(saved(Image.new("RGB", (200, 200), color)))
    summary = negatives(ws, "horse", folder=others, ratio=20)
    assert summary.negatives == 7
    assert summary.excluded == {}


def test_negatives_are_held_out_at_random_and_for_ever(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for seed in range(1000, 1060):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed, (96, 96)))
    for seed in range(30):
        keep(ws, jpeg(seed), f"horse{seed}")
    first = negatives(ws, "horse", folder=folder)
    frozen = pools.splits(ws.catalog, "horse")
    assert sum(first.splits.values()) == first.negatives == len(frozen) == 30
    about = ws.concept("horse")
    assert all(splits.home(ws, about, image) == part for image, part in frozen.items())
    negatives(ws, "horse", folder=folder, ratio=2)
    assert frozen.items() < pools.splits(ws.catalog, "horse").items()
    assert frozen.items() < splits.draw(ws, about).items()
