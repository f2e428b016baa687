"""All figures of a table at once: against loops over the same rows, and what the sentences say of planted faults."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.errors import GateNotMet, UsageError
from labeling.advice import effort, gate
from labeling.agreement import Answers, alpha, pairs, pairwise_agreement
from labeling.measure import Measured, Options, Row, measure, words
from labeling.measured import Person
from tests.labeling.crowds import dogs

FEW = Options(draws=20)
LABELS = ("cat", "dog", "owl")


def crowd(seed: int = 0, tasks: int = 300, skills: Sequence[float] = (0.9, 0.9, 0.9, 0.9)) -> list[Row]:
    """Annotators `a0`, `a1`, ... who are right that often and else give any label; in order of time."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, tasks)
    rows = []
    for t, right in enumerate(truth):
        for j, skill in enumerate(skills):
            label = LABELS[right if rng.random() < skill else rng.integers(0, 3)]
            at = f"2026-01-01T{t // 60:02}:{t % 60:02}:00Z"
            rows.append(Row(f"t{t:03}", f"a{j}", label, truth=LABELS[right], at=at))
    return rows


def person(found: Measured, name: str) -> Person:
    return next(one for one in found.people if one.name == name)


RAGGED = st.lists(
    st.tuples(st.sampled_from("tuvwx"), st.sampled_from("abc"), st.sampled_from([*LABELS, None])), max_size=30
)


@settings(max_examples=40)
@given(RAGGED)
def test_each_annotator_is_measured_as_by_a_loop_over_the_rows(given_rows: list[tuple[str, str, str | None]]) -> None:
    found = measure([Row(*row) for row in given_rows], LABELS, options=FEW)
    latest = {(task, name): label for task, name, label in given_rows}
    for one in found.people:
        compared = agreed = 0
        for (task, name), label in latest.items():
            others = Counter(b for (t, other), b in latest.items() if t == task and other != name and b is not None)
            top = [b for b, n in others.items() if n == max(others.values())]
            if name == one.name and label is not None and len(top) == 1:
                compared += 1
                agreed += top == [label]
        assert one.compared == compared
        assert one.agreement.value == pytest.approx(agreed / compared if compared else math.nan, nan_ok=True)
        rest = Answers.tabulate([(t, name, b) for (t, name), b in latest.items() if name != one.name], LABELS)
        expected = alpha(rest.counts(), draws=0).value
        assert one.alpha_without.value == pytest.approx(expected, abs=1e-9, nan_ok=True)


@settings(max_examples=25)
@given(RAGGED, st.randoms())
def test_the_order_of_rows_does_not_matter(given_rows: list[tuple[str, str, str | None]], random: object) -> None:
    unique = list({row[:2]: Row(*row) for row in given_rows}.values())
    shuffled = unique.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    a, b = measure(unique, LABELS, options=FEW), measure(shuffled, LABELS, options=FEW)
    for name in ("alpha", "percent", "cohen", "entropy", "by_label", "people", "pairs", "confusions", "warnings"):
        assert repr(getattr(a, name)) == repr(getattr(b, name))


def test_an_annotator_is_compared_with_the_others_not_with_himself() -> None:
    # t0: ann against the two others; t1: for ann the others tie, so nothing is compared; t2: nobody else.
    said = [("t0", "ann", "cat"), ("t0", "ben", "dog"), ("t0", "cyd", "dog"), ("t2", "ann", "cat")]
    said += [("t1", "ann", "cat"), ("t1", "ben", "cat"), ("t1", "cyd", "dog")]
    times = iter([0.2, 4.0, 999.0])
    rows = [Row(*each, seconds=next(times) if each[1] == "ann" else None) for each in said]
    found = measure([*rows, Row("t3", "ann", None)], options=Options(draws=20, cap_s=10.0))
    ann, ben = person(found, "ann"), person(found, "ben")
    assert (ann.answers, ann.compared, ann.agreement.value) == (3, 1, 0.0)
    assert (ann.seconds, ann.fast, ann.unsure) == (4.0, 1, 0.25)
    assert ben.compared == 0  # for ben, the others tie in both
    assert "nobody else decided" in ben.agreement.reason
    assert math.isnan(ben.seconds)


