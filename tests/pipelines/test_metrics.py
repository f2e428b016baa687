from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve

from pipelines.calibrate import Floats, Ints
from pipelines.metrics import Curve, ap_interval, average_precision, confusion, decide, macro_ap, measure

scored = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=60).filter(
    lambda rows: any(relevant for relevant, _ in rows)
)


def binary(seed: int, images: int = 80) -> tuple[Floats, Ints]:
    rng = np.random.default_rng(seed)
    truth = (rng.random(images) < 0.7).astype(np.int64)
    score = np.clip(rng.normal(0.6 - 0.25 * truth, 0.2), 0.01, 0.99)
    return np.stack([score, 1 - score], axis=1), truth


@given(scored)
def test_average_precision_equals_that_of_scikit_learn_also_with_ties(rows: list[tuple[bool, int]]) -> None:
    relevant = np.array([row[0] for row in rows])
    scores = np.array([row[1] / 6 for row in rows])
    assert average_precision(relevant, scores) == pytest.approx(average_precision_score(relevant, scores))


@given(scored)
def test_the_curve_equals_that_of_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    relevant = np.array([row[0] for row in rows])
    scores = np.array([row[1] / 6 for row in rows])
    curve = Curve.of(relevant, scores)
    precision, recall, thresholds = precision_recall_curve(relevant, scores)
    assert curve.thresholds[::-1] == pytest.approx(thresholds)
    assert curve.precision[::-1] == pytest.approx(precision[:-1])
    assert curve.recall[::-1] == pytest.approx(recall[:-1])


def test_without_a_relevant_image_there_is_no_average_precision() -> None:
    assert np.isnan(average_precision(np.zeros(3, dtype=bool), np.array([0.1, 0.2, 0.3])))


def test_the_interval_is_that_of_resampled_images() -> None:
    probabilities, truth = binary(1)
    low, high = ap_interval(probabilities, truth, draws=200, seed=5)
    rng = np.random.default_rng(5)
    picks = [rng.integers(0, len(truth), len(truth)) for _ in range(200)]
    each = [average_precision_score(truth[pick] == 0, probabilities[pick, 0]) for pick in picks]
    assert [low, high] == pytest.approx(np.percentile(each, [2.5, 97.5]).tolist())
    assert low < macro_ap(probabilities, truth)[0] < high


def test_more_than_two_labels_are_measured_one_against_the_rest() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, 50)
    probabilities = rng.dirichlet(np.ones(3), 50)
    expected = average_precision_score(np.eye(3)[truth], probabilities, average="macro")
    assert macro_ap(probabilities, truth)[0] == pytest.approx(expected)
    found = measure(probabilities, truth, ("a", "b", "c"), threshold=0.5, draws=100, seed=0)
    assert found["ap"] == pytest.approx(expected)
    assert np.sum(found["confusion"]) == 50
    assert found["error"] == pytest.approx((probabilities.argmax(axis=1) != truth).mean())


def test_the_best_threshold_has_the_highest_f1_and_no_image_on_it() -> None:
    probabilities, truth = binary(2)
    curve = Curve.of(truth == 0, probabilities[:, 0])
    best = curve.best_threshold()
    assert best not in probabilities[:, 0]
    table = confusion(decide(probabilities, best), truth, 2)
    assert 2 * table[0, 0] / (2 * table[0, 0] + table[1, 0] + table[0, 1]) == pytest.approx(curve.f1().max())


def test_error_stands_beside_that_of_the_most_frequent_label() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    found = measure(probabilities, np.array([0, 1, 1, 1]), ("horse", "none"), threshold=0.7, draws=100, seed=0)
    assert found["error"] == 0.25
    assert found["majority_error"] == 0.25
    assert found["confusion"] == [[1, 0], [1, 2]]


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    scores = np.linspace(0, 1, 1000)
    points = Curve.of(scores > 0.4, scores).points()
    assert len(points) == 200
    assert points[0][0] == 1.0
    assert points[-1][0] == 0.0
