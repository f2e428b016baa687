"""Agreement figures against published numbers, other implementations, and what must hold for any table."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn.metrics import cohen_kappa_score

from collector.errors import UsageError
from labeling.agreement import (
    MISSING,
    Answers,
    Floats,
    Ints,
    Level,
    Scale,
    alpha,
    alpha_by_label,
    bootstrap,
    cohen,
    confusion,
    fleiss_kappa,
    pairs,
    pairwise_agreement,
    randolph_kappa,
)
from tests.labeling.crowds import bluebirds, dogs, matrices, of_matrix

KRIPPENDORFF = """
1 2 3 3 2 1 4 1 2 - - -
1 2 3 3 2 2 4 1 2 5 - 3
- 3 3 3 2 3 4 2 2 5 1 -
1 2 3 3 2 4 4 1 2 5 1 -
"""


@pytest.mark.parametrize(
    ("level", "expected"),
    [("nominal", 0.743421052631579), ("ordinal", 0.8153875037548814), ("interval", 0.8491071428571428)],
)
def test_alpha_of_krippendorffs_own_example(level: Level, expected: float) -> None:
    rows = [
        (f"{unit:02}", f"{observer}", None if value == "-" else value)
        for observer, line in enumerate(KRIPPENDORFF.strip().splitlines())
        for unit, value in enumerate(line.split())
    ]
    answers = Answers.tabulate(rows)
    found = alpha(answers.counts(), Scale.of(level, answers.labels))
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.tasks == 11  # the twelfth unit has one label


@given(matrices())
def test_alpha_on_every_scale_equals_its_definition_by_pairs(matrix: Ints) -> None:
    counts = of_matrix(matrix, 3).counts()
    numbers = ("1", "2", "5")
    used = counts[counts.sum(axis=1) >= 2].sum(axis=0)
    ranks = np.cumsum(used) - used / 2
    sets = (frozenset("a"), frozenset("ab"), frozenset("bc"))
    masi = np.array([[0, 2 / 3, 1], [2 / 3, 0, 8 / 9], [1, 8 / 9, 0]])
    values = np.array([float(number) for number in numbers])
    for scale, apart in (
        (Scale.of("ordinal", numbers), (ranks[:, None] - ranks) ** 2),
        (Scale.of("interval", numbers), (values[:, None] - values) ** 2),
        (Scale.masi(sets), masi),
    ):
        expected = _alpha_by_definition(matrix, apart)
        assert alpha(counts, scale, draws=0).value == pytest.approx(
            math.nan if expected is None else expected, abs=1e-9, nan_ok=True
        )


def test_an_interval_scale_needs_numbers() -> None:
    with pytest.raises(UsageError, match="must be numbers, but 'cat' is none"):
        Scale.of("interval", ("1", "cat"))


@pytest.mark.realdata
def test_bluebirds_have_the_reference_figures() -> None:
    answers, _ = bluebirds()
    counts = answers.counts()
    assert alpha(counts).value == pytest.approx(0.12550057220224442, abs=1e-12)
    assert fleiss_kappa(counts) == pytest.approx(0.1252929019510456, abs=1e-12)
    assert randolph_kappa(counts) == pytest.approx(0.17638826410756248, abs=1e-12)
    assert pairwise_agreement(counts).value == pytest.approx(0.5881941320537812, abs=1e-12)
    kappas = [pair.kappa for pair in pairs(answers)]
    assert len(kappas) == 741
    assert [np.mean(kappas), min(kappas), max(kappas)] == pytest.approx([0.13960515, -0.425926, 0.748927], abs=1e-6)


@pytest.mark.realdata
def test_dogs_have_the_reference_figures_and_interval() -> None:
    answers, _ = dogs()
    counts = answers.counts()
    found = alpha(counts)
    assert found.value == pytest.approx(0.519417841323, abs=1e-11)
    assert [found.low, found.high] == pytest.approx([0.50215, 0.53691], abs=5e-6)
    assert fleiss_kappa(counts) == pytest.approx(0.519358282251, abs=1e-11)
    assert randolph_kappa(counts) == pytest.approx(0.521520033044, abs=1e-11)
    assert pairwise_agreement(counts).value == pytest.approx(0.641140025, abs=1e-9)
    by_label = [estimate.value for estimate in alpha_by_label(counts)]
    assert by_label == pytest.approx([0.524457695, 0.511564356, 0.495854875, 0.544057859], abs=1e-9)
    often = [pair for pair in pairs(answers) if pair.shared >= 20]
    assert len(often) == 546
    assert np.mean([pair.kappa for pair in often]) == pytest.approx(0.506232915, abs=1e-9)


@given(matrices())
def test_alpha_equals_its_definition_by_pairs(matrix: Ints) -> None:
    found = alpha(of_matrix(matrix, 3).counts(), draws=2)
    expected = _alpha_by_definition(matrix)
    if expected is None:
        assert math.isnan(found.value)
        assert found.reason
    else:
        assert found.value == pytest.approx(expected, abs=1e-9)


@given(matrices(), st.integers(0, 2**32))
def test_alpha_does_not_change_when_tasks_annotators_and_labels_are_renamed(matrix: Ints, seed: int) -> None:
    rng = np.random.default_rng(seed)
    renamed = np.append(rng.permutation(3), MISSING)[matrix]  # the last entry keeps MISSING
    shuffled = rng.permutation(rng.permutation(renamed, axis=0), axis=1)
    before = alpha(of_matrix(matrix, 3).counts(), draws=2).value
    after = alpha(of_matrix(shuffled, 3).counts(), draws=2).value
    assert before == pytest.approx(after, abs=1e-9, nan_ok=True)


@given(matrices())
def test_alpha_does_not_change_with_tasks_that_got_one_label(matrix: Ints) -> None:
    counts = of_matrix(matrix, 3).counts()
    more = np.vstack([counts, [[1, 0, 0], [0, 0, 1], [0, 0, 0]]])
    assert repr(alpha(counts, draws=5)) == repr(alpha(more, draws=5))  # repr, because nan differs from itself


def test_one_label_in_the_data_gives_no_alpha_and_a_reason() -> None:
    found = alpha(np.array([[2, 0], [3, 0], [2, 0]]))
    assert math.isnan(found.value)
    assert math.isnan(found.low)
    assert "only one label" in found.reason


def test_no_double_labels_give_no_alpha_and_a_reason() -> None:
    assert "two annotators" in alpha(np.array([[1, 0], [0, 1]])).reason
    assert "two annotators" in pairwise_agreement(np.zeros((0, 2), dtype=np.int64)).reason


def test_the_interval_holds_the_figure_and_narrows_with_more_tasks() -> None:
    rng = np.random.default_rng(1)
    few, many = (alpha(rng.multinomial(3, [0.2, 0.3, 0.5], size)) for size in (50, 5000))
    assert few.low < few.value < few.high
    assert many.low < many.value < many.high
    assert many.high - many.low < (few.high - few.low) / 5


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # Two annotators, each right with p = 0.9 on a fair two-class task: alpha = (2p - 1)^2 in the limit.
    rng = np.random.default_rng(7)
    inside = 0
    for _ in range(200):
        truth = rng.integers(0, 2, 200)
        given_labels = np.stack([truth ^ (rng.random(200) < 0.1) for _ in range(2)], axis=1)
        found = alpha(of_matrix(given_labels, 2).counts(), draws=300)
        inside += found.low <= 0.64 <= found.high
    assert 0.90 <= inside / 200 <= 0.99


def test_the_interval_is_that_of_a_plain_loop_over_the_same_draws() -> None:
    counts = np.random.default_rng(3).multinomial(4, [0.2, 0.3, 0.5], 60)
    rng = np.random.default_rng(0)
    drawn = [counts[rng.integers(0, 60, 60)] for _ in range(200)]
    found = alpha(counts, draws=200)
    expected = np.percentile([alpha(sample, draws=0).value for sample in drawn], [2.5, 97.5])
    assert [found.low, found.high] == pytest.approx(expected.tolist(), abs=1e-9)


def test_single_precision_weights_give_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.random.default_rng(3).multinomial(7, [0.2, 0.3, 0.5], 9000)
    exact = alpha(counts, draws=100)
    monkeypatch.setattr(bootstrap, "_EXACT", 0)
    monkeypatch.setattr(bootstrap, "_BLOCK", 33)
    quick = alpha(counts, draws=100)
    assert quick.value == exact.value
    assert [quick.low, quick.high] == pytest.approx([exact.low, exact.high], abs=1e-7)


@given(
    npst.arrays(
        np.float64, st.tuples(st.integers(1, 4), st.integers(1, 30)), elements=st.floats(-1, 1) | st.just(math.nan)
    )
)
def test_percentiles_equal_numpys_and_leave_nan_out(values: Floats) -> None:
    low, high = bootstrap.percentiles(values)
    for row, a, b in zip(values, low, high, strict=True):
        known = row[~np.isnan(row)]
        expected = np.percentile(known, [2.5, 97.5]).tolist() if known.size else [math.nan, math.nan]
        assert [a, b] == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(matrices(labels=4), st.sampled_from(["linear", "quadratic"]))
def test_weighted_kappa_equals_scikit_learns(matrix: Ints, scheme: str) -> None:
    for pair in pairs(of_matrix(matrix, 4), scheme):
        a, b = matrix[:, int(pair.first[1:])], matrix[:, int(pair.second[1:])]
        both = (a != MISSING) & (b != MISSING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = cohen_kappa_score(a[both], b[both], weights=scheme, labels=[0, 1, 2, 3])
        assert pair.kappa == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_the_mean_kappa_moves_by_its_derivative() -> None:
    answers = of_matrix(np.random.default_rng(5).integers(MISSING, 3, (40, 4)), 3)
    rows = cohen.pair_rows(answers)
    figure = cohen.mean_kappa(rows, 1 - np.eye(3), np.arange(len(rows.shared)), 40)
    plain = np.mean([pair.kappa for pair in pairs(answers)])
    assert figure(np.ones((40, 1)))[0, 0] == pytest.approx(plain, abs=1e-12)
    step = 1e-6
    for task in range(5):
        weights = np.ones((40, 1))
        weights[task] += step
        ratio = [_weighted_kappa(rows, pair, weights[:, 0]) for pair in range(len(rows.shared))]
        assert (figure(weights)[0, 0] - plain) / step == pytest.approx((np.mean(ratio) - plain) / step, abs=1e-5)


def test_the_interval_of_a_pair_holds_its_kappa() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, (400, 1))
    answers = of_matrix(np.where(rng.random((400, 3)) < 0.8, truth, rng.integers(0, 3, (400, 3))), 3)
    rows = cohen.pair_rows(answers)
    bounds = cohen.intervals(rows, 1 - np.eye(3), np.arange(3), draws=500, seed=0)
    for pair, (low, high) in zip(pairs(answers), bounds, strict=True):
        assert low < pair.kappa < high
        assert 0.05 < high - low < 0.2


@given(matrices())
def test_cohens_kappa_equals_scikit_learns(matrix: Ints) -> None:
    for pair in pairs(of_matrix(matrix, 3)):
        a, b = matrix[:, int(pair.first[1:])], matrix[:, int(pair.second[1:])]
        both = (a != MISSING) & (b != MISSING)
        assert pair.shared == both.sum()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn warns where kappa is undefined
            expected = cohen_kappa_score(a[both], b[both])
        assert pair.kappa == pytest.approx(expected, abs=1e-9, nan_ok=True)


@given(matrices())
def test_confusion_counts_every_pair_of_annotators_once(matrix: Ints) -> None:
    table = confusion(of_matrix(matrix, 3).counts())
    expected = np.zeros((3, 3), dtype=int)
    for row in matrix:
        for a, b in itertools.combinations([label for label in row if label != MISSING], 2):
            expected[a, b] += 1
            expected[b, a] += a != b
    assert table.tolist() == expected.tolist()


def test_fleiss_needs_the_same_number_of_labels_for_every_task() -> None:
    assert math.isnan(fleiss_kappa(np.array([[2, 0], [1, 2]])))
    assert fleiss_kappa(np.array([[2, 0], [0, 2]])) == 1.0


def test_the_last_answer_of_an_annotator_counts() -> None:
    answers = Answers.tabulate([("t", "ann", "cat"), ("t", "ben", "dog"), ("t", "ann", "dog")], ("cat", "dog"))
    assert answers.counts().tolist() == [[0, 2]]


def _alpha_by_definition(matrix: Ints, apart: Floats = 1 - np.eye(3)) -> float | None:  # noqa: B008
    """1 - D_o / D_e, written as sums over pairs of values, as in Krippendorff (2004), 11.3."""
    units = [[int(v) for v in row if v != MISSING] for row in matrix]
    units = [unit for unit in units if len(unit) > 1]
    values = [v for unit in units for v in unit]
    n = len(values)
    if len(set(values)) < 2:
        return None
    observed = sum(sum(apart[a, b] for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in units) / n
    expected = sum(apart[a, b] for a, b in itertools.permutations(values, 2)) / (n * (n - 1))
    return float(1 - observed / expected)


def _weighted_kappa(rows: cohen.PairRows, pair: int, weights: Floats) -> float:
    mine = rows.pair == pair
    table = np.zeros((3, 3))
    np.add.at(table, (rows.one[mine], rows.other[mine]), weights[rows.task[mine]])
    n, by_chance = table.sum(), table.sum(axis=0) @ table.sum(axis=1)
    return float((n * np.trace(table) - by_chance) / (n * n - by_chance))
