"""Splits: drawn at random over near-duplicate groups, then frozen."""

from __future__ import annotations

from collections.abc import Callable

from collector.catalog import pools
from collector.dedup import dedup
from collector.splits import draw
from collector.workspace import Workspace
from tests.collector.test_dedup import keep
from tests.conftest import jpeg


def test_every_image_of_the_pool_is_in_one_split_and_adding_images_moves_none(ws: Workspace) -> None:
    for seed in range(20):
        keep(ws, jpeg(seed), f"{seed}")
    concept = ws.concept("horse")
    first = draw(ws, concept)
    assert len(first) == 20
    assert set(first.values()) <= {"train", "validation", "test"}
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


def test_the_shares_are_met_on_average(make_workspace: Callable[..., Workspace]) -> None:
    from collector.splits import SplitsConfig, _name, position

    shares = SplitsConfig(validation=0.2, test=0.1)
    names = [_name(position(f"0:horse:{n}"), shares) for n in range(20_000)]
    assert abs(names.count("validation") / 20_000 - 0.2) < 0.01
    assert abs(names.count("test") / 20_000 - 0.1) < 0.01


def test_a_split_that_is_frozen_stays_when_the_shares_change(make_workspace: Callable[..., Workspace]) -> None:
    ws = make_workspace("")
    for seed in range(10):
        keep(ws, jpeg(seed), f"{seed}")
    first = draw(ws, ws.concept("horse"))
    again = make_workspace("[splits]\nvalidation = 0.5\ntest = 0.5\n")
    assert draw(again, again.concept("horse")) == first
    assert pools.splits(again.catalog, "horse") == first
