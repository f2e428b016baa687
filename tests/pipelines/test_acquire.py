from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines import acquire, committee
from pipelines.acquire import bald, coverage, directions, entropy, hybrid, k_center, margin, nearest, typical
from pipelines.head import Examples


def drawn(seed: int, images: int, dimension: int = 6) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(images, dimension)).astype(np.float32)


def plain_k_center(vectors: NDArray[np.float32], centers: NDArray[np.float32], count: int) -> list[int]:
    """As it is written in the paper: every distance again after every pick."""
    chosen: list[int] = []
    for _ in range(count):
        all_centers = np.concatenate([centers, vectors[chosen]])
        apart = np.sqrt(((vectors[:, None] - all_centers[None]) ** 2).sum(axis=2)).min(axis=1)
        apart[chosen] = -1
        chosen.append(int(apart.argmax()))
    return chosen


def test_uncertainty_is_least_for_a_sure_model_and_greatest_for_one_that_knows_nothing() -> None:
    said = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(entropy(said), [0, np.log(2), np.log(3)], atol=1e-12)
    np.testing.assert_allclose(margin(said), [0, 1, 1], atol=1e-12)


def test_members_that_doubt_alike_do_not_disagree() -> None:
    doubt = np.full((2, 1, 2), 0.5)
    part = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert bald(doubt)[0] == pytest.approx(0)
    assert bald(part)[0] == pytest.approx(np.log(2))


@given(st.integers(0, 1000), st.integers(2, 5), st.integers(1, 6))
def test_disagreement_is_never_negative_nor_above_the_entropy_of_the_mean(seed: int, labels: int, members: int) -> None:
    said = np.random.default_rng(seed).dirichlet(np.ones(labels), size=(members, 4))
    assert (bald(said) >= -1e-12).all()
    assert (bald(said) <= entropy(said.mean(axis=0)) + 1e-12).all()


@given(st.integers(0, 1000), st.integers(1, 40), st.integers(1, 5))
@settings(max_examples=40)
def test_the_lazy_greedy_takes_the_rows_of_the_plain_one(seed: int, images: int, centers: int) -> None:
    vectors, fixed = drawn(seed, images), drawn(seed + 1, centers)
    chosen, scores = k_center(vectors, fixed, images)
    assert chosen == plain_k_center(vectors, fixed, images)
    assert (np.diff(scores) <= 1e-6).all()


def plain_coverage(
    vectors: NDArray[np.float32], centers: NDArray[np.float32], count: int, weight: NDArray[np.float64]
) -> list[float]:
    """What each row takes away, as it is written in the paper: every gain again after every pick."""
    apart = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    near = ((vectors[:, None] - centers[None]) ** 2).sum(axis=2).min(axis=1)
    taken: list[float] = []
    for _ in range(count):
        gain = np.maximum(near - apart, 0) @ weight
        taken.append(float(gain.max()))
        near = np.minimum(near, apart[gain.argmax()])
    return taken


@given(st.integers(0, 1000), st.integers(1, 60), st.integers(1, 5))
@settings(max_examples=40)
def test_lazy_coverage_takes_away_what_the_plain_one_does(seed: int, images: int, centers: int) -> None:
    vectors, fixed = drawn(seed, images), drawn(seed + 1, centers)
    weight = np.random.default_rng(seed).random(images)
    chosen, taken = coverage(vectors, fixed, images, weight)
    assert sorted(chosen) == list(range(images))
    np.testing.assert_allclose(taken, plain_coverage(vectors, fixed, images, weight), rtol=1e-3, atol=1e-3)


