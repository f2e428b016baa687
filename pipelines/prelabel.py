"""Predict what nobody has labeled yet, and offer the predictions to the annotators as proposals.

Only the train part of the pool is proposed for: validation, test and calibration stay blind. Predictions are rows that
stay, one for each model and image; a proposal never becomes a label by itself. Vectors and rows are written a shard at
a time: a killed run repeats one shard at most, and memory does not grow with the pictures.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from collector import splits
from collector.catalog import labels, models, pools
from collector.errors import ServiceDown, UsageError
from collector.records import Concept, Summary
from collector.workspace import Workspace
from labeling import push
from labeling.push import Band
from pipelines.config import PrelabelConfig
from pipelines.features import ID, stream
from pipelines.predict import Predictor, judged, load_model, model_run
from pipelines.zero_shot import zero_shot as guessing

CELLS = 500_000  # images x labels that are written at once


@dataclass(frozen=True, slots=True, kw_only=True)
class PrelabelSummary(Summary):
    """`predicted` unlabeled images carry a prediction of `model_run`, `fresh` of them since now, by `labels`.

    `wanted` of them have a score between `above` and `below`; `proposed` images are in Label Studio with a proposal of
    this model. `calibrated`: the scores are probabilities that were fitted to held-out answers.
    """

    model_run: str
    concept: str
    predicted: int
    fresh: int
    wanted: int
    proposed: int
    calibrated: bool
    labels: dict[str, int]


def prelabel(  # noqa: PLR0913  # one for each option of the command
    ws: Workspace,
    concept: str | None = None,
    *,
    run: str | None = None,
    limit: int | None = None,
    zero_shot: bool = False,
    above: float | None = None,
    below: float | None = None,
    device: str | None = None,
) -> PrelabelSummary:
    """Predict all unlabeled images with a finished run, and propose labels for at most `limit` more of them.

    Without a `limit`, `prelabel.limit` holds. Images that the model has judged before are not judged again. With
    `zero_shot` the pretrained network itself guesses, by its ImageNet classes: no label is needed.

    Args:
        ws: the workspace.
        concept: its name.
        run: the beginning of a run's id, instead of the newest finished one.
        limit: propose for at most so many more images.
        zero_shot: guess by ImageNet's classes.
        above: propose only labels with at least this score, the surest first: quick to confirm.
        below: propose only labels with at most this score: where an answer teaches most.
        device: instead of `train.device`.

    Raises:
        GateNotMet: nothing was trained yet.
        UsageError: no run is called so; or, for `zero_shot`, ImageNet has no class of the concept; or `above` is more
            than `below`; or there is no such device.
        ServiceDown: Label Studio does not answer; the predictions are saved, and the same command pushes them.
    """
    band = _band(above, below)
    described = ws.concept(concept)
    model: Predictor = guessing(ws, described) if zero_shot else load_model(ws, described.name, run)
    models.put_model_run(ws.catalog, model_run(model))
    splits.settle(ws, described)
    answered = _answered(ws, described)
    fresh = _predict(ws, described, model, answered, device)
    counts, wanted = _told(ws, described, model, answered, band)
    try:
        most = limit or ws.section(PrelabelConfig).limit or None
        proposed = push.propose(ws, described.name, model.version, limit=most, band=band)
    except ServiceDown as error:
        raise ServiceDown(f"{error.message}; {counts.total()} predictions are saved", hint=error.hint) from error
    return PrelabelSummary(
        model_run=model.version,
        concept=described.name,
        predicted=counts.total(),
        fresh=fresh,
        wanted=wanted,
        proposed=proposed.proposed,
        calibrated=model.calibrated,
        labels={label: counts[label] for label in described.labels},
        warnings=_doubts(model, above, below),
        next="collect label pull",
    )


def unlabeled(ws: Workspace, concept: Concept) -> list[str]:
    """The images of the train part of the pool that nobody has answered, sorted: an order that nobody chose."""
    splits.settle(ws, concept)
    answered = _answered(ws, concept)
    return [image for image, _ in pools.drawn(ws.catalog, concept.name, "train") if image not in answered]


def _answered(ws: Workspace, concept: Concept) -> set[str]:
    return {row.image for row in labels.current(ws.catalog, concept.name)}


def _band(above: float | None, below: float | None) -> Band:
    band = Band(0.0 if above is None else above, 1.0 if below is None else below)
    if not 0 <= band.above <= band.below <= 1:
        raise UsageError(
            f"no score is above {band.above} and below {band.below}", hint="scores go from 0 to 1, as in --above 0.9"
        )
    return band


def _predict(ws: Workspace, concept: Concept, model: Predictor, answered: set[str], device: str | None) -> int:
    """Judge the unlabeled images that the model has not judged; returns how many are new."""
    waiting = pools.drawn(ws.catalog, concept.name, "train", unsaid=model.version)
    missing = np.fromiter((image for image, _ in waiting if image not in answered), dtype=ID)
    at_once = max(1, CELLS // len(model.labels))
    fresh = done = 0
    for found, vectors in stream(ws, missing, model.backbone, device=device):
        for start in range(0, len(found), at_once):
            some = slice(start, start + at_once)
            rows = judged(model, found[some], vectors[some].astype(np.float32))
            fresh += models.add_predictions(ws.catalog, model.version, concept.name, rows)
        done += len(found)
        ws.progress("predicting", done, len(missing))
    return fresh


def _told(
    ws: Workspace, concept: Concept, model: Predictor, answered: set[str], band: Band
) -> tuple[Counter[str], int]:
    """How often the model said each label of unlabeled images, and how many of these scores are in the band."""
    counts, wanted = Counter[str](), 0
    for image, label, score in models.said(ws.catalog, model.version, concept.name, "train"):
        if image not in answered:
            counts[label] += 1
            wanted += band.holds(score)
    return counts, wanted


def _doubts(model: Predictor, above: float | None, below: float | None) -> tuple[str, ...]:
    if model.calibrated or (above is None and below is None):
        return ()
    return (
        "the scores of this model are not calibrated: of those at 0.9, more or fewer than nine in ten may be right; "
        "`collect train-baseline` calibrates where the calibration split is labeled",
    )
