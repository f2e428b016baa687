"""The unlabeled pictures that a choice is made from, and what a model and a committee of heads say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collector.catalog import labels, pools
from collector.records import Concept
from collector.workspace import Workspace
from pipelines import acquire
from pipelines.backbones import Backbone, chosen, load_backbone
from pipelines.calibrate import Floats
from pipelines.committee import committee, votes
from pipelines.config import NextConfig, TrainConfig
from pipelines.evaluate import truth_of
from pipelines.features import features, stream
from pipelines.head import Examples
from pipelines.manifest import find, read_manifest
from pipelines.predict import Head, Model


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Images to choose from: directions of their vectors, scores, the likeliest label of each and its probability.

    `answered` has the directions of the train images that people have answered. `names` are the labels of the model,
    none where no model was asked; then every score is 1.
    """

    images: Sequence[str]
    names: Sequence[str]
    vectors: NDArray[np.float16]
    answered: NDArray[np.float16]
    scores: Floats
    labels: NDArray[np.int64]
    probabilities: Floats

    def best(self, rows: NDArray[np.int64], by: str, count: int, seed: int) -> tuple[list[int], Floats]:
        """`count` of `rows`, the best first by the method `by`, and their scores."""
        if by in ("entropy", "margin", "bald"):
            order = np.argsort(-self.scores[rows], kind="stable")[:count]
            return rows[order].tolist(), self.scores[rows[order]]
        vectors, rng = self.vectors[rows], np.random.default_rng(seed)
        if by == "typical":
            places, scores = acquire.typical(vectors, self.answered, count, rng)
        elif by == "hybrid":
            places, scores = acquire.hybrid(vectors, self.answered, self.scores[rows], len(self.names), count, rng)
        else:
            places, scores = acquire.k_center(vectors, self.answered, count)
        return rows[places].tolist(), scores


def look(ws: Workspace, about: Concept, images: Sequence[str], model: Model | None, by: str) -> Candidates:
    """All of `images`, sorted, each looked at once by what the method `by` needs.

    A million images of 512 figures take a gigabyte, twice that while some of them are chosen.
    """
    backbone = model.backbone if model else load_backbone(*chosen(ws, None, None))
    heads = _heads(ws, model) if model and by == "bald" else []
    names = np.asarray(images)
    found = Candidates(
        images,
        model.labels if model else (),
        np.empty((len(images), backbone.dimension), dtype=np.float16),
        _answered(ws, about, backbone),
        np.ones(len(images)),
        np.zeros(len(images), dtype=np.int64),
        np.zeros(len(images)),
    )
    done = 0
    for part, half in stream(ws, images, backbone):
        rows = np.searchsorted(names, part)
        found.vectors[rows] = acquire.directions(half)
        if model:
            vectors = half.astype(np.float32)
            said = model.judge(vectors)
            found.labels[rows], found.probabilities[rows] = said.argmax(axis=1), said.max(axis=1)
            found.scores[rows] = scores(by, said, votes(heads, vectors) if heads else None)
        done += len(part)
        ws.progress("looking at the unlabeled pictures", done, len(images))
    return found


def scores(by: str, said: Floats, members: Floats | None) -> Floats:
    """How much a label would tell, by the probabilities (images, labels) or, for `bald`, by what a committee says."""
    if members is not None:
        return acquire.bald(members)
    if by == "entropy":
        return acquire.entropy(said)
    return acquire.margin(said) if by in ("margin", "hybrid") else np.ones(len(said))


def _heads(ws: Workspace, model: Model) -> list[Head]:
    """The committee: it learns from the images that the run learned from, with its penalty."""
    run = model.experiment
    manifest = read_manifest(ws, find(ws, run.concept, run.snapshot))
    rows = manifest.split("train")
    matrix = features(ws, [row.image for row in rows], model.backbone)
    given = Examples(matrix, truth_of(manifest, "train"), [row.group for row in rows], manifest.labels)
    ws.progress("forming a committee of heads", 0, None)
    grid = sorted(ws.section(TrainConfig).c_grid)
    c = (run.metrics or {}).get("c") or grid[len(grid) // 2]  # a fine-tuned run has none
    return committee(given, c, ws.section(NextConfig).members, ws.seed)


def _answered(ws: Workspace, about: Concept, backbone: Backbone) -> NDArray[np.float16]:
    home = pools.splits(ws.catalog, about.name)
    answered = {row.image for row in labels.current(ws.catalog, about.name)}
    return acquire.directions(features(ws, sorted(i for i in answered if home.get(i) == "train"), backbone))