def test_an_ordinal_scale_of_words_needs_their_order() -> None:
    with pytest.raises(UsageError, match="from low to high"):
        measure(crowd(), level="ordinal")
    numbers = [Row("t", "a", "2"), Row("t", "b", "10"), Row("u", "a", "1"), Row("u", "b", "1")]
    assert measure(numbers, level="ordinal", options=FEW).answers.labels == ("1", "2", "10")


def test_headline_figures_are_those_of_the_single_functions() -> None:
    rows = crowd()
    found = measure(rows)
    answers = Answers.tabulate([row[:3] for row in rows])
    assert found.alpha == alpha(answers.counts())
    assert found.pairwise == pairwise_agreement(answers.counts())
    assert [pair.kappa for pair in found.pairs] == [pair.kappa for pair in pairs(answers)]
    assert found.cohen.value == pytest.approx(np.mean([pair.kappa for pair in found.pairs]))
    for name in ("alpha", "percent", "unanimous", "fleiss", "randolph", "cohen", "entropy"):
        figure = getattr(found, name)
        assert figure.low < figure.value < figure.high
    for pair in found.pairs:
        assert pair.low < pair.kappa < pair.high


def test_weighted_kappas_come_with_an_order_of_labels() -> None:
    nominal, ordinal = measure(crowd(), LABELS, options=FEW), measure(crowd(), LABELS, level="ordinal", options=FEW)
    assert math.isnan(nominal.pairs[0].linear)
    assert ordinal.pairs[0].kappa == ordinal.pairs[0].linear
    assert ordinal.pairs[0].linear != ordinal.pairs[0].quadratic
    assert ordinal.alpha.value != nominal.alpha.value


def test_sets_of_labels_are_compared_by_how_much_they_share() -> None:
    # MASI: {a} against {a, b} is 1 - 1/2 x 2/3 = 2/3; both orders of writing are one set.
    rows = [Row("t", "x", "a"), Row("t", "y", "b|a"), Row("u", "x", "a|b"), Row("u", "y", "a|b")]
    found = measure(rows, ("a", "b"), several=True, options=FEW)
    assert found.answers.labels == ("a", "a|b")
    # observed: one pair of two, 2/3; expected: 1 {a} and 3 {a, b} among 4, so 3 of 6 pairs differ by 2/3.
    assert found.alpha.value == pytest.approx(1 - (2 / 3 / 2) / (2 / 3 * 3 / 6))
    assert found.by_label["b"].value == pytest.approx(found.alpha.value)
    assert "nobody gave" not in found.by_label["b"].reason
    assert math.isnan(found.by_label["a"].value)  # everybody gave it each time


def test_answers_to_the_truth_are_counted_for_each_annotator_and_method() -> None:
    rows = crowd(skills=(0.95, 0.95, 0.4))
    found = measure(rows, options=Options(method="dawid-skene"))
    for name in ("a0", "a2"):
        mine = [row for row in rows if row.annotator == name]
        assert person(found, name).right.value == pytest.approx(np.mean([row.label == row.truth for row in mine]))
    assert found.accuracy["answers"].value == pytest.approx(np.mean([row.label == row.truth for row in rows]))
    assert found.accuracy["dawid-skene"].value > found.accuracy["majority"].value
    assert found.accuracy["majority"].low < found.accuracy["majority"].value < found.accuracy["majority"].high


