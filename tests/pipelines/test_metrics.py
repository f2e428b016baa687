from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve

from pipelines.calibrate import Floats, Ints, Temperature, columns, soften
from pipelines.metrics import (
    ROWS,
    WRONG,
    Curve,
    Sample,
    at_prevalence,
    best_thresholds,
    cells,
    confusion,
    decide,
    macro,
    measure,
    table_of,
)
from pipelines.ranking import DEEP, Ranking, average_precision, draws_of, interval

scored = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=60).filter(
    lambda rows: any(relevant for relevant, _ in rows)
)


def binary(seed: int, images: int = 80) -> tuple[Floats, Ints]:
    rng = np.random.default_rng(seed)
    truth = (rng.random(images) < 0.7).astype(np.int64)
    score = np.clip(rng.normal(0.6 - 0.25 * truth, 0.2), 0.01, 0.99)
    return np.stack([score, 1 - score], axis=1), truth


def many(labels: int, images: int, seed: int = 3) -> Sample:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(images, labels))
    truth = rng.integers(0, labels, images)
    logits[np.arange(images), truth] += 2
    grown = np.exp(logits)
    return Sample(tuple(f"l{k}" for k in range(labels)), grown / grown.sum(axis=1, keepdims=True), truth)


def two(probabilities: Floats, truth: Ints) -> Sample:
    return Sample(("horse", "not-horse"), probabilities, truth)


@given(scored)
def test_average_precision_equals_that_of_scikit_learn_also_with_ties(rows: list[tuple[bool, int]]) -> None:
    relevant = np.array([row[0] for row in rows])
    scores = np.array([row[1] / 6 for row in rows])
    assert average_precision(relevant, scores) == pytest.approx(average_precision_score(relevant, scores), abs=1e-12)


@given(scored)
def test_the_curve_equals_that_of_scikit_learn(rows: list[tuple[bool, int]]) -> None:
    relevant = np.array([row[0] for row in rows])
    scores = np.array([row[1] / 6 for row in rows])
    curve = Curve.of(relevant, scores)
    precision, recall, thresholds = precision_recall_curve(relevant, scores)
    assert curve.thresholds[::-1] == pytest.approx(thresholds)
    assert curve.precision[::-1] == pytest.approx(precision[:-1])
    assert curve.recall[::-1] == pytest.approx(recall[:-1])


@given(scored, st.floats(0.05, 1))
def test_recall_at_precision_and_precision_at_recall_are_the_best_of_the_curve(
    rows: list[tuple[bool, int]], level: float
) -> None:
    relevant = np.array([row[0] for row in rows])
    scores = np.array([row[1] / 6 for row in rows])
    precision, recall, _ = precision_recall_curve(relevant, scores)
    ranking = Ranking.of(relevant, scores)
    assert ranking.recall_at(level) == pytest.approx(recall[:-1][precision[:-1] >= level].max(initial=0))
    assert ranking.precision_at(level) == pytest.approx(precision[:-1][recall[:-1] >= level].max())


@given(scored, st.integers(0, 1000))
def test_a_resampled_ranking_equals_scikit_learn_with_the_same_weights(rows: list[tuple[bool, int]], seed: int) -> None:
    relevant = np.array([row[0] for row in rows])
    scores = np.array([row[1] / 6 for row in rows])
    counts = next(draws_of(len(rows), 5, seed))
    found = Ranking.of(relevant, scores).resampled().ap(counts, counts.sum(axis=0))
    for weight, value in zip(counts.T, found, strict=True):
        if weight[relevant].sum() == 0:
            assert np.isnan(value)
        else:
            expected = average_precision_score(relevant, scores, sample_weight=weight)
            assert value == pytest.approx(expected, abs=1e-5)


