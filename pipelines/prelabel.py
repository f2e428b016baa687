"""Predict what nobody has labeled yet, and offer the predictions to the annotators as proposals.

Only the train part of the pool is proposed for: validation and test stay blind. Predictions are rows that stay, one for
each model and image; a proposal never becomes a label by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collector import splits
from collector.catalog import labels, models
from collector.errors import ServiceDown
from collector.records import Concept, Summary
from collector.workspace import Workspace
from labeling import push
from pipelines.config import PrelabelConfig
from pipelines.features import features
from pipelines.predict import Predictor, judged, load_model, model_run
from pipelines.zero_shot import zero_shot as guessing

CHUNK = 8192  # images predicted between two commits


@dataclass(frozen=True, slots=True, kw_only=True)
class PrelabelSummary(Summary):
    """`predicted` unlabeled images carry a prediction of `model_run`, `fresh` of them since now, by `labels`.

    `proposed` images are in Label Studio with a proposal of this model.
    """

    model_run: str
    concept: str
    predicted: int
    fresh: int
    proposed: int
    labels: dict[str, int]


def prelabel(
    ws: Workspace,
    concept: str | None = None,
    *,
    run: str | None = None,
    limit: int | None = None,
    zero_shot: bool = False,
) -> PrelabelSummary:
    """Predict all unlabeled images with a finished run, and propose labels for at most `limit` more of them.

    Without a `limit`, `prelabel.limit` holds. Images that the model has judged before are not judged again. With
    `zero_shot` the pretrained network itself guesses, by its ImageNet classes: no label is needed.

    Raises:
        GateNotMet: nothing was trained yet.
        UsageError: no run is called so; or, for `zero_shot`, ImageNet has no class of the concept.
        ServiceDown: Label Studio does not answer; the predictions are saved, and the same command pushes them.
    """
    described = ws.concept(concept)
    model: Predictor = guessing(ws, described) if zero_shot else load_model(ws, described.name, run)
    models.put_model_run(ws.catalog, model_run(model))
    wanted = unlabeled(ws, described)
    known = labels.guesses(ws.catalog, described.name, model.version)
    fresh = _predict(ws, described, model, [image for image in wanted if image not in known])
    known = labels.guesses(ws.catalog, described.name, model.version)
    said = [known[image].label for image in wanted]
    try:
        most = limit or ws.section(PrelabelConfig).limit or None
        proposed = push.propose(ws, described.name, model.version, limit=most).proposed
    except ServiceDown as error:
        raise ServiceDown(f"{error.message}; {len(said)} predictions are saved", hint=error.hint) from error
    return PrelabelSummary(
        model_run=model.version,
        concept=described.name,
        predicted=len(said),
        fresh=fresh,
        proposed=proposed,
        labels={label: said.count(label) for label in described.labels},
        next="collect label pull",
    )


def unlabeled(ws: Workspace, concept: Concept) -> list[str]:
    """The images of the train part of the pool that nobody has answered, sorted: an order that nobody chose."""
    answered = {row.image for row in labels.current(ws.catalog, concept.name)}
    home = splits.draw(ws, concept)
    return sorted(image for image, name in home.items() if name == "train" and image not in answered)


def _predict(ws: Workspace, concept: Concept, model: Predictor, images: Sequence[str]) -> int:
    fresh = 0
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK]
        found = judged(model, chunk, features(ws, chunk, model.backbone))
        fresh += models.add_predictions(ws.catalog, model.version, concept.name, found)
        ws.progress("predicting", start + len(chunk), len(images))
    return fresh
