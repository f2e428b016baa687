from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipelines import head
from pipelines.calibrate import Floats, Ints, nll
from pipelines.config import TrainConfig
from pipelines.head import Examples, Rows, fold_of, learn, minimize, refit
from pipelines.lbfgs import Memory
from pipelines.predict import Head


def made(n: int, dimension: int, labels: int, seed: int = 0, apart: float = 1.0) -> tuple[NDArray[np.float32], Ints]:
    """Overlapping clusters with correlated features of very different sizes, one of them constant."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % labels
    matrix = apart * rng.normal(size=(labels, dimension))[truth] + rng.normal(size=(n, dimension))
    mixed = matrix @ rng.normal(size=(dimension, dimension)) * 10 ** rng.uniform(-2, 2, dimension) + 3
    mixed[:, 0] = 7
    return mixed.astype(np.float32), truth.astype(np.int64)


def examples(matrix: NDArray[np.float32], target: Ints | Floats, labels: int) -> Examples:
    return Examples(matrix, target, [str(n) for n in range(len(matrix))], [f"label {k}" for k in range(labels)])


def converged(given_: Examples, c: float, *, balanced: bool) -> Head:
    """The optimum itself."""
    order = np.arange(len(given_.matrix))
    with threadpool_limits(1), ThreadPoolExecutor(2) as pool:
        rows = Rows.of(given_, order, balanced=balanced, pool=pool)
        return rows.head(minimize(rows, [(0, len(order))], c, rows.start(), 1e-10), given_.labels)


def scikit(matrix: NDArray[np.float32], truth: Ints, c: float, weights: dict[int, float] | str | None = None) -> Floats:
    """What scikit-learn's optimum says of the images that it learned from."""
    from sklearn.linear_model import LogisticRegression

    spread = matrix.std(axis=0, dtype=np.float64)
    scaled = (matrix - matrix.mean(axis=0, dtype=np.float64)) / np.where(spread > 1e-6, spread, 1)
    with threadpool_limits(1):
        model = LogisticRegression(C=c, class_weight=weights, tol=1e-9, max_iter=20_000).fit(scaled, truth)
    return np.asarray(model.predict_proba(scaled))


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize(("n", "dimension", "labels"), [(300, 12, 2), (300, 12, 5), (40, 60, 3), (7, 30, 2)])
def test_the_optimum_is_that_of_scikit_learn(n: int, dimension: int, labels: int, *, balanced: bool) -> None:
    matrix, truth = made(n, dimension, labels)
    truth[: n // 3] = 0
    for c in (0.001, 1.0):
        ours = converged(examples(matrix, truth, labels), c, balanced=balanced).probabilities(matrix)
        theirs = scikit(matrix, truth, c, "balanced" if balanced else None)
        np.testing.assert_allclose(ours, theirs, atol=2e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(8, 60), st.integers(1, 40), st.integers(2, 6), st.floats(1e-4, 3), st.integers(0, 99))
def test_no_other_head_has_a_lower_loss(n: int, dimension: int, labels: int, c: float, seed: int) -> None:
    matrix, truth = made(n, dimension, labels, seed)
    found = refit(examples(matrix, truth, labels), c, balanced=False)
    probabilities = found.probabilities(matrix)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(n))

    def loss(weights: Floats, bias: Floats) -> float:
        other = Head(found.labels, weights, bias, found.mean, found.scale)
        free = weights[1:] if labels == 2 else weights
        return nll(other.probabilities(matrix), truth) * n + 0.5 / c * float((free**2).sum())

    rng = np.random.default_rng(seed)
    least = loss(found.weights, found.bias)
    for size in (1e-3, 1e-1):
        weights = found.weights + size * rng.normal(size=found.weights.shape)
        bias = found.bias + size * rng.normal(size=labels)
        if labels == 2:
            weights[0], bias[0] = 0, 0
        assert loss(weights, bias) >= least * (1 - head.FINE) - 1e-6


@pytest.mark.parametrize("labels", [2, 4])
def test_what_is_remembered_of_another_fit_changes_no_optimum(labels: int) -> None:
    matrix, truth = made(300, 12, labels)
    with ThreadPoolExecutor(2) as pool:
        rows = Rows.of(examples(matrix, truth, labels), np.arange(300), balanced=False, pool=pool)
        memory = Memory()
        minimize(rows, [(100, 200)], 3.0, rows.start(), memory=memory)
        assert memory.pairs
        known, alone = (
            minimize(rows, [(0, 300)], 0.01, rows.start(), 1e-10, some).astype(np.float32) for some in (memory, None)
        )
    np.testing.assert_allclose(rows.probabilities(0, 300, known), rows.probabilities(0, 300, alone), atol=2e-4)