@given(scored, st.integers(0, 1000), st.sampled_from([0.5, 0.75, 0.9]))
def test_recall_in_a_draw_is_that_of_the_images_it_holds(rows: list[tuple[bool, int]], seed: int, level: float) -> None:
    relevant = np.array([row[0] for row in rows])
    scores = np.array([row[1] / 6 for row in rows])
    counts = next(draws_of(len(rows), 5, seed))
    found = Ranking.of(relevant, scores).resampled().measured(counts, counts.sum(axis=0), (level,))[1]
    for weight, value in zip(counts.astype(int).T, found, strict=True):
        again = Ranking.of(np.repeat(relevant, weight), np.repeat(scores, weight))
        assert value == pytest.approx(again.recall_at(level), nan_ok=True)


def test_intervals_hold_their_figure_and_are_left_out_where_one_error_decides() -> None:
    probabilities, truth = binary(1)
    found = measure(two(probabilities, truth), thresholds=None, draws=300, seed=5)
    assert found["ece_low"] <= found["ece"] <= found["ece_high"]
    told = found["recall_at_precision"]
    for level, low in found["recall_at_precision_low"].items():
        wrong = told[level] * (truth == 0).sum() * (1 - float(level)) / float(level)
        assert (low is None) == (wrong < WRONG)
        assert low is None or low <= told[level] <= found["recall_at_precision_high"][level]
    probabilities, truth = binary(2, 2000)
    found = measure(two(probabilities, truth), thresholds=None, draws=100, seed=5)
    low, high = (found[f"recall_at_precision_{end}"]["0.9"] for end in ("low", "high"))
    assert 0 <= low < found["recall_at_precision"]["0.9"] < high < 1
    assert measure(many(200, 4000), thresholds=None, draws=20, seed=0)["recall_at_precision_low"] == {}


def test_the_calibration_error_of_a_calibrated_model_may_be_nothing_and_of_an_overconfident_one_not() -> None:
    rng = np.random.default_rng(2)
    logits = 2 * rng.normal(size=2000)
    truth = (rng.random(2000) > 1 / (1 + np.exp(-logits))).astype(np.int64)
    for heat, calibrated in ((1.0, True), (0.5, False)):
        sure = 1 / (1 + np.exp(-logits / heat))
        found = measure(two(np.stack([sure, 1 - sure], axis=1), truth), thresholds=None, draws=200, seed=0)
        assert (found["ece_low"] == 0) == calibrated
        assert found["ece_low"] <= found["ece"] <= found["ece_high"]


def test_deep_in_a_long_ranking_a_draw_is_counted_closely_enough() -> None:
    rng = np.random.default_rng(0)
    relevant = np.zeros(20_000, dtype=bool)
    relevant[:20] = True
    scores = rng.normal(size=20_000) + 2 * relevant
    counts = next(draws_of(20_000, 20, 1))
    assert Ranking.of(relevant, scores).above[-1] > 1024 > 20 * DEEP
    found = Ranking.of(relevant, scores).resampled().ap(counts, counts.sum(axis=0))
    expected = [average_precision_score(relevant, scores, sample_weight=weight) for weight in counts.T]
    assert found == pytest.approx(expected, abs=5e-4)


def test_without_a_relevant_image_there_is_no_average_precision() -> None:
    nothing = Ranking.of(np.zeros(3, dtype=bool), np.array([0.1, 0.2, 0.3]))
    assert np.isnan([nothing.ap(), nothing.recall_at(0.9), nothing.precision_at(0.9)]).all()
    assert nothing.threshold() is None


def test_the_interval_is_that_of_resampled_images_less_its_bias() -> None:
    probabilities, truth = binary(1)
    found = measure(two(probabilities, truth), thresholds=None, draws=200, seed=5)
    rng = np.random.default_rng(5)
    picks = [rng.integers(0, len(truth), len(truth)) for _ in range(200)]
    each = np.array([average_precision_score(truth[pick] == 0, probabilities[pick, 0]) for pick in picks])
    expected = np.percentile(each, [2.5, 97.5]) - each.mean() + found["ap"]
    assert [found["ap_low"], found["ap_high"]] == pytest.approx(expected.tolist(), abs=1e-5)
    assert found["ap_low"] < found["ap"] < found["ap_high"]


