"""Which negatives may show the concept after all, and how many more of them there can be.

A negative is suspect when it is as near to a positive as positives are to each other, when a trained model calls it the
concept, when its name can mean the concept, or, where people are asked for, when it shows a face. Suspects go to people
first. What people have seen of the negatives bounds the share of those that nobody has looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collector.catalog import consensus, models, pools, suspects
from collector.catalog.pools import PoolRow
from collector.catalog.suspects import Suspect
from collector.errors import CollectError
from collector.negatives.meaning import understood
from collector.negatives.step import FACE, faces
from collector.records import Concept, Summary
from collector.workspace import Workspace
from pipelines.backbones import Backbone, chosen, load_backbone
from pipelines.calibrate import Floats
from pipelines.features import features
from pipelines.metrics import at_most
from pipelines.predict import Model, load_model

USUAL = 5  # percent of the positives may be further from their nearest than a negative must be
ROWS = 1024  # vectors compared at once with all others
LIMIT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ContaminationSummary(Summary):
    """`flagged` of the `unseen` negatives (nobody has judged them) look like the concept; `suspects` were written down.

    `threshold` is the similarity from which on a negative is flagged. People judged `inspected` negatives, of which
    `contaminated` show the concept; with 95 % confidence at most the share `bound` of the unseen ones does.
    """

    concept: str
    backbone: str
    run: str
    positives: int
    unseen: int
    flagged: int
    suspects: int
    threshold: float
    inspected: int
    contaminated: int
    bound: float


def contamination(
    ws: Workspace,
    concept: str | None = None,
    *,
    run: str | None = None,
    backbone: str | None = None,
    weights: str | Path | None = None,
    limit: int = LIMIT,
) -> ContaminationSummary:
    """Rank the negatives that may show the concept, and write down the first `limit` of them for the next push.

    Args:
        ws: the workspace.
        concept: its name.
        run: the beginning of a finished run, instead of the newest one.
        backbone: what to compare pictures with where nothing was trained yet, instead of `train.backbone`.
        weights: a state dict of that backbone.
        limit: how many suspects to write down at most.

    Raises:
        CollectError: the pool holds fewer than two positives, or the extra `train` is missing.
    """
    about = ws.concept(concept)
    model = load_model(ws, about.name, run) if run or models.find_finished(ws.catalog, about.name) else None
    extractor = model.backbone if model else load_backbone(*chosen(ws, backbone, weights))
    positives, unseen = _sides(ws, about)
    if len(positives) < 2:
        raise CollectError(
            f"the pool of `{about.name}` holds {len(positives)} positives, and nothing can be compared with them",
            hint=f"`collect crawl {about.name}` finds some",
        )
    shown = faces(ws) if understood(ws, about, needed=False).is_human else set()
    found, threshold = _suspects(ws, positives, unseen, extractor, model, shown)
    ambiguous = {row.image for row in unseen if "ambiguous" in row.checks}  # people look at all of them
    listed = [each for k, each in enumerate(found) if k < limit or each.image in ambiguous | shown]
    suspects.put(ws.catalog, about.name, listed)
    inspected, contaminated = judged(ws, about)
    return ContaminationSummary(
        concept=about.name,
        backbone=extractor.name,
        run=model.experiment.run if model else "",
        positives=len(positives),
        unseen=len(unseen),
        flagged=len(found),
        suspects=len(listed),
        threshold=threshold,
        inspected=inspected,
        contaminated=contaminated,
        bound=at_most(contaminated, inspected),
        next=f"collect label push {about.name}",
        warnings=_warnings(extractor, len(found), len(unseen), inspected),
    )


def judged(ws: Workspace, about: Concept) -> tuple[int, int]:
    """How many of the pool's negatives people have settled, and how many of those they call the concept."""
    negatives = {row.image for row in pools.members(ws.catalog, about.name) if row.role == "negative"}
    said = [row.label for row in consensus.settled(ws.catalog, about.name) if row.image in negatives and row.label]
    return len(said), sum(label != about.negative for label in said)


