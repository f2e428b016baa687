"""What chance decides in a training follows from the seed and the position alone."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.finetune import draws
from pipelines.finetune.loader import Share
from pipelines.finetune.tuner import blended, schedule

SEEDS = st.integers(0, 2**32 - 1)


@given(images=st.integers(1, 500), batch=st.integers(2, 64), epoch=st.integers(0, 5), seed=SEEDS)
def test_an_epoch_sees_every_picture_once_in_batches_of_nearly_one_size(
    images: int, batch: int, epoch: int, seed: int
) -> None:
    whole = draws.parts(draws.order(seed, epoch, images), draws.steps(images, batch))
    assert sorted(np.concatenate(whole)) == list(range(images))
    sizes = [len(each) for each in whole]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= max(1.5 * batch, 2)


@given(images=st.integers(8, 200), pieces=st.integers(1, 4), world=st.integers(1, 4), seed=SEEDS)
def test_processes_share_a_batch_and_leave_nothing_out(images: int, pieces: int, world: int, seed: int) -> None:
    batch = draws.order(seed, 0, images)
    shares = [piece for rank in range(world) for piece in Share(pieces, rank, world).of(batch)]
    assert sorted(np.concatenate(shares)) == list(range(images))
    alone = Share(pieces * world).of(batch)
    assert all(
        np.array_equal(Share(pieces, rank, world).of(batch)[k], alone[k * world + rank])
        for rank in range(world)
        for k in range(pieces)
    )


@given(
    seed=SEEDS,
    index=st.integers(0, 10**6),
    width=st.integers(1, 4000),
    height=st.integers(1, 4000),
    smallest=st.floats(0.01, 1),
)
def test_a_crop_lies_in_the_picture_and_repeats(
    seed: int, index: int, width: int, height: int, smallest: float
) -> None:
    drawn = draws.crop(seed, 2, index, (width, height), smallest)
    left, top, right, bottom = drawn.box
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert 3 / 4 * 0.999 <= (right - left) / (bottom - top) <= 4 / 3 * 1.001
    assert draws.crop(seed, 2, index, (width, height), smallest) == drawn


def test_epochs_differ_in_order_and_in_crops() -> None:
    assert not np.array_equal(draws.order(0, 0, 100), draws.order(0, 1, 100))
    assert draws.crop(0, 0, 5, (300, 200), 0.3) != draws.crop(0, 1, 5, (300, 200), 0.3)


@given(seed=SEEDS, step=st.integers(0, 1000), images=st.integers(2, 9), kind=st.sampled_from([(0.4, 0.0), (0.0, 1.0)]))
def test_mixing_moves_as_much_of_the_label_as_of_the_picture(
    seed: int, step: int, images: int, kind: tuple[float, float]
) -> None:
    targets = torch.eye(images)
    pixels = targets.view(images, images, 1, 1).expand(images, images, 20, 30).clone()
    mixed, moved = blended(pixels, targets, draws.mix(seed, step, 0, images, kind))
    assert torch.allclose(mixed.mean(dim=(2, 3)), moved, atol=1e-5)
    assert torch.allclose(moved.sum(dim=1), torch.ones(images))


def test_nothing_is_mixed_where_mixing_is_off() -> None:
    assert draws.mix(0, 0, 0, 8, (0.0, 0.0)) is None


def test_a_step_draws_the_same_whatever_was_drawn_before() -> None:
    seen = []
    for noise in (1, 5):
        torch.rand(noise), np.random.rand(noise), [random.random() for _ in range(noise)]
        draws.reseed(7, 12, 0)
        seen.append((torch.rand(1).item(), np.random.rand(), random.random()))
    assert seen[0] == seen[1]


@pytest.mark.parametrize(("start", "total", "warmup"), [(0, 100, 0.1), (20, 100, 0.0), (0, 1, 0.5), (5, 5, 0.1)])
def test_the_rate_is_zero_while_frozen_then_rises_and_falls_to_zero(start: int, total: int, warmup: float) -> None:
    shape = [schedule(start, total, warmup)(step) for step in range(total + 1)]
    assert shape[:start] == [0.0] * start
    assert all(0 <= share <= 1 for share in shape)
    if total - start > 1:
        top = int(np.argmax(shape))
        assert shape[start] > 0
        assert shape[top:] == sorted(shape[top:], reverse=True)
        assert shape[total] == pytest.approx(0)