def test_the_interval_of_many_labels_holds_its_own_figure() -> None:
    # the percentiles alone do not: an image that is drawn twice is ranked beside itself
    found = measure(many(200, 4000), thresholds=None, draws=200, seed=0)
    assert found["ap_low"] < found["ap"] < found["ap_high"]
    assert found["ap_high"] - found["ap_low"] < 0.05


def test_near_duplicates_are_drawn_together_and_make_intervals_wider() -> None:
    probabilities, truth = binary(4, 100)
    alone = measure(two(probabilities, truth), thresholds=None, draws=400, seed=0)
    copied = two(np.repeat(probabilities, 4, axis=0), np.repeat(truth, 4))
    apart = measure(copied, thresholds=None, draws=400, seed=0)
    grouped = Sample(copied.labels, copied.probabilities, copied.truth, np.repeat(np.arange(100), 4))
    together = measure(grouped, thresholds=None, draws=400, seed=0)

    def width(found: dict[str, float]) -> float:
        return found["error_high"] - found["error_low"]

    assert width(together) == pytest.approx(width(alone), rel=1e-6)
    assert width(apart) < 0.7 * width(together)
    assert (together["images"], together["groups"]) == (400, 100)


def test_more_than_two_labels_are_measured_one_against_the_rest() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, 50)
    probabilities = rng.dirichlet(np.ones(3), 50)
    expected = average_precision_score(np.eye(3)[truth], probabilities, average="macro")
    found = measure(Sample(("a", "b", "c"), probabilities, truth), thresholds=None, draws=100, seed=0)
    assert found["ap"] == pytest.approx(expected, abs=1e-12)
    assert np.sum(found["confusion"]) == 50
    assert found["error"] == pytest.approx((probabilities.argmax(axis=1) != truth).mean())
    assert set(found["thresholds"]) == {"a", "b", "c"}
    assert sum(n for _, _, n in found["confused"]) == round(found["error"] * 50)


def test_a_thousand_labels_equal_scikit_learn() -> None:
    sample = many(1000, 3000)
    found = measure(sample, thresholds=None, draws=100, seed=0)
    seen = np.flatnonzero(sample.counted())
    assert 900 < len(seen) < 1000
    each = [average_precision_score(sample.truth == k, sample.probabilities[:, k]) for k in seen]
    assert found["ap"] == pytest.approx(np.mean(each), abs=1e-9)
    lacking = {label for label, value in found["ap_by_label"].items() if value is None}
    assert lacking == {f"l{k}" for k in set(range(1000)) - set(seen.tolist())}
    assert all(f"ap of {label}" in found["undefined"] for label in lacking)
    assert found["ap_low"] < found["ap"] < found["ap_high"]


