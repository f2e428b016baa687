"""What a run said of the validation images, as arrays: a page picks a few of what may be many."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from collector.catalog.models import Experiment
from collector.errors import CollectError
from collector.workspace import Workspace
from pipelines.calibrate import Floats, Ints
from pipelines.parquet import VALIDATION, predictions


class Said(NamedTuple):
    """`truth` and `said` are indices into `labels`, `probabilities` is images x labels."""

    images: list[str]
    labels: tuple[str, ...]
    truth: Ints
    said: Ints
    probabilities: Floats

    def errors(self) -> Ints:
        """The rows that are wrong, the most confident first."""
        wrong = np.flatnonzero(self.said != self.truth)
        return wrong[np.argsort(-self.sure()[wrong], kind="stable")]

    def sure(self) -> Floats:
        """The probability of what was said of each image."""
        return np.asarray(self.probabilities[np.arange(len(self.said)), self.said])


def said_of(ws: Workspace, run: Experiment) -> Said:
    """What a finished run said of validation.

    Raises:
        CollectError: its file is gone or damaged.
    """
    labels = tuple((run.metrics or {})["labels"])
    try:
        found = predictions(ws.data / run.path / VALIDATION)
        truth, said = (_numbers(names, labels) for names in (found.labels, found.predicted))
        if found.probabilities.shape != (len(truth), len(labels)) or not len(truth):
            raise ValueError("it does not hold them")
        return Said(found.images, labels, truth, said, found.probabilities)
    except (CollectError, KeyError, ValueError) as error:
        raise CollectError(
            f"the validation predictions of run {run.run} cannot be read: {error}",
            hint="`collect train-baseline` makes a new run after any change, or restore the run folder",
        ) from error


def _numbers(names: list[str], labels: tuple[str, ...]) -> Ints:
    place = {label: k for k, label in enumerate(labels)}
    return np.array([place[name] for name in names], dtype=np.int64)
