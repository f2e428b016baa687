"""Heads and what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from collector.catalog.models import Experiment, over
from collector.errors import CollectError, UsageError
from collector.workspace import Workspace
from pipelines.backbones import Classic, load_backbone
from pipelines.predict import LISTED, Head, Model, judged, load_model
from pipelines.snapshot import snapshot
from pipelines.train import train_baseline
from tests.pipelines.labeled import collect, label_all


def head(temperature: float = 1.0) -> Head:
    rng = np.random.default_rng(0)
    size = Classic.dimension
    return Head(
        ("horse", "zebra", "none"),
        rng.normal(size=(3, size)),
        rng.normal(size=3),
        rng.normal(size=size),
        rng.uniform(1, 2, size),
        temperature,
    )


def vectors(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(1).normal(size=(count, Classic.dimension)).astype(np.float32)


def model(temperature: float) -> Model:
    run = Experiment("0123456789abcdef", "horse", "", "finished", {}, {}, "", "", None)
    return Model(run, load_backbone("classic"), head(temperature))


def test_a_head_is_the_same_after_it_was_kept(tmp_path: Path) -> None:
    head(1.7).save(tmp_path / "head.safetensors")
    again = Head.load(tmp_path / "head.safetensors")
    assert (again.labels, again.temperature) == (("horse", "zebra", "none"), 1.7)
    assert (again.probabilities(vectors(5)) == head(1.7).probabilities(vectors(5))).all()


@pytest.mark.parametrize("harm", ["gone", "cut", "no labels"])
def test_a_damaged_head_names_the_command_that_makes_it_again(harm: str, tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    head().save(path)
    if harm == "gone":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        save_file({"weights": np.zeros(3)}, path)
    with pytest.raises(CollectError, match="cannot be read") as caught:
        Head.load(path)
    assert "collect train-baseline" in caught.value.hint


def test_a_prediction_is_the_likeliest_label_and_all_probabilities() -> None:
    found = judged(model(1.0), list("abcd"), vectors(4))
    probabilities = head().probabilities(vectors(4))
    for row, expected in zip(found, probabilities, strict=True):
        assert row.label == head().labels[int(expected.argmax())]
        assert row.score == row.probabilities[row.label] == max(row.probabilities.values())
        np.testing.assert_allclose(list(row.probabilities.values()), expected, atol=1e-6)
        json.dumps(row.probabilities)


def test_of_a_thousand_labels_a_prediction_lists_the_likeliest_and_the_rest_of_one_is_shared() -> None:
    rng = np.random.default_rng(0)
    names = tuple(f"a label of some length {k}" for k in range(1000))
    wide = replace(head(), labels=names, weights=rng.normal(size=(1000, Classic.dimension)) / 30, bias=np.zeros(1000))
    found = judged(replace(model(1.0), head=wide), list("abcd"), vectors(4))
    for row, expected in zip(found, wide.probabilities(vectors(4)), strict=True):
        likeliest = np.argsort(-expected)[:LISTED]
        assert list(row.probabilities) == [names[k] for k in likeliest]
        assert (row.label, row.score) == (names[likeliest[0]], round(expected.max(), 6))
        whole = np.array(over(row.probabilities, names))
        np.testing.assert_allclose(whole[likeliest], expected[likeliest], atol=1e-6)
        assert whole.sum() == pytest.approx(1)
        assert len(json.dumps(row.probabilities)) < 1000  # all labels would be 40 kB for each image


def test_a_temperature_cools_scores_and_moves_no_label() -> None:
    plain, cooled = judged(model(1.0), list("abcd"), vectors(4)), judged(model(30.0), list("abcd"), vectors(4))
    assert [row.label for row in plain] == [row.label for row in cooled]
    assert all(cool.score < row.score for row, cool in zip(plain, cooled, strict=True))
    assert (model(1.0).calibrated, model(30.0).calibrated) == (False, True)


def test_weights_that_moved_with_the_workspace_are_found(ws: Workspace) -> None:
    found = collect(ws)
    label_all(ws, found)
    run = train_baseline(ws, snapshot(ws, "horse"), backbone="classic")
    loaded = load_model(ws, "horse", run.run[:4])
    assert loaded.run == run.run
    assert loaded.probabilities(ws, sorted(found)[:3]).shape == (3, 2)
    with pytest.raises(UsageError, match="no finished run"):
        load_model(ws, "horse", "zzzz")
