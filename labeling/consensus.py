"""Several answers to one label and how sure it is. A tie is a state of its own: nobody's answer is picked silently.

`majority` is the default: anybody can recompute it by counting. `dawid-skene` weighs annotators by the errors that it
infers (Dawid and Skene, Applied Statistics 28 (1979) 20); it is worth its assumptions where each gave many answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collector.catalog.consensus import Settled
from labeling.agreement import MISSING, Answers, Floats, Ints
from labeling.config import ConsensusMethod

_FLOOR = 1e-10  # of a count: one answer that should be impossible must not decide against all others
# Every annotator is lent one right answer for each label (a Dirichlet prior). Without it, one who never met a label
# may answer anything there, and an image with a single answer drifts to the commonest label.
_LENT = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class DawidSkene:
    """What the model inferred: `posterior` tasks x labels, `errors` annotators x true label x given label."""

    posterior: Floats
    errors: Floats
    priors: Floats


def settle(answers: Answers, method: ConsensusMethod = "majority") -> list[Settled]:
    """The consensus of every task, in the order of `answers.tasks`."""
    counts = answers.counts()
    winner = majority(counts) if method == "majority" else most_likely(dawid_skene(answers).posterior)
    winner = np.where(counts.sum(axis=1) > 0, winner, MISSING)
    return [
        Settled(
            image=task,
            label=None if k == MISSING else answers.labels[k],
            confidence=0.0 if k == MISSING else int(row[k]) / int(row.sum()),
            method=method,
            votes={answers.labels[i]: int(row[i]) for i in np.flatnonzero(row)},
        )
        for task, row, k in zip(answers.tasks, counts, winner, strict=True)
    ]


def majority(counts: Ints) -> Ints:
    """The label with the most votes for each task; `MISSING` where two labels share the lead or nobody voted."""
    top = counts.max(axis=1, initial=0)
    leads = (counts == top[:, None]) & (top > 0)[:, None]
    return np.where(leads.sum(axis=1) == 1, leads.argmax(axis=1), MISSING)


def most_likely(posterior: Floats) -> Ints:
    """The most probable label for each task; `MISSING` where two are equally probable."""
    leads = np.isclose(posterior, posterior.max(axis=1, keepdims=True), rtol=0.0, atol=1e-9)
    return np.where(leads.sum(axis=1) == 1, leads.argmax(axis=1), MISSING)


def dawid_skene(answers: Answers, iterations: int = 100) -> DawidSkene:
    """Dawid and Skene's model by expectation maximization, begun at the shares of the votes.

    Each annotator has a confusion matrix, each label a prior. Stops early once no posterior moves by more than 1e-9.
    A task without a label has the priors as its posterior.
    """
    task, annotator = np.nonzero(answers.matrix != MISSING)
    given = answers.matrix[task, annotator]
    counts = answers.counts()
    rows, size = counts.shape
    posterior = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for _ in range(iterations):
        # M step: priors from labeled tasks, a confusion matrix for each annotator.
        priors = np.bincount(task, minlength=rows).astype(bool) @ posterior + _FLOOR
        priors /= priors.sum()
        errors = _confusion_matrices(posterior[task], annotator, given, (len(answers.annotators), size))
        # E step: log P(label) + sum over answers of log P(answer | label), in logs because products underflow.
        evidence = np.log(errors)[annotator, :, given]
        logs = np.log(priors) + _sums_by(task, evidence, rows)
        likely = np.exp(logs - logs.max(axis=1, keepdims=True))
        before, posterior = posterior, likely / likely.sum(axis=1, keepdims=True)
        if np.abs(posterior - before).max(initial=0.0) < 1e-9:
            break
    return DawidSkene(posterior, errors, priors)


def _confusion_matrices(weights: Floats, annotator: Ints, given: Ints, shape: tuple[int, int]) -> Floats:
    """Share of each given label among the answers to each true label: annotators x true x given."""
    annotators, size = shape
    sums = _sums_by(annotator * size + given, weights, annotators * size)
    table = sums.reshape(annotators, size, size).transpose(0, 2, 1) + _FLOOR + _LENT * np.eye(size)
    shares: Floats = table / table.sum(axis=2, keepdims=True)
    return shares


def _sums_by(group: Ints, values: Floats, groups: int) -> Floats:
    """Column sums of the rows of each group: groups x columns."""
    columns = [np.bincount(group, weights=column, minlength=groups) for column in values.T]
    return np.stack(columns, axis=1)
