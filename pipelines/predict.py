"""A trained model: a backbone and a linear head on its features; the head is numpy only, kept as safetensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from collector import durable
from collector.catalog import models
from collector.catalog.models import Experiment, ModelRun, Prediction
from collector.errors import CollectError, GateNotMet, UsageError
from collector.workspace import Workspace
from pipelines.backbones import Backbone, load_backbone
from pipelines.calibrate import Floats
from pipelines.features import features

HEAD = "head.safetensors"
LISTED = 16  # labels of a prediction that are written down: the most probable ones


class Predictor(Protocol):
    """What judges pictures: a trained `Model`, or the zero-shot guess of a pretrained network."""

    @property
    def backbone(self) -> Backbone:
        """What the vectors that it judges are computed with."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of its probabilities."""

    @property
    def version(self) -> str:
        """The readable name that Label Studio shows."""

    @property
    def run(self) -> str | None:
        """The experiment that trained it, if any."""

    @property
    def calibrated(self) -> bool:
        """Whether its probabilities were fitted to held-out answers: then nine in ten of those at 0.9 are right."""

    def judge(self, vectors: NDArray[np.float32]) -> Floats:
        """The probability of every label for vectors of its backbone, (images, dimension): (images, labels)."""


def model_run(model: Predictor) -> ModelRun:
    """The catalog's row of a model."""
    used = model.backbone
    return ModelRun(model.version, model.run, used.name, used.weights_digest, used.transform_digest)


def judged(model: Predictor, images: Sequence[str], vectors: NDArray[np.float32]) -> list[Prediction]:
    """What a model says of images, by their vectors (images, dimension).

    Of more labels than `LISTED` only the most probable are listed: a thousand would be 20 kB for each image.
    """
    probabilities = model.judge(vectors)
    listed = np.broadcast_to(np.arange(len(model.labels)), probabilities.shape)
    if len(model.labels) > LISTED:
        first = np.argpartition(-probabilities, LISTED, axis=1)[:, :LISTED]
        order = np.argsort(-np.take_along_axis(probabilities, first, axis=1), axis=1, kind="stable")
        listed = np.take_along_axis(first, order, axis=1)
    chosen = np.take_along_axis(probabilities, listed, axis=1)
    best, scores = chosen.argmax(axis=1).tolist(), np.round(chosen, 6).tolist()
    return [
        Prediction(image, names[k], row[k], dict(zip(names, row, strict=True)))
        for image, k, names, row in zip(images, best, np.array(model.labels)[listed].tolist(), scores, strict=True)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Softmax of `(weights @ ((features - mean) / scale) + bias) / temperature`; `weights` is (labels, dimension)."""

    labels: tuple[str, ...]
    weights: Floats
    bias: Floats
    mean: Floats
    scale: Floats
    temperature: float = 1.0  # fitted on the calibration split; 1 leaves the probabilities as they were learned

    def probabilities(self, features: NDArray[np.float32]) -> Floats:
        """The probability of every label for every row: (images, labels)."""
        logits = ((features - self.mean) / self.scale @ self.weights.T + self.bias) / self.temperature
        grown = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(grown / grown.sum(axis=1, keepdims=True))

    def save(self, path: Path) -> None:
        """Write the head as safetensors, the labels in its metadata."""
        from safetensors.numpy import save

        tensors = {"weights": self.weights, "bias": self.bias, "mean": self.mean, "scale": self.scale}
        contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
        heat = {"temperature": repr(self.temperature)}
        durable.save(path, save(contiguous, metadata={"labels": json.dumps(self.labels), **heat}))

    @classmethod
    def load(cls, path: Path) -> Head:
        """The head that `save` wrote.

        Raises:
            CollectError: the file is gone or damaged.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                about = file.metadata()
                weights, bias, mean, scale = (file.get_tensor(name) for name in ("weights", "bias", "mean", "scale"))
                labels, temperature = tuple(json.loads(about["labels"])), float(about["temperature"])
                return cls(labels, weights, bias, mean, scale, temperature)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise CollectError(
                f"the head {path} cannot be read: {error}", hint="`collect train-baseline` makes it again"
            ) from error


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A finished run, ready to predict."""

    experiment: Experiment
    backbone: Backbone
    head: Head
    device: str | None = None  # where it looks at pictures; None: `train.device`

    @property
    def version(self) -> str:
        """The readable name that Label Studio shows."""
        return f"{self.backbone.name}-{self.experiment.run[:8]}"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of its head."""
        return self.head.labels

    @property
    def run(self) -> str | None:
        """The run that it is."""
        return self.experiment.run

    @property
    def calibrated(self) -> bool:
        """Whether a temperature was fitted on the calibration split; it is hardly ever exactly 1."""
        return self.head.temperature != 1.0

    def judge(self, vectors: NDArray[np.float32]) -> Floats:
        """What the head says of vectors of the backbone."""
        return self.head.probabilities(vectors)

    def probabilities(self, ws: Workspace, images: Sequence[str]) -> Floats:
        """The probability of every label for every image: (images, labels)."""
        return self.head.probabilities(features(ws, images, self.backbone, device=self.device))


def load_model(ws: Workspace, concept: str, run: str | None = None, *, device: str | None = None) -> Model:
    """The finished run that begins with `run`, or the newest of the concept, to look at pictures on `device`.

    Raises:
        UsageError: no finished run is called so, or its weights are no longer where they were.
        GateNotMet: nothing was trained yet.
    """
    found = models.find_finished(ws.catalog, concept, run)
    if found is None and run is not None:
        raise UsageError(f"`{concept}` has no finished run `{run}`", hint="`collect train-baseline` prints the run")
    if found is None:
        raise GateNotMet(f"nothing was trained for `{concept}` yet", hint=f"run `collect train-baseline {concept}`")
    config = found.config
    weights = config["weights"] and ws.data / config["weights"]  # a fine-tuned network lies in the run folder
    backbone = load_backbone(config["backbone"], weights)
    if backbone.weights_digest != (found.metrics or {}).get("weights_digest", config["weights_digest"]):
        raise UsageError(
            f"{backbone.weights} holds other weights than run {found.run} was trained on",
            hint="put that file back, or train again with `collect train-baseline`",
        )
    return Model(found, backbone, Head.load(ws.data / found.path / HEAD), device)