@pytest.mark.parametrize("label", [0, 1])
def test_a_split_of_one_label_has_no_average_precision_and_says_why(label: int) -> None:
    probabilities, _ = binary(2, 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measure(two(probabilities, np.full(30, label)), thresholds=None, draws=100, seed=0)
    assert (found["ap"], found["ap_low"], found["ap_high"]) == (None, None, None)
    assert "nothing to rank it above" in found["undefined"]["ap"]
    assert found["error"] is not None
    json.dumps(found, allow_nan=False)


def test_one_image_is_measured_without_a_warning() -> None:
    found = measure(two(np.array([[0.8, 0.2]]), np.array([0])), thresholds=None, draws=100, seed=0)
    assert (found["images"], found["error"], found["ap"]) == (1, 0.0, None)
    json.dumps(found, allow_nan=False)


def test_the_thresholds_have_the_highest_f1_and_no_image_on_them() -> None:
    probabilities, truth = binary(2)
    best = best_thresholds(two(probabilities, truth))["horse"]
    curve = Curve.of(truth == 0, probabilities[:, 0])
    assert best == pytest.approx(curve.best_threshold())
    assert best not in probabilities[:, 0]
    table = confusion(decide(probabilities, best), truth, 2)
    assert 2 * table[0, 0] / (2 * table[0, 0] + table[1, 0] + table[0, 1]) == pytest.approx(curve.f1().max())


def test_thresholds_of_validation_are_kept_on_another_split() -> None:
    sample = many(4, 200)
    chosen = best_thresholds(sample)
    other = many(4, 100, seed=9)
    found = measure(other, thresholds=chosen, draws=100, seed=0)
    assert found["thresholds"] == chosen
    for k, column in columns(other.probabilities):
        row = found["by_label"][f"l{k}"]
        said = column >= chosen[f"l{k}"]
        assert row["recall"] == pytest.approx((said & (other.truth == k)).sum() / (other.truth == k).sum())
        assert row["precision"] == pytest.approx((said & (other.truth == k)).sum() / said.sum())


def test_error_stands_beside_that_of_the_most_frequent_label() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    chosen = {"horse": 0.7, "not-horse": 0.5}
    found = measure(two(probabilities, np.array([0, 1, 1, 1])), thresholds=chosen, draws=100, seed=0)
    assert found["error"] == 0.25
    assert found["majority_error"] == 0.25
    assert found["confusion"] == [[1, 0], [1, 2]]
    assert found["confused"] == [["not-horse", "horse", 1]]


def test_calibration_is_told_with_and_without_the_temperature() -> None:
    probabilities, truth = binary(7, 200)
    plain = measure(two(probabilities, truth), thresholds=None, draws=100, seed=0)
    heated = two(soften(probabilities, 2), truth)
    found = measure(heated, thresholds=None, draws=100, seed=0, temperature=Temperature(2.0))
    assert found["uncalibrated"] == pytest.approx({name: plain[name] for name in found["uncalibrated"]})
    assert found["nll"] != pytest.approx(plain["nll"], abs=1e-3)
    assert found["ap"] == pytest.approx(plain["ap"])


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 400), st.integers(1, 400), st.floats(0.0005, 0.5))
def test_precision_at_another_prevalence_follows_bayes(
    right: int, missed: int, false: int, passed: int, share: float
) -> None:
    found = at_prevalence(np.array([[right, missed], [false, passed]]), share)
    assert 0 <= found.low <= found.high <= 1
    if right and false:
        tpr, fpr = right / (right + missed), false / (false + passed)
        assert found.value == pytest.approx(share * tpr / (share * tpr + (1 - share) * fpr))
        assert found.value is not None
        assert found.low <= found.value <= found.high
    own = at_prevalence(
        np.array([[right, missed], [false, passed]]), (right + missed) / (right + missed + false + passed) or 0.5
    )
    if right and missed + right:
        assert own.value == pytest.approx(right / (right + false))


def test_no_false_alarm_among_few_is_no_proof_of_precision() -> None:
    found = at_prevalence(np.array([[40, 10], [0, 200]]), 0.001)
    assert found.value == 1.0
    assert found.low < 0.5


def test_a_macro_mean_leaves_out_what_a_draw_does_not_hold() -> None:
    each = np.array([[0.5, np.nan, np.nan], [1.0, 0.8, np.nan], [0.2, 0.2, np.nan]])
    assert macro(each, np.array([1, 4, 5])) == pytest.approx([17 / 30, 0.5, np.nan], nan_ok=True)
    assert interval(0.5, np.array([np.nan, np.nan])) == (None, None)


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    scores = np.linspace(0, 1, 1000)
    points = Curve.of(scores > 0.4, scores).points()
    assert len(points) == 200
    assert points[0][0] == 1.0
    assert points[-1][0] == 0.0


@given(st.integers(1, ROWS + 3), st.integers(0, 60), st.integers(0, 1000))
def test_a_confusion_table_comes_back_from_json(size: int, images: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = confusion(rng.integers(0, size, images), rng.integers(0, size, images), size)
    written = json.loads(json.dumps(cells(table)))
    assert (table_of({"labels": list(range(size)), "confusion": written}) == table).all()
    assert len(written) <= (size if size <= ROWS else images)
    assert (table_of({"labels": list(range(size)), "confusion": table.tolist()}) == table).all()  # of older runs