def nearest(
    queries: NDArray[np.float32], among: NDArray[np.float32], *, same: bool = False
) -> tuple[NDArray[np.int64], Floats]:
    """For each row of `queries` the row of `among` with the largest cosine, and that cosine.

    With `same` both are the same vectors, and none is its own nearest.
    """
    first, second = _unit(queries), _unit(among)
    places, cosines = np.zeros(len(first), dtype=np.int64), np.zeros(len(first))
    for start in range(0, len(first), ROWS):
        block = first[start : start + ROWS] @ second.T
        if same:
            block[np.arange(len(block)), np.arange(start, start + len(block))] = -np.inf
        places[start : start + ROWS] = block.argmax(axis=1)
        cosines[start : start + ROWS] = block.max(axis=1)
    return places, cosines


def _sides(ws: Workspace, about: Concept) -> tuple[list[str], list[PoolRow]]:
    """The images that are held to be positive, and the negatives that nobody has settled; people's word comes first."""
    said = {row.image: row.label for row in consensus.settled(ws.catalog, about.name) if row.label}
    pool = pools.members(ws.catalog, about.name)
    positives = [
        row.image
        for row in pool
        if (said[row.image] != about.negative if row.image in said else row.role == "positive")
    ]
    return positives, [row for row in pool if row.role == "negative" and row.image not in said]


def _suspects(
    ws: Workspace,
    positives: Sequence[str],
    unseen: Sequence[PoolRow],
    backbone: Backbone,
    model: Model | None,
    shown: Collection[str],
) -> tuple[list[Suspect], float]:
    """Every negative that is flagged, the most suspicious first, and the similarity from which on one is flagged.

    `shown` are those with a face, where people are what is asked for; they come first of all.
    """
    images = [row.image for row in unseen]
    vectors = features(ws, [*positives, *images], backbone)
    own, others = vectors[: len(positives)], vectors[len(positives) :]
    usual = np.sort(nearest(own, own, same=True)[1])
    threshold = float(np.percentile(usual, USUAL))
    if not images:
        return [], threshold
    places, similar = nearest(others, own)
    typical = np.searchsorted(usual, similar, side="right") / len(usual)  # share of positives that are less alike
    scores = _scores(model, others)
    suspicion = typical if scores is None else (typical + scores) / 2
    found: list[Suspect] = []
    without = np.array([image not in shown for image in images])
    for i in np.lexsort((np.arange(len(images)), -similar, -suspicion, without)):
        why = _reasons(
            unseen[i], similar[i] > threshold, float(typical[i]), model, scores[i] if scores is not None else 0
        )
        if not without[i]:
            why.insert(0, FACE)
        if why:
            score = None if scores is None else round(float(scores[i]), 6)
            nearby = positives[places[i]]
            found.append(Suspect(images[i], "; ".join(why), round(float(similar[i]), 6), nearby, score))
    return found, threshold


def _scores(model: Model | None, vectors: NDArray[np.float32]) -> Floats | None:
    """The probability of any label but "none of them"."""
    return None if model is None else np.asarray(1 - model.head.probabilities(vectors)[:, -1])


def _reasons(row: PoolRow, near: bool, typical: float, model: Model | None, score: float) -> list[str]:
    why = []
    if near:
        why.append(f"nearer to a positive than {typical:.0%} of the positives are to theirs")
    if model and score >= _threshold(model):
        why.append(f"the model gives it {score:.2f}")
    if said := row.checks.get("ambiguous"):
        why.append(f"ambiguous: {said}")
    return why


def _threshold(model: Model) -> float:
    two = len(model.head.labels) == 2
    return float((model.experiment.metrics or {})["threshold"]) if two else 0.5


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


def _warnings(backbone: Backbone, flagged: int, unseen: int, inspected: int) -> tuple[str, ...]:
    said = []
    if backbone.name == "classic":
        said.append("`classic` features are weak: pretrained weights find suspects far better (`--weights FILE`)")
    elif flagged > unseen / 2:
        said.append("more than half of the negatives are as near to the positives as those are to each other")
    if not inspected:
        said.append("people have judged none of the negatives yet, so nothing bounds how many show the concept")
    return tuple(said)