def test_coverage_takes_one_of_a_doubtful_crowd_and_leaves_outliers_for_later() -> None:
    rng = np.random.default_rng(0)
    crowds = np.repeat([[5.0, 0], [0, 5.0]], 20, axis=0) + rng.normal(0, 0.1, (40, 2))
    vectors = np.concatenate([crowds, [[-9.0, -9.0]]])
    chosen, _ = coverage(vectors, np.zeros((1, 2)), 3, np.ones(41))
    assert {at // 20 for at in chosen[:2]} == {0, 1}
    assert chosen[2] == 40
    doubt = np.where(np.arange(41) < 20, 0.01, 1.0)
    assert coverage(vectors, np.zeros((1, 2)), 1, doubt)[0][0] >= 20


@pytest.mark.parametrize("labels", [2, 5])
def test_hybrid_takes_doubtful_rows_of_every_kind_part_after_part(labels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, fixed = directions(drawn(0, 200)), directions(drawn(1, 3))
    doubt = np.where(np.arange(200) < 100, 0.9, 0.001)
    chosen, settled = hybrid(vectors, fixed, doubt, labels, 4, np.random.default_rng(0))
    assert max(chosen) < 100
    assert (np.diff(settled) <= 0).all()
    monkeypatch.setattr(acquire, "ROWS", 40)
    everything, settled = hybrid(vectors, fixed, doubt, labels, 999, np.random.default_rng(0))
    assert sorted(everything) == list(range(200))
    assert (np.diff(settled) <= 0).all()


def test_of_two_labels_hybrid_looks_at_the_most_doubtful_rows_of_more_at_half_of_the_doubt() -> None:
    # 60 doubtful rows that are alike, and a crowd of 400, less doubtful, elsewhere: broad lists reach it, narrow do not
    vectors = np.concatenate([np.tile([1.0, 0, 0], (60, 1)), np.tile([0, 1.0, 0], (400, 1))])
    doubt = np.repeat([0.9, 0.5], [60, 400])
    center = np.array([[0, 0, 1.0]])
    assert hybrid(vectors, center, doubt, 2, 1, np.random.default_rng(0))[0][0] < 60
    assert hybrid(vectors, center, doubt, 3, 1, np.random.default_rng(0))[0][0] >= 60


def test_a_model_without_any_doubt_has_its_pictures_chosen_all_the_same() -> None:
    chosen, settled = hybrid(drawn(0, 30), drawn(1, 2), np.zeros(30), 3, 10, np.random.default_rng(0))
    assert len(set(chosen)) == 10
    assert (settled == 0).all()
    assert hybrid(drawn(0, 30)[:0], drawn(1, 2), np.zeros(0), 3, 10, np.random.default_rng(0))[0] == []


def test_chunks_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, fixed = directions(drawn(0, 300)), directions(drawn(1, 3))
    whole = k_center(vectors, fixed, 50)
    monkeypatch.setattr(acquire, "CHUNK", 7)
    monkeypatch.setattr(acquire, "BLOCK", 5)
    again = k_center(vectors, fixed, 50)
    assert again[0] == whole[0]
    np.testing.assert_allclose(again[1], whole[1], rtol=1e-5)


def test_without_centers_the_most_central_row_begins() -> None:
    vectors = np.array([[0.0, 9.0], [0.1, 0.1], [9.0, 0.0], [-9.0, -9.0]])
    assert k_center(vectors, vectors[:0], 4)[0][0] == 1
    assert sorted(k_center(vectors, vectors[:0], 9)[0]) == [0, 1, 2, 3]
    assert k_center(vectors, vectors[:0], 0)[0] == []


def test_an_image_that_is_labeled_already_is_the_last_to_be_chosen() -> None:
    vectors = drawn(3, 30)
    assert k_center(vectors, vectors[7:8], 30)[0][-1] == 7
    assert nearest(vectors, vectors[7:8])[7] == pytest.approx(0, abs=1e-5)


def test_typical_rows_come_from_every_cluster_the_uncovered_ones_first() -> None:
    rng = np.random.default_rng(0)
    spots = np.array([[10.0, 0], [0, 10.0], [-10.0, 0], [0, -10.0]])
    home = np.repeat(np.arange(4), [40, 30, 20, 10])
    vectors = spots[home] + rng.normal(size=(100, 2))
    chosen, scores = typical(vectors, spots[:1], 3, np.random.default_rng(1))
    assert set(home[chosen]) <= {1, 2, 3}
    assert (scores > 0).all()
    assert len(set(typical(vectors, spots[:0], 100, np.random.default_rng(1))[0])) == 100


@pytest.mark.parametrize("images", [1, 2, 3])
def test_few_images_are_all_chosen(images: int) -> None:
    vectors = drawn(0, images)
    assert sorted(typical(vectors, vectors[:0], 9, np.random.default_rng(0))[0]) == list(range(images))


def test_pictures_that_are_all_alike_are_chosen_all_the_same() -> None:
    vectors = np.ones((5, 3))
    assert sorted(k_center(vectors, vectors[:1], 5)[0]) == [0, 1, 2, 3, 4]
    assert sorted(typical(vectors, vectors[:0], 5, np.random.default_rng(0))[0]) == [0, 1, 2, 3, 4]


def test_a_committee_agrees_near_its_examples_and_parts_away_from_them() -> None:
    rng = np.random.default_rng(0)
    matrix = np.concatenate([rng.normal(-2, 1, (20, 4)), rng.normal(2, 1, (20, 4))]).astype(np.float32)
    given_ = Examples(matrix, np.repeat([0, 1], 20), [str(n) for n in range(40)], ("a", "b"))
    heads = committee.committee(given_, 0.1, 6, seed=0)
    assert len({float(head.bias[1]) for head in heads}) == 6
    between, clear = np.zeros((1, 4), dtype=np.float32), np.full((1, 4), 4, dtype=np.float32)
    said = committee.votes(heads, np.concatenate([between, clear]))
    assert said.shape == (6, 2, 2)
    disagreement = bald(said)
    assert disagreement[0] > disagreement[1]
    again = committee.committee(given_, 0.1, 6, seed=0)
    np.testing.assert_array_equal(committee.votes(again, matrix), committee.votes(heads, matrix))
