"""Splits: drawn at random over near-duplicate groups, then frozen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.catalog import models, pools
from collector.catalog.models import ModelRun, Prediction
from collector.catalog.pools import Duplicate
from collector.dedup import dedup
from collector.errors import CollectError
from collector.splits import draw, home, misplaced, place, require_untouched, rule_of
from collector.workspace import Workspace
from tests.collector.test_dedup import keep
from tests.conftest import jpeg


def test_every_image_of_the_pool_is_in_one_split_and_adding_images_moves_none(ws: Workspace) -> None:
    for seed in range(20):
        keep(ws, jpeg(seed), f"{seed}")
    concept = ws.concept("horse")
    first = draw(ws, concept)
    assert len(first) == 20
    assert set(first.values()) <= {"train", "calibration", "validation", "test"}
    for seed in range(20, 40):
        keep(ws, jpeg(seed), f"{seed}")
    second = draw(ws, concept)
    assert len(second) == 40
    assert first.items() <= second.items()


def test_copies_never_enter_the_pool(ws: Workspace) -> None:
    keep(ws, jpeg(1, (640, 480)), "large")
    small = keep(ws, jpeg(1), "small")
    dedup(ws)
    assert small not in draw(ws, ws.concept("horse"))


def test_the_shares_are_met_on_average() -> None:
    names = [place("sha256(0:horse:image), validation 0.2, test 0.1", f"{n}") for n in range(20_000)]
    assert abs(names.count("validation") / 20_000 - 0.2) < 0.01
    assert abs(names.count("test") / 20_000 - 0.1) < 0.01


def test_a_split_that_is_frozen_stays_when_the_shares_change(make_workspace: Callable[..., Workspace]) -> None:
    ws = make_workspace("")
    for seed in range(10):
        keep(ws, jpeg(seed), f"{seed}")
    first = draw(ws, ws.concept("horse"))
    again = make_workspace("[splits]\nvalidation = 0.5\ntest = 0.3\n")
    assert draw(again, again.concept("horse")) == first
    assert pools.splits(again.catalog, "horse") == first


def test_the_rule_beside_an_image_says_where_it_belongs(ws: Workspace) -> None:
    concept = ws.concept("odd ):image), 1.0", create=True)
    rule = rule_of(ws, concept)
    assert place(rule, "a") == home(ws, concept, "a")
    assert not misplaced(concept.name, [("a", place(rule, "a"), rule)])
    assert place("made", "a") == place("sha256(0:horse:image), validation much", "a") == ""


@given(st.text("abc", min_size=1), st.sampled_from(("train", "calibration", "validation", "test")))
def test_only_the_split_that_the_hash_draws_is_accepted(image: str, name: str) -> None:
    rule = "sha256(3:horse:image), validation 0.3, test 0.2, calibration 0.1"
    assert (misplaced("horse", [(image, name, rule)]) == []) is (place(rule, image) == name)
    assert misplaced("cow", [(image, place(rule, image), rule)]) == [image]
    assert misplaced("horse", [(image, name, "chosen")]) == [image]
    assert (misplaced("horse", [(image, name, "mined by run 1")]) == []) is (name == "train")


def test_an_image_that_was_moved_by_hand_is_named(ws: Workspace) -> None:
    for seed in range(10):
        keep(ws, jpeg(seed), f"{seed}")
    concept = ws.concept("horse")
    image = next(image for image, name in draw(ws, concept).items() if name == "train")
    require_untouched("horse", pools.placements(ws.catalog, "horse"))
    with ws.catalog.write() as connection:
        connection.exec_driver_sql(f"update split set name = 'test' where image = '{image}'")
    with pytest.raises(CollectError, match=f"1 images of `horse` .* {image[:12]}"):
        require_untouched("horse", pools.placements(ws.catalog, "horse"))


def test_what_is_drawn_is_the_pool_without_copies_and_without_what_a_model_has_judged(ws: Workspace) -> None:
    for seed in range(12):
        keep(ws, jpeg(seed), f"{seed}")
    concept = ws.concept("horse")
    first = draw(ws, concept)
    copy, keeper = list(first)[:2]
    pools.write_pass(ws.catalog, {}, 12, "made", [Duplicate(copy, keeper, 0, "pixels", "made")])
    home = draw(ws, concept)
    assert list(home) == [row.image for row in pools.members(ws.catalog, "horse")]
    assert home == {image: name for image, name in first.items() if image != copy}
    train = [image for image, name in home.items() if name == "train"]
    models.put_model_run(ws.catalog, ModelRun("m", None, "test", "0", "0"))
    judged = [Prediction(image, "horse", 0.9, {"horse": 0.9, "not-horse": 0.1}) for image in [*first][::2]]
    models.add_predictions(ws.catalog, "m", "horse", judged)
    told = {each.image for each in judged}
    left = [image for image, _ in pools.drawn(ws.catalog, "horse", "train", unsaid="m")]
    assert left == [image for image in train if image not in told]
    said = [image for image, _, _ in models.said(ws.catalog, "m", "horse", "train")]
    assert said == [image for image in train if image in told]