@pytest.mark.realdata
def test_the_dogs_have_the_reference_accuracies() -> None:
    answers, truth = dogs()
    rows = [
        Row(answers.tasks[t], answers.annotators[a], answers.labels[k], truth=truth[answers.tasks[t]])
        for t, a, k in zip(answers.task, answers.annotator, answers.label, strict=True)
    ]
    found = measure(rows, options=Options(method="dawid-skene"))
    assert found.accuracy["answers"].value == pytest.approx(0.696406, abs=1e-6)
    assert found.accuracy["dawid-skene"].value == pytest.approx(680 / 807)
    assert found.accuracy["majority"].value == pytest.approx(639 / 807)  # its 50 ties stay open
    assert found.unanimous.value == pytest.approx(0.101610905, abs=1e-9)
    assert found.cohen.value == pytest.approx(0.506232915, abs=1e-9)  # of the 546 pairs with 20 shared or more


def test_agreement_is_told_apart_by_guideline() -> None:
    first, second = crowd(1, 100, (0.6, 0.6, 0.6)), crowd(2, 100, (0.95, 0.95, 0.95))
    rows = [row._replace(guideline="v1") for row in first]
    rows += [row._replace(task="z" + row.task, guideline="v2") for row in second]
    found = measure(rows)
    for name, part in (("v1", first), ("v2", second)):
        assert found.guidelines[name].value == pytest.approx(measure(part, options=FEW).alpha.value)
        assert found.guidelines[name].tasks == 100
    assert found.guidelines["v1"].high < found.guidelines["v2"].low


def test_whoever_tires_is_seen_to_drift() -> None:
    fresh, tired = crowd(1, 300, (0.95, 0.95, 0.95, 0.95)), crowd(1, 300, (0.95, 0.95, 0.95, 0.1))
    both = zip(fresh, tired, strict=True)
    rows = [row if int(row.task[1:]) < 150 or row.annotator != "a3" else late for row, late in both]
    found = measure(rows, LABELS)
    worse = person(found, "a3")
    assert len(worse.windows) == 10
    assert worse.windows[0].begins == "2026-01-01T00:00:00+00:00"
    assert worse.windows[0].agreement.value > 0.8 > 0.6 > worse.windows[-1].agreement.value
    assert worse.drift.high < 0
    assert worse.drift.value == pytest.approx(worse.windows[-1].agreement.value - worse.windows[0].agreement.value)
    assert abs(person(found, "a0").drift.value) < 0.2
    assert any(line.startswith("a3 drifts") for line in words(found))


def test_proposals_that_are_taken_over_unread_are_measured() -> None:
    rows = []
    for row in crowd(3, 400, (0.7, 0.7, 0.7)):
        shown = int(row.task[1:]) % 2 == 0
        kept = shown and row.annotator != "a2"
        rows.append(
            row._replace(
                label=row.truth if kept else row.label, proposal=row.truth if shown else None, kept=kept or None
            )
        )
    found = measure(rows, LABELS)
    assert person(found, "a0").anchoring.accepted.value == 1.0
    assert person(found, "a2").anchoring.accepted.value < 0.9  # not said: kept where the answer is the proposal
    assert found.anchoring.shown.value > found.anchoring.blank.value
    assert found.anchoring.change.low > 0
    assert any("Proposals pull answers" in line for line in words(found))
    assert any("given with a proposal shown" in line for line in found.warnings)


def test_sentinels_count_for_nothing_but_themselves() -> None:
    plain = crowd(4, 60)
    wrong = [Row(f"s{i}", "a0", "dog", sentinel="cat", proposal="dog") for i in range(3)]
    resisted = [Row("s9", "a0", "cat", sentinel="cat", proposal="dog"), Row("s8", "a0", "owl", sentinel="owl")]
    found, without = measure([*plain, *wrong, *resisted], LABELS, options=FEW), measure(plain, LABELS, options=FEW)
    assert found.alpha == without.alpha
    assert found.answers.tasks == without.answers.tasks
    assert person(found, "a0").sentinels.value == 1.0
    assert (person(found, "a0").anchoring.resisted.value, person(found, "a0").anchoring.resisted.tasks) == (0.25, 4)
    assert person(found, "a1").sentinels.reason
    assert any("wrong proposal was planted, 25%" in line for line in words(found))


