from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from pipelines.calibrate import Floats, Ints
from pipelines.learning_curve import Fit, fit_law, learning_curve, parts
from pipelines.metrics import Sample


def task(train: int, labels: int = 2, noise: float = 0.0, seed: int = 3) -> tuple[Fit, Ints, Sample]:
    """A problem that a linear head learns; a share `noise` of all labels is drawn at random."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(24, labels))

    def draw(images: int) -> tuple[Floats, Ints]:
        x = rng.normal(size=(images, 24))
        truth = (x @ weights + 1.5 * rng.gumbel(size=(images, labels))).argmax(axis=1)
        flipped = rng.random(images) < noise
        truth[flipped] = rng.integers(0, labels, flipped.sum())
        return x, truth

    (x, truth), (held, held_truth) = draw(train), draw(600)

    def fit(rows: Ints) -> Floats:
        model = LogisticRegression(C=0.1, max_iter=1000).fit(x[rows], truth[rows])
        return np.asarray(model.predict_proba(held))

    whole = Sample(tuple(f"l{k}" for k in range(labels)), fit(np.arange(train)), held_truth)
    return fit, truth, whole


def names(images: int) -> list[str]:
    return [str(k) for k in range(images)]


@given(st.integers(8, 300), st.integers(2, 6), st.integers(0, 1000))
def test_parts_are_nested_hold_every_label_and_cost_about_two_fits(images: int, labels: int, seed: int) -> None:
    truth = np.random.default_rng(seed).permutation(np.arange(images) % labels)
    found = parts(truth, names(images), seed)
    assert sum(part.size for part in found) <= 2.5 * images
    for part in found:
        assert len(part.rows) == part.size < images
        assert set(truth[part.rows]) == set(range(labels))
    for repeat in {part.repeat for part in found}:
        inside = sorted((part for part in found if part.repeat == repeat), key=lambda part: part.size)
        for smaller, larger in pairwise(inside):
            assert set(smaller.rows) <= set(larger.rows)


def test_a_part_takes_near_duplicates_together() -> None:
    truth = np.repeat(np.arange(40) % 2, 3)
    for part in parts(truth, [str(k // 3) for k in range(120)], 0):
        counts = np.bincount(part.rows // 3, minlength=40)
        assert ((counts > 0) & (counts < 3)).sum() <= 1  # the last one may be cut


@pytest.mark.parametrize("true", [(2.0, 0.5, 0.0), (1.5, 0.7, 0.05), (0.9, 0.3, 0.1)])
def test_a_power_law_is_found_again(true: tuple[float, float, float]) -> None:
    a, b, c = true
    sizes = np.array([25.0, 50, 100, 200, 400, 800])
    errors = a * sizes**-b + c
    law = fit_law(sizes, errors, 0.02 * errors)
    assert law.error(1600)[0] == pytest.approx(a * 1600**-b + c, rel=0.02)
    assert law.r2[0] > 0.99
    target = float(a * 1600**-b + c)
    assert law.labels(target)[0] == pytest.approx(1600, rel=0.1)
    assert law.labels(c - 0.01)[0] == np.inf


def test_the_forecast_holds_when_the_labels_are_there() -> None:
    fit, truth, whole = task(1600)
    half = np.arange(800)
    before = Sample(whole.labels, fit(half), whole.truth)
    found = learning_curve(lambda rows: fit(half[rows]), truth[half], names(800), before, seed=0)
    assert found["doubled"]["low"] <= whole.rankings()[0].ap() <= found["doubled"]["high"]
    assert "more labels" in found["says"]
    assert "twice as many would bring AP from" in found["says"]
    assert found["points"][-1]["labels"] == 800
    assert found["points"][-1]["error"] == pytest.approx(1 - before.rankings()[0].ap())
    errors = [point["error"] for point in found["points"]]
    assert errors[0] > 2 * errors[-1]
    json.dumps(found, allow_nan=False)


def test_where_labels_are_noise_nothing_is_promised() -> None:
    fit, truth, whole = task(300, noise=1.0)
    found = learning_curve(fit, truth, names(300), whole, seed=0)
    assert found["forecasts"] == []
    assert "no gain" in found["says"] or "no power law" in found["says"]


def test_several_labels_have_a_curve_too() -> None:
    fit, truth, whole = task(200, labels=3)
    found = learning_curve(fit, truth, names(200), whole, seed=0, draws=50)
    assert found["metric"] == "ap"
    assert all(point["error_low"] <= point["error"] <= point["error_high"] for point in found["points"])


def test_too_few_images_or_a_perfect_score_say_so() -> None:
    fit, truth, whole = task(12)
    assert "too few" in learning_curve(fit, truth, names(12), whole, seed=0)["says"]
    sure = np.stack([whole.truth == 0, whole.truth == 1], axis=1).astype(np.float64)
    perfect = Sample(whole.labels, sure, whole.truth)
    many = np.arange(60) % 2
    found = learning_curve(lambda _: sure, many, names(60), perfect, seed=0)
    assert "nothing on validation is ranked wrong" in found["says"]


def test_a_split_of_one_label_is_told_by_its_error() -> None:
    fit, truth, whole = task(100)
    lonely = Sample(whole.labels, whole.probabilities, np.zeros(600, dtype=np.int64))
    found = learning_curve(fit, truth, names(100), lonely, seed=0)
    assert found["metric"] == "error"
    json.dumps(found, allow_nan=False)