def test_turns_that_are_remembered_are_those_of_the_new_penalty() -> None:
    rng = np.random.default_rng(0)
    moved, turned = rng.normal(size=(2, 3, 5))
    turned += 20 * moved
    memory = Memory()
    memory.turn_to(10, 0.5)
    memory.add(moved.copy(), turned.copy())
    memory.turn_to(20, 0.1)
    expected = 2 * turned
    expected[:, :-1] += moved[:, :-1] * (1 / 0.1 - 2 / 0.5)  # the penalty is on the weights alone, whatever the rows
    np.testing.assert_allclose(memory.pairs[0][1], expected)


def test_votes_are_learned_as_images_that_carry_each_label_in_part() -> None:
    matrix, truth = made(90, 6, 3)
    shares = np.eye(3)[truth] * 0.75
    shares[np.arange(90), (truth + 1) % 3] = 0.25
    soft = converged(examples(matrix, shares, 3), 0.5, balanced=False).probabilities(matrix)
    repeated = np.repeat(matrix, 4, axis=0)
    each = np.repeat(truth, 4)
    each[::4] = (truth + 1) % 3
    four = converged(examples(repeated, each, 3), 0.125, balanced=False).probabilities(matrix)
    np.testing.assert_allclose(soft, four, atol=2e-4)
    sure = converged(examples(matrix, np.eye(3)[truth], 3), 0.5, balanced=True)
    np.testing.assert_allclose(
        sure.probabilities(matrix),
        converged(examples(matrix, truth, 3), 0.5, balanced=True).probabilities(matrix),
        atol=1e-5,
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=80), st.integers(2, 6), st.integers(0, 9))
def test_folds_never_part_a_group_and_are_of_one_size(groups: list[int], folds: int, seed: int) -> None:
    names = [f"g{n}" for n in groups]
    strata = np.array([n % 3 for n in groups])
    home = fold_of(names, strata, folds, seed)
    by_group: dict[str, set[int]] = {}
    for name, fold in zip(names, home.tolist(), strict=True):
        by_group.setdefault(name, set()).add(fold)
    assert all(len(each) == 1 for each in by_group.values())
    sizes = np.bincount([each.pop() for each in by_group.values()])
    assert sizes.max() - sizes.min() <= 1


def test_every_fold_holds_its_share_of_a_rare_label() -> None:
    strata = (np.arange(1000) % 50 == 0).astype(np.int64)
    home = fold_of([str(n) for n in range(1000)], strata, 5, 0)
    assert np.bincount(home[strata == 1]).tolist() == [4, 4, 4, 4, 4]


def test_what_a_fold_says_was_not_learned_from_its_own_images() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(120, 400)).astype(np.float32)  # enough to learn all by heart
    truth = rng.integers(0, 2, 120)
    learned = learn(examples(noise, truth, 2), TrainConfig(c_grid=(1.0,)), 0)
    assert learned.held is not None
    assert nll(learned.head.probabilities(noise), truth) < 0.1
    assert nll(learned.held, truth) > 0.6
    pairs = np.repeat(noise[:60], 2, axis=0)
    twice = np.repeat(truth[:60], 2)
    names = [f"group {n // 2}" for n in range(120)]
    grouped = learn(Examples(pairs, twice, names, ("a", "b")), TrainConfig(c_grid=(1.0,)), 0)
    assert grouped.held is not None
    assert nll(grouped.held, twice) > 0.6
    np.testing.assert_allclose(grouped.held[::2], grouped.held[1::2], atol=1e-6)


def test_the_penalty_is_strong_where_there_is_nothing_to_learn() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(80, 30)).astype(np.float32)
    truth = rng.integers(0, 2, 80)
    learned = learn(examples(noise, truth, 2), TrainConfig(), 0)
    assert learned.c <= 0.001
    assert learned.history == sorted(learned.history, key=lambda row: row["c"])
    assert min(learned.history, key=lambda row: row["nll"])["c"] == learned.c
    noise[:, 0] += 6 * truth
    assert learn(examples(noise, truth, 2), TrainConfig(), 0).c > 0.01


