from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from pipelines.calibrate import Floats, Ints, brier, ece, nll


def drawn(seed: int, images: int, labels: int) -> tuple[Floats, Ints]:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(labels), images)
    truth = np.concatenate([np.arange(labels), rng.integers(0, labels, images - labels)])
    return probabilities, truth


@pytest.mark.parametrize("labels", [2, 3, 5])
@given(seed=st.integers(0, 10_000))
def test_brier_and_log_loss_equal_those_of_scikit_learn(labels: int, seed: int) -> None:
    probabilities, truth = drawn(seed, 40, labels)
    assert nll(probabilities, truth) == pytest.approx(log_loss(truth, probabilities))
    assert brier(probabilities, truth) == pytest.approx(brier_score_loss(truth, probabilities))


def test_ece_is_the_gap_between_said_and_right() -> None:
    says_90 = np.tile([0.9, 0.1], (100, 1))
    right_90 = np.repeat([0, 1], [90, 10])
    right_60 = np.repeat([0, 1], [60, 40])
    assert ece(says_90, right_90, bins=1) == pytest.approx(0, abs=1e-12)
    assert ece(says_90, right_60, bins=1) == pytest.approx(0.3)


def test_ece_bins_hold_equally_many_images() -> None:
    # 20 images at 0.6 of which all are right, 20 at 0.9 of which half are: gaps 0.4 and 0.4 in two bins
    probabilities = np.repeat([[0.6, 0.4], [0.9, 0.1]], 20, axis=0)
    truth = np.concatenate([np.zeros(20, np.int64), np.repeat([0, 1], 10)])
    assert ece(probabilities, truth, bins=2) == pytest.approx(0.4)
    assert ece(probabilities, truth, bins=1) == pytest.approx(0.0)


@given(seed=st.integers(0, 10_000), labels=st.integers(2, 6))
def test_ece_lies_between_0_and_1_whatever_the_order_of_the_images(seed: int, labels: int) -> None:
    probabilities, truth = drawn(seed, 60, labels)
    order = np.random.default_rng(seed).permutation(60)
    found = ece(probabilities, truth)
    assert 0 <= found <= 1
    assert ece(probabilities[order], truth[order]) == pytest.approx(found)


def test_a_certain_and_wrong_prediction_has_a_finite_loss() -> None:
    assert nll(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(np.finfo(np.float64).eps))
