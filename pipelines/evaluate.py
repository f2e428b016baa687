"""Measure a trained run on a split of its own snapshot; the test split is for the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from collector.catalog import consensus, pools
from collector.errors import GateNotMet, UsageError
from collector.records import Summary
from collector.workspace import Workspace
from labeling.agreement import pairwise_agreement
from labeling.ceiling import ceiling
from pipelines import metrics
from pipelines.calibrate import Floats, Ints
from pipelines.manifest import Manifest, find, read_manifest
from pipelines.predict import load_model


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured(Summary):
    """The figures of a run on one split.

    `human_ap` and `human_error` are the ceiling: one annotator's label as the score of what the others say, see
    `labeling.ceiling`. `human_agreement` is how often two annotators agree there.
    """

    run: str
    concept: str
    snapshot: str
    backbone: str
    split: str
    images: int
    ap: float
    ap_low: float
    ap_high: float
    human_ap: float | None
    ece: float
    brier: float
    nll: float
    threshold: float
    error: float
    human_error: float | None
    majority_error: float
    human_agreement: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateSummary(Measured):
    """`Measured`, and how often each label was taken for which: rows are the truth."""

    labels: list[str]
    confusion: list[list[int]]


def evaluate(
    ws: Workspace,
    concept: str | None = None,
    *,
    run: str | None = None,
    split: str = "test",
    fail_under: float | None = None,
) -> EvaluateSummary:
    """Measure the newest finished run of a concept, or `run`, on a split of the snapshot it was trained on.

    Raises:
        GateNotMet: AP is below `fail_under`, or nothing was trained yet, or the split is empty.
    """
    if split not in ("validation", "test"):
        raise UsageError(f"`{split}` is not a split to measure on", hint="use `validation` or `test`")
    name = ws.concept(concept).name
    model = load_model(ws, name, run)
    manifest = read_manifest(ws, find(ws, name, model.experiment.snapshot))
    rows = manifest.split(split)
    if not rows:
        raise GateNotMet(f"the {split} split of this snapshot is empty", hint="label more of it, then train again")
    probabilities = model.probabilities(ws, [row.image for row in rows])
    threshold = (model.experiment.metrics or {})["threshold"]
    draws = model.experiment.config["train"]["bootstrap"]
    found = figures(ws, manifest, split, probabilities, threshold=threshold, draws=draws)
    summary = EvaluateSummary(
        **pick(EvaluateSummary, found),
        run=model.experiment.run,
        concept=name,
        snapshot=model.experiment.snapshot,
        backbone=model.backbone.name,
        split=split,
        next="collect prelabel",
        warnings=no_width(found),
    )
    if fail_under is not None and summary.ap < fail_under:
        raise GateNotMet(
            f"AP on {split} is {summary.ap:.4f} [{summary.ap_low:.4f}, {summary.ap_high:.4f}], below {fail_under}",
            hint="label more, or try another `--backbone`",
        )
    return summary


def figures(
    ws: Workspace, manifest: Manifest, split: str, probabilities: Floats, *, threshold: float, draws: int
) -> dict[str, Any]:
    """Every figure of one split, `metrics.measure` and the people's own."""
    truth = truth_of(manifest, split)
    measured = metrics.measure(probabilities, truth, manifest.labels, threshold=threshold, draws=draws, seed=ws.seed)
    votes = votes_on(ws, manifest.concept, split, manifest.labels)
    reached = ceiling(votes)
    return {
        **measured,
        "human_ap": reached.ap if reached else None,
        "human_error": 1 - reached.accuracy if reached else None,
        "human_agreement": human_agreement(votes),
    }


def no_width(found: dict[str, Any]) -> tuple[str, ...]:
    """A sentence for an interval without width: a perfect ranking is no proof of a perfect classifier.

    0 of n seen allows up to 3/n unseen at 95 % (Hanley and Lippman-Hand, 1983).
    """
    if found["ap_low"] < 1:
        return ()
    n = min(sum(row) for row in found["confusion"])
    return (
        f"every image is ranked right, so the bootstrap interval has no width; with {n} images of the smaller class, "
        f"up to {min(1.0, 3 / n):.0%} of such images could still be ranked wrong: label more to know",
    )


def truth_of(manifest: Manifest, split: str) -> Ints:
    """The true labels of a split, as indices into the labels of the manifest."""
    place = {label: k for k, label in enumerate(manifest.labels)}
    return np.array([place[row.label] for row in manifest.split(split)], dtype=np.int64)


def votes_on(ws: Workspace, concept: str, split: str, labels: Sequence[str] = ()) -> Ints:
    """The votes on the images of a split, images x labels; labels that the concept does not have come last.

    Ties count, though no snapshot holds them: without them people would look as if they never disagreed.
    """
    home = pools.splits(ws.catalog, concept)
    votes = [row.votes for row in consensus.settled(ws.catalog, concept) if home.get(row.image) == split]
    names = [*labels, *sorted({label for vote in votes for label in vote} - set(labels))]
    counts = np.array([[vote.get(label, 0) for label in names] for vote in votes], dtype=np.int64)
    return counts.reshape(len(votes), len(names))


def human_agreement(votes: Ints) -> float | None:
    """How often two annotators gave one image the same label; None where no image has two labels."""
    found = pairwise_agreement(votes, draws=1)
    return found.value if found.tasks else None


def pick(model: type[Summary], found: dict[str, Any]) -> dict[str, Any]:
    """Those of the figures that are fields of a summary."""
    return {field.name: found[field.name] for field in dataclasses.fields(model) if field.name in found}