def test_many_images_are_judged_by_as_many_folds_as_tell_penalties_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, truth = made(300, 8, 3, apart=0.3)
    whole = learn(examples(matrix, truth, 3), TrainConfig(), 0)
    monkeypatch.setattr(head, "ENOUGH", 50)
    quick = learn(examples(matrix, truth, 3), TrainConfig(), 0)
    assert whole.held is not None
    assert quick.held is not None
    assert np.isfinite(quick.held).all()
    assert abs(nll(quick.held, truth) - nll(whole.held, truth)) < 0.02


def test_a_label_with_one_image_and_images_of_one_group_can_be_learned_from() -> None:
    matrix, truth = made(30, 5, 2)
    truth[:] = 0
    truth[3] = 1
    learned = learn(examples(matrix, truth, 2), TrainConfig(), 0)
    assert learned.held is not None
    assert learned.held[3, 0] > 0.5  # the fold that judged it had never seen its label
    alone = learn(Examples(matrix, truth, ["one group"] * 30, ("a", "b")), TrainConfig(), 0)
    assert alone.held is None
    assert alone.c == min(TrainConfig().c_grid)


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, truth = made(700, 20, 4)
    monkeypatch.setattr(head, "BLOCK", 64)
    monkeypatch.setattr(head, "TASK", 2)
    found = []
    for cores in (1, 7):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        found.append(learn(examples(matrix, truth, 4), TrainConfig(), 0))
    assert (found[0].head.weights == found[1].head.weights).all()
    assert found[0].held is not None
    assert found[1].held is not None
    assert (found[0].held == found[1].held).all()


@pytest.mark.parametrize(("n", "dimension", "labels"), [(300, 16, 60), (120, 200, 40)])
def test_many_labels_have_the_optimum_of_scikit_learn_too(n: int, dimension: int, labels: int) -> None:
    matrix, truth = made(n, dimension, labels, apart=0.5)
    for c in (0.01, 1.0):
        ours = converged(examples(matrix, truth, labels), c, balanced=False).probabilities(matrix)
        np.testing.assert_allclose(ours, scikit(matrix, truth, c), atol=5e-4)


def test_many_labels_are_learned_as_well_as_by_scikit_learn_at_the_penalty_that_was_chosen() -> None:
    matrix, truth = made(1200, 24, 60, apart=0.8)
    train, out = np.arange(1200) < 900, np.arange(1200) >= 900
    learned = learn(examples(matrix[train], truth[train], 60), TrainConfig(), 0)
    given_ = Examples(matrix[train], truth[train], [str(n) for n in range(900)], learned.head.labels)
    best = min(
        nll(converged(given_, c, balanced=False).probabilities(matrix[out]), truth[out])
        for c in (0.01, 0.03, 0.1, 0.3, 1.0)
    )
    assert nll(learned.head.probabilities(matrix[out]), truth[out]) < 1.03 * best
    assert learned.held is not None
    assert nll(learned.held, truth[train]) == pytest.approx(min(row["nll"] for row in learned.history), rel=0.03)


def test_a_fit_with_many_labels_looks_at_the_rows_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, truth = made(1000, 32, 100, apart=0.8)
    looks = []
    sums = Rows.sums

    def counted(rows: Rows, ranges: Sequence[tuple[int, int]], parameters: NDArray[np.float32]) -> head.Sums:
        looks.append(1)
        return sums(rows, ranges, parameters)

    monkeypatch.setattr(Rows, "sums", counted)
    learned = learn(examples(matrix, truth, 100), TrainConfig(), 0)
    fits = 5 * len(learned.history) + 1
    assert len(looks) < 12 * fits


@settings(max_examples=15, deadline=None)
@given(st.integers(5, 40), st.integers(1, 30), st.integers(0, 99))
def test_turned_features_do_not_vary_together_and_lose_nothing(n: int, dimension: int, seed: int) -> None:
    matrix, truth = made(n, dimension, 3, seed)
    with ThreadPoolExecutor(2) as pool:
        rows = Rows.of(examples(matrix, truth, 3), np.arange(n), balanced=False, pool=pool)
    standard = (matrix - rows.mean) / rows.scale
    np.testing.assert_allclose(rows.x @ rows.basis.T, standard, atol=0.02)
    np.testing.assert_allclose(rows.basis.T @ rows.basis, np.eye(rows.basis.shape[1]), atol=1e-4)
    np.testing.assert_allclose((rows.x.T @ rows.x) / n, np.diag(rows.spectrum), atol=0.02)
