from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from pipelines.calibrate import (
    LEAST,
    Floats,
    Ints,
    brier,
    classwise_ece,
    drift,
    ece,
    fit_temperature,
    nll,
    reliability,
    soften,
    temperature,
)


def drawn(seed: int, images: int, labels: int) -> tuple[Floats, Ints]:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(labels), images)
    truth = np.concatenate([np.arange(labels), rng.integers(0, labels, images - labels)])
    return probabilities, truth


def too_sure(seed: int, images: int, labels: int, heat: float) -> tuple[Floats, Ints]:
    """Probabilities that are right at temperature `heat`, told at temperature 1."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(images, labels))
    truth = (logits / heat + rng.gumbel(size=logits.shape)).argmax(axis=1)
    grown = np.exp(logits)
    return grown / grown.sum(axis=1, keepdims=True), truth


@pytest.mark.parametrize("labels", [2, 3, 5])
@given(seed=st.integers(0, 10_000))
def test_brier_and_log_loss_equal_those_of_scikit_learn(labels: int, seed: int) -> None:
    probabilities, truth = drawn(seed, 40, labels)
    assert nll(probabilities, truth) == pytest.approx(log_loss(truth, probabilities), abs=1e-9)
    assert brier(probabilities, truth) == pytest.approx(brier_score_loss(truth, probabilities), abs=1e-9)


@given(seed=st.integers(0, 10_000), labels=st.integers(2, 6))
def test_the_reliability_table_equals_that_of_scikit_learn(seed: int, labels: int) -> None:
    probabilities, truth = drawn(seed, 150, labels)
    right = probabilities.argmax(axis=1) == truth
    shares, means = calibration_curve(right, probabilities.max(axis=1), n_bins=15, strategy="quantile")
    found = reliability(probabilities, truth)
    assert [row[0] for row in found] == pytest.approx(means, abs=1e-9)
    assert [row[1] for row in found] == pytest.approx(shares, abs=1e-9)
    assert ece(probabilities, truth) == pytest.approx(np.abs(shares - means).mean(), abs=1e-9)


@given(seed=st.integers(0, 10_000), labels=st.integers(2, 6))
def test_the_classwise_error_is_the_mean_gap_of_the_curves_of_scikit_learn(seed: int, labels: int) -> None:
    probabilities, truth = drawn(seed, 150, labels)
    gaps = []
    for k in range(labels):
        shares, means = calibration_curve(truth == k, probabilities[:, k], n_bins=15, strategy="quantile")
        gaps.append(np.abs(shares - means).mean())
    assert classwise_ece(probabilities, truth) == pytest.approx(np.mean(gaps), abs=1e-9)


@given(seed=st.integers(0, 10_000), images=st.integers(1, 400), steps=st.integers(1, 300))
def test_equal_probabilities_fall_into_bins_as_they_came(seed: int, images: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, steps + 1, images) / steps
    probabilities, truth = np.stack([first, 1 - first], axis=1), rng.integers(0, 2, images)
    gaps = []
    for k in range(2):
        order = np.argsort(probabilities[:, k], kind="stable")
        bins = np.array_split(order, max(1, min(15, images // 10)))
        gaps.append(sum(abs(((truth == k) - probabilities[:, k])[each].sum()) for each in bins) / images)
    assert classwise_ece(probabilities, truth) == pytest.approx(np.mean(gaps), abs=1e-9)


def test_ece_is_the_gap_between_said_and_right() -> None:
    says_90 = np.tile([0.9, 0.1], (100, 1))
    right_90 = np.repeat([0, 1], [90, 10])
    right_60 = np.repeat([0, 1], [60, 40])
    assert ece(says_90, right_90, bins=1) == pytest.approx(0, abs=1e-12)
    assert ece(says_90, right_60, bins=1) == pytest.approx(0.3)
    assert classwise_ece(says_90, right_60, bins=1) == pytest.approx(0.3)


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
    for error in (ece, classwise_ece):
        found = error(probabilities, truth)
        assert 0 <= found <= 1
        assert error(probabilities[order], truth[order]) == pytest.approx(found)


def test_a_certain_and_wrong_prediction_has_a_finite_loss() -> None:
    assert nll(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(np.finfo(np.float64).eps))


@pytest.mark.parametrize("labels", [2, 3, 12])
def test_the_temperature_equals_that_of_scikit_learn(labels: int) -> None:
    rng = np.random.default_rng(labels)
    truth = np.concatenate([np.arange(labels), rng.integers(0, labels, 300)])
    matrix = rng.normal(size=(len(truth), 6)) + 0.4 * truth[:, None]
    model = LogisticRegression(C=1, max_iter=1000).fit(matrix[:150], truth[:150])
    calibrated = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(matrix[150:], truth[150:])
    found = temperature(model.predict_proba(matrix[150:]), truth[150:])
    expected = calibrated.predict_proba(matrix)
    ours = soften(model.predict_proba(matrix), found)
    assert ours == pytest.approx(expected, abs=1e-4)  # its search stops a little earlier, ours is no worse
    assert nll(ours[150:], truth[150:]) <= nll(expected[150:], truth[150:]) + 1e-9


@pytest.mark.parametrize("labels", [2, 10, 1000])
def test_a_temperature_is_found_again_with_an_interval_around_it(labels: int) -> None:
    probabilities, truth = too_sure(labels, 2000, labels, 1.8)
    found = fit_temperature(probabilities, truth)
    assert found.low is not None
    assert found.high is not None
    assert found.nll is not None
    assert found.nll_left_out is not None
    assert found.low < 1.8 < found.high
    assert found.low < found.value < found.high
    assert found.nll_left_out < found.nll
    assert nll(soften(probabilities, found.value), truth) < found.nll
    assert (found.images, found.reason) == (2000, "")


def test_leaving_an_image_out_in_one_step_is_as_good_as_fitting_again() -> None:
    probabilities, truth = too_sure(5, 60, 3, 2.0)
    found = fit_temperature(probabilities, truth)
    losses = []
    for k in range(60):
        rest = np.arange(60) != k
        heat = temperature(probabilities[rest], truth[rest], smoothing=1 / 62)
        losses.append(nll(soften(probabilities[[k]], heat), truth[[k]]))
    assert found.nll_left_out == pytest.approx(np.mean(losses), abs=2e-3)


def test_a_temperature_that_would_not_help_other_images_is_not_kept() -> None:
    kept = 0
    for seed in range(20):
        probabilities, truth = too_sure(seed, 60, 3, 1.0)  # calibrated already
        found = fit_temperature(probabilities, truth)
        kept += found.value != 1
        assert (found.value == 1) == (found.reason != "")
        assert "would not lower" in found.reason or not found.reason
    assert kept < 10


def test_few_images_leave_probabilities_as_they_are_and_say_so() -> None:
    probabilities, truth = too_sure(0, LEAST - 1, 2, 3.0)
    found = fit_temperature(probabilities, truth)
    assert found.value == 1
    assert "29 calibration images are too few" in found.reason
    assert "no calibration split" in fit_temperature(probabilities[:0], truth[:0]).reason


def test_forty_right_answers_do_not_make_certainty() -> None:
    found = fit_temperature(np.tile([0.9, 0.1], (40, 1)), np.zeros(40, dtype=np.int64))
    assert 0.95 < soften(np.array([[0.9, 0.1]]), found.value)[0, 0] < 0.995


def test_equal_probabilities_have_no_temperature() -> None:
    found = fit_temperature(np.full((40, 2), 0.5), np.zeros(40, dtype=np.int64))
    assert found.value == 1
    assert "same probability" in found.reason


def epochs(error: Any, loss: Any) -> list[dict[str, float]]:
    return [{"epoch": k, "error": e, "nll": n} for k, (e, n) in enumerate(zip(error, loss, strict=True), 1)]


def test_drift_is_told_when_the_error_falls_while_the_loss_rises() -> None:
    k = np.arange(12)
    said = drift(epochs(0.3 * 0.9**k, np.where(k < 5, 1 - 0.1 * k, 0.5 + 0.05 * (k - 5))))
    assert said is not None
    assert "error fell from 0.1" in said
    assert "the loss rose from 0.5" in said
    assert "lowest in epoch 6" in said
    noise = np.random.default_rng(0).normal(size=(2, 12))
    assert drift(epochs(0.3 - 0.01 * k + 0.001 * noise[0], 0.5 + 0.02 * k + 0.002 * noise[1]))


def test_drift_is_not_told_of_both_falling_of_both_rising_or_of_noise() -> None:
    k = np.arange(12)
    assert drift(epochs(0.3 * 0.9**k, 0.9**k)) is None
    assert drift(epochs(0.1 + 0.01 * k, 0.5 + 0.05 * k)) is None
    assert drift(epochs(np.full(12, 0.2), 0.5 + 0.05 * k)) is None
    assert drift(epochs(0.3 * 0.9**k, 0.5 + 0.05 * k)[:3]) is None
    assert drift([]) is None
    rng = np.random.default_rng(1)
    alarms = [drift(epochs(0.2 + 0.01 * rng.normal(size=10), 0.5 + 0.05 * rng.normal(size=10))) for _ in range(200)]
    assert sum(said is not None for said in alarms) <= 6


def test_an_epoch_without_a_loss_does_not_hide_the_others() -> None:
    rows = epochs(0.3 - 0.02 * np.arange(8), 0.5 + 0.05 * np.arange(8))
    rows[3]["nll"] = float("nan")
    assert drift(rows)
