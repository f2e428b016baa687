from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, fisher_exact
from sklearn.metrics import average_precision_score

from pipelines.manifest import ManifestRow
from pipelines.metrics import Sample, decide
from pipelines.slices import MOST, OTHERS, fisher, slices, wilson

LABELS = ("horse", "not-horse")


def row(**facts: object) -> ManifestRow:
    """A row of a manifest of which nothing matters but `facts`."""
    standing: dict[str, object] = dict.fromkeys(ManifestRow._fields, "")
    usual = {"license": "by", "license_version": "4.0", "width": 0, "height": 0}
    return ManifestRow(**(standing | usual | facts))  # type: ignore[arg-type]


@dataclass
class Made:
    rows: list[ManifestRow]
    sample: Sample
    wrong: np.ndarray

    def figures(self) -> list[dict[str, Any]]:
        return slices(self.rows, self.sample, self.wrong, draws=100, seed=0)


def made(sources: list[str], seed: int = 0, bad: str = "") -> Made:
    """Images of these sources; on those of `bad` the model guesses."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, len(sources))
    score = np.clip(rng.normal(0.75 - 0.5 * truth, 0.12), 0.01, 0.99)
    score = np.where(np.array(sources) == bad, rng.random(len(sources)), score)
    probabilities = np.stack([score, 1 - score], axis=1)
    rows = [row(source=source, label=LABELS[k], tier="given") for source, k in zip(sources, truth, strict=True)]
    return Made(rows, Sample(LABELS, probabilities, truth), decide(probabilities, 0.5) != truth)


def test_a_slice_has_the_figures_of_its_images_alone() -> None:
    of = made(["openverse"] * 60 + ["wikimedia"] * 80)
    found = {row["name"]: row for row in of.figures() if row["by"] == "source"}
    here = np.array([each.source == "wikimedia" for each in of.rows])
    wiki = found["wikimedia"]
    truth, score = of.sample.truth[here], of.sample.probabilities[here, 0]
    assert wiki["images"] == 80
    assert wiki["positives"] == (truth == 0).sum()
    assert wiki["error"] == pytest.approx(of.wrong[here].mean())
    assert wiki["ap"] == pytest.approx(average_precision_score(truth == 0, score))
    outside = of.wrong[~here]
    table = [[of.wrong[here].sum(), (~of.wrong[here]).sum()], [outside.sum(), (~outside).sum()]]
    family = of.figures()
    assert wiki["p"] == pytest.approx(min(1, fisher_exact(table, alternative="greater").pvalue * len(family)), rel=1)


def test_the_slice_where_the_model_guesses_comes_first_and_is_called_worse() -> None:
    of = made(["openverse"] * 200 + ["phone"] * 60 + ["wikimedia"] * 200, bad="phone")
    first = of.figures()[0]
    assert (first["by"], first["name"], first["worse"]) == ("source", "phone", True)
    assert first["error_low"] < first["error"] < first["error_high"]


def test_chance_alone_is_rarely_called_worse_though_many_slices_are_looked_at() -> None:
    rng = np.random.default_rng(5)
    called = 0
    for seed in range(15):
        of = made([f"source {k}" for k in rng.integers(0, 10, 300)], seed)
        called += any(row["worse"] for row in of.figures() if row["by"] == "source")
    assert called <= 3


def test_a_slice_without_positives_or_with_nothing_else_says_so() -> None:
    of = made(["openverse"] * 50 + ["wikimedia"] * 50)
    found = {row["name"]: row for row in of.figures() if row["by"] == "label"}
    assert found["horse"]["ap"] is None
    assert found["horse"]["reason"] == "every image is `horse`"
    assert found["not-horse"]["positives"] == 0
    assert found["not-horse"]["reason"] == "every image is `not-horse`"


def test_small_slices_are_marked_and_come_last() -> None:
    found = made(["openverse"] * 90 + ["phone"] * 5, bad="phone").figures()
    small = [row["small"] for row in found]
    assert small == sorted(small)
    assert next(row for row in found if row["name"] == "phone")["small"]


def test_rare_values_are_one_slice_and_every_image_is_in_one() -> None:
    of = made([f"source {k % 35}" for k in range(350)])
    found = [row for row in of.figures() if row["by"] == "source"]
    assert len(found) == MOST + 1
    assert OTHERS in {row["name"] for row in found}
    assert sum(row["images"] for row in found) == 350


def test_of_a_thousand_rare_labels_no_slice_is_made_and_of_one_source_none_twice() -> None:
    rng = np.random.default_rng(0)
    names, truth = tuple(f"label {k}" for k in range(1000)), rng.integers(0, 1000, 3000)
    sample = Sample(names, rng.dirichlet(np.ones(1000), 3000), truth)
    wrong = decide(sample.probabilities, 0.5) != truth
    rows = [row(source="folder", label=names[k], tier=("near", "far")[k % 2]) for k in truth]
    assert {each["by"] for each in slices(rows, sample, wrong, draws=100, seed=0)} == {"tier"}
    truth[:40] = 7
    rows = [row(source="folder", label=names[k], tier="near") for k in truth]
    found = slices(rows, sample, wrong, draws=100, seed=0)
    assert {each["by"] for each in found} == {"label"}
    assert next(each for each in found if each["name"] == "label 7")["images"] >= 40
    assert sum(each["images"] for each in found) == 3000


def test_sizes_are_told_by_the_shorter_side() -> None:
    of = made(["openverse"] * 80)
    of.rows = [each._replace(width=300 + 3000 * (k % 2), height=200 + 2000 * (k % 2)) for k, each in enumerate(of.rows)]
    assert {row["name"] for row in of.figures() if row["by"] == "size"} == {"under 256 px", "2048 px or more"}


def test_a_kind_with_one_value_is_no_slice() -> None:
    assert {row["by"] for row in made(["openverse"] * 40).figures()} == {"label"}


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 300), st.integers(0, 300))
def test_the_chance_of_so_many_errors_is_fishers(errors: int, right: int, others: int, rest: int) -> None:
    if errors + right:
        expected = fisher_exact([[errors, right], [others, rest]], alternative="greater").pvalue
        found = fisher(errors, errors + right, errors + others, errors + right + others + rest)
        assert found == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_interval_of_a_share_is_wilsons(found: int, more: int) -> None:
    if found + more:
        expected = binomtest(found, found + more).proportion_ci(method="wilson")
        assert wilson(found, found + more) == pytest.approx((expected.low, expected.high), abs=1e-9)