def test_the_last_answer_counts_and_a_warning_says_how_many_were_replaced() -> None:
    rows = [Row("t", "ann", "cat"), Row("t", "ben", "dog"), Row("t", "ann", "dog")]
    found = measure(rows, options=FEW)
    assert found.counts.tolist() == [[0, 2]]
    assert any("1 answers were given again" in line for line in found.warnings)
    late = [Row("t", "ann", "cat", at="2026-01-02T00:00:00Z"), Row("t", "ann", "dog", at="2026-01-01T23:00:00-02:00")]
    assert measure(late, LABELS, options=FEW).counts.tolist() == [[0, 1, 0]]  # 01:00 the day after, elsewhere


def test_warnings_name_what_weakens_the_figures() -> None:
    rows = [Row("t", "ann", "cat", truth="cat", at="noon"), Row("t", "ben", "cow", truth="cow")]
    rows += [Row(f"u{i}", "ann", "cat") for i in range(9)]
    found = " ".join(measure(rows, LABELS, options=FEW).warnings)
    for part in ("only 1 images", "ann gave 91%", "does not have: cow", "1 times", "truth of 1 images"):
        assert part in found


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "two annotators"),
        ([Row("t", "ann", None)], "two annotators"),
        ([Row("t", "ann", "cat"), Row("u", "ann", "dog")], "two annotators"),
        ([Row("t", "ann", "cat"), Row("u", "ben", "dog")], "two annotators"),
        ([Row("t", "ann", "cat"), Row("t", "ben", "cat")], "only one label"),
    ],
)
def test_undefined_is_nan_with_a_reason_and_never_one(rows: list[Row], reason: str) -> None:
    found = measure(rows, options=FEW)
    assert math.isnan(found.alpha.value)
    assert reason in found.alpha.reason
    assert reason in found.fleiss.reason
    assert math.isnan(found.cohen.value)
    assert "cannot be told" in words(found)[0]
    with pytest.raises(GateNotMet, match="undefined"):
        gate(found.alpha, 0.0)


def test_the_words_name_the_flipper_the_spammer_and_nobody_else() -> None:
    rng = np.random.default_rng(1)
    swap = dict(zip(LABELS, ("dog", "owl", "cat"), strict=True))
    rows = crowd(5, 300, (0.9,) * 6)
    for i, row in enumerate(rows):
        if row.annotator == "a4":
            rows[i] = row._replace(label=swap[row.label or ""])
        if row.annotator == "a5":
            rows[i] = row._replace(label=LABELS[rng.integers(0, 3)])
    found = measure(rows)
    said = [line for line in words(found) if line.startswith("Look at")]
    assert len(said) == 2
    flipper, spammer = sorted(said)
    assert "answers of a4" in flipper
    assert "systematic" in flipper
    assert "answers of a5" in spammer
    assert "at random" in spammer
    assert person(found, "a4").information > 0.5 > 0.05 > person(found, "a5").information


def test_the_words_judge_alpha_by_its_interval() -> None:
    assert "is well defined" in words(measure(crowd(skills=(0.98,) * 4)))[0]
    assert "is usable" in words(measure(crowd(tasks=600, skills=(0.9,) * 4)))[0]
    assert "is not well defined" in words(measure(crowd(skills=(0.5,) * 4)))[0]
    assert "label more images twice" in words(measure(crowd(tasks=25, skills=(0.92, 0.92))))[0]


def test_what_is_open_is_counted_and_priced_in_measured_time() -> None:
    rows = [Row(f"t{i}", name, label, seconds=3600.0) for i in range(3) for name, label in (("a", "cat"), ("b", "dog"))]
    rows += [Row("u", name, "cat", seconds=40.0) for name in "abc"]
    left = effort(measure(rows, options=Options(draws=20, cap_s=60.0)))
    assert (left.ties, left.blank, left.answers) == (3, 0, 3)
    assert left.hours == pytest.approx(3 * 60 / 3600)
    assert "3 minutes at a median of 60.0 s" in words(measure(rows, options=Options(draws=20, cap_s=60.0)))[-1]
