"""Several answers to one label and how sure it is. A tie is a state of its own: nobody's answer is picked silently.

`majority` is the default: anybody can recompute it by counting, and it is shown beside every other method.
`dawid-skene` weighs annotators by the errors that it infers (Dawid and Skene, Applied Statistics 28 (1979) 20), and
`one-coin` by one accuracy each; both are worth their assumptions where each gave many answers. `crowdlab` adds the
probabilities of a model (Goh, Tkachenko and Mueller, arXiv:2210.06812), and only of pictures it was not trained on.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from collector.catalog.consensus import Settled
from collector.errors import UsageError
from labeling.agreement import MISSING, Answers, Floats, Ints, majority
from labeling.config import ConsensusMethod

_FLOOR = 1e-10  # of a count and of a probability: one impossible answer must not decide against all others
_RISE = 1e-5  # of the bound, for one answer: below it, the fit has converged
_LEAST_WEIGHT = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class DawidSkene:
    """What the model inferred: `posterior` tasks x labels, `errors` annotators x true label x given label."""

    posterior: Floats
    errors: Floats
    priors: Floats


@dataclass(frozen=True, slots=True, eq=False)
class ModelView:
    """What a model says of pictures: probabilities, tasks x labels in the order of the answers.

    `trained_on` names the tasks that it learned from; a row of nan is a picture that it has not seen.
    """

    probabilities: Floats
    trained_on: Collection[str] = ()


def settle(answers: Answers, method: ConsensusMethod = "majority", model: ModelView | None = None) -> list[Settled]:
    """The consensus of every task, in the order of `answers.tasks`."""
    counts = answers.counts()
    winner = winners(answers, method, model)
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


def winners(answers: Answers, method: ConsensusMethod = "majority", model: ModelView | None = None) -> Ints:
    """The label of each task by a method; `MISSING` where two are level, or nobody gave a label.

    Raises:
        UsageError: `crowdlab` without a model, or with one that was trained on these pictures.
    """
    counts = answers.counts()
    if method == "majority":
        return majority(counts)
    if method == "crowdlab":
        posterior = crowdlab(answers, model)
    else:
        posterior = dawid_skene(answers, one_coin=method == "one-coin").posterior
    return np.where(counts.sum(axis=1) > 0, most_likely(posterior), MISSING)


def most_likely(posterior: Floats) -> Ints:
    """The most probable label for each task; `MISSING` where two are equally probable."""
    leads = np.isclose(posterior, posterior.max(axis=1, keepdims=True), rtol=0.0, atol=1e-9)
    return np.where(leads.sum(axis=1) == 1, leads.argmax(axis=1), MISSING)


def dawid_skene(answers: Answers, iterations: int = 100, *, one_coin: bool = False) -> DawidSkene:
    """Dawid and Skene's model by expectation maximization, begun at the shares of the votes.

    Each label has a prior, each annotator a confusion matrix; with `one_coin` one accuracy, and his errors fall evenly
    on the other labels. Stops when the bound on the likelihood rises by less than 1e-5 for one answer. As in crowd-kit,
    whose figures these are, the bound counts the prior once for each answer, and an annotator's matrix covers those
    labels that he gave. A task without a label has the priors as its posterior.
    """
    labeled = answers.labeled()
    used = np.flatnonzero(np.bincount(labeled.label, minlength=len(answers.labels)))
    if not len(used):
        return _spread(answers, used, used, np.empty((0, 0)), np.empty((0, 0)), np.empty(0))
    known, task = np.unique(labeled.task, return_inverse=True)
    given = np.searchsorted(used, labeled.label)
    crowd, size = len(answers.annotators), len(used)
    cell = labeled.annotator * size + given
    rates = _accuracies if one_coin else _confusions
    answered = np.bincount(task)[:, None]
    votes = np.bincount(task * size + given, minlength=len(known) * size).reshape(-1, size)
    posterior = votes / answered
    evidence = np.zeros_like(posterior)
    errors, priors, bound = np.empty((0, size)), np.empty(size), -np.inf
    for turn in range(iterations + 1):
        if turn:  # E step: log P(label) + sum over answers of log P(answer | label), as products underflow
            logs = np.log(np.maximum(priors, _FLOOR**10)) + evidence
            likely = np.exp(logs - logs.max(axis=1, keepdims=True))
            posterior = likely / likely.sum(axis=1, keepdims=True)
        priors = posterior.mean(axis=0)  # M step
        errors = rates(_sums_by(cell, posterior, task, crowd * size), crowd)
        evidence = _sums_by(task, np.log(np.maximum(errors, _FLOOR**10)), cell, len(known))
        before, bound = bound, _bound(posterior, evidence, priors, answered) / len(task) if turn else -np.inf
        if turn and bound - before < _RISE:
            break
    return _spread(answers, used, known, posterior, errors, priors)


def crowdlab(answers: Answers, model: ModelView | None) -> Floats:
    """Probability of each label of each task: a mean of the model's and of what each answer says, weighted by trust.

    An answer gives its label the chance P that annotators have of naming the consensus, and the rest evenly to the
    other labels. An annotator weighs 1 - (his disagreement with the others) / (error of always naming the commonest
    label); the model weighs as much by its own error, times the root of the mean number of answers (Goh et al., 3).
    Errors are measured against the majority first (the model decides between equal votes), then, as in cleanlab,
    against the consensus that this gives.

    Raises:
        UsageError: no model, or one that was trained on these pictures: it would repeat its own errors.
    """
    probabilities = _refuse_seen(answers, model)
    labeled, counts = answers.labeled(), answers.counts()
    given, size = counts.sum(axis=1), counts.shape[1]
    several = given > 1
    if not several.any() or size < 2:
        raise UsageError(
            "crowdlab needs pictures that two annotators labeled, and two labels", hint="take the majority"
        )
    agreement = _agreement_with_others(labeled, counts)
    leads = counts == counts.max(axis=1, keepdims=True)
    posterior = np.where(leads, probabilities, -1.0)
    for _ in range(2):
        consensus = posterior.argmax(axis=1)
        share = (counts[np.arange(len(counts)), consensus] / np.maximum(given, 1))[several].mean()
        commonest = np.bincount(consensus[several], minlength=size).argmax()
        error = max(float((consensus[several] != commonest).mean()), _LEAST_WEIGHT)
        missed = (probabilities[several].argmax(axis=1) != consensus[several]).mean()
        trust = max(1 - missed / error, _LEAST_WEIGHT) * np.sqrt(given[given > 0].mean())
        weight = np.maximum(1 - (1 - agreement) / error, _LEAST_WEIGHT)[labeled.annotator]
        for_label = np.bincount(labeled.task * size + labeled.label, weight, minlength=counts.size)
        voted = for_label.reshape(counts.shape)
        whole = voted.sum(axis=1, keepdims=True)
        said = voted * share + (whole - voted) * (1 - share) / (size - 1)
        posterior = (probabilities * trust + said) / (trust + whole)
    return posterior


def _agreement_with_others(labeled: Answers, counts: Ints) -> Floats:
    """Share of equal labels among all that each annotator shares with another; who met nobody gets the mean."""
    crowd = len(labeled.annotators)
    equal = np.bincount(labeled.annotator, counts[labeled.task, labeled.label] - 1, minlength=crowd)
    met = np.bincount(labeled.annotator, counts.sum(axis=1)[labeled.task] - 1, minlength=crowd)
    share: Floats = np.divide(equal, met, out=np.full(crowd, np.nan), where=met > 0)
    share[np.isnan(share)] = np.nanmean(share)
    return share


def _refuse_seen(answers: Answers, model: ModelView | None) -> Floats:
    if model is None:
        raise UsageError(
            "crowdlab needs a model's probabilities of these pictures",
            hint="train first, or take another method: majority, dawid-skene, one-coin",
        )
    seen = set(model.trained_on).intersection(answers.tasks)
    if seen:
        raise UsageError(
            f"the model was trained on {len(seen)} of these {len(answers.tasks)} pictures, and would repeat its own"
            " errors there",
            hint="give it probabilities from cross-validation, or take another method",
        )
    found = np.asarray(model.probabilities, dtype=np.float64)
    shape = len(answers.tasks), len(answers.labels)
    if found.shape != shape:
        raise UsageError(f"the model's probabilities are {found.shape}, and {shape} is asked for: tasks by labels")
    blank = np.isnan(found).any(axis=1, keepdims=True)
    return np.where(blank, 1 / shape[1], found)


def _confusions(sums: Floats, crowd: int) -> Floats:
    """P(given | true) from summed posteriors, (annotator, given label) x true label; rows of labels never given: 0."""
    size = sums.shape[1]
    floored = np.where(sums.sum(axis=1, keepdims=True) > 0, np.maximum(sums, _FLOOR), 0.0).reshape(crowd, size, size)
    whole = floored.sum(axis=1, keepdims=True)
    shares: Floats = np.divide(floored, whole, out=np.full_like(floored, 1 / size), where=whole > 0)
    return shares.reshape(-1, size)


def _accuracies(sums: Floats, crowd: int) -> Floats:
    """The same table with one accuracy for each annotator, errors even over the other labels."""
    size = sums.shape[1]
    table = sums.reshape(crowd, size, size)
    answers = table.sum(axis=(1, 2))
    right = np.trace(table, axis1=1, axis2=2)
    skill = np.divide(right, answers, out=np.full(crowd, 1 / size), where=answers > 0)[:, None, None]
    rates = np.where(np.eye(size, dtype=bool), skill, (1 - skill) / max(1, size - 1))
    clipped: Floats = np.clip(rates, _FLOOR, 1 - _FLOOR)
    return clipped.reshape(-1, size)


def _bound(posterior: Floats, evidence: Floats, priors: Floats, answered: Ints) -> float:
    logs = np.log(posterior, out=np.zeros_like(posterior), where=posterior > 0)
    prior = np.log(np.maximum(priors, _FLOOR**10))
    return float((posterior * (evidence + answered * prior)).sum() - (posterior * logs).sum())


def _spread(answers: Answers, used: Ints, known: Ints, posterior: Floats, errors: Floats, priors: Floats) -> DawidSkene:
    """The fit over labels in use and answered tasks, put among all labels and all tasks."""
    size, crowd = len(answers.labels), len(answers.annotators)
    all_priors = np.zeros(size) if len(used) else np.full(size, 1 / max(1, size))
    all_priors[used] = priors
    full = np.tile(all_priors, (len(answers.tasks), 1))
    matrices = np.full((crowd, size, size), 1 / max(1, size))
    if len(used):
        full[np.ix_(known, used)] = posterior
        matrices[:, used] = 0
        matrices[np.ix_(np.arange(crowd), used, used)] = errors.reshape(crowd, len(used), -1).transpose(0, 2, 1)
    return DawidSkene(full, matrices, all_priors)


def _sums_by(group: Ints, values: Floats, rows: Ints, groups: int) -> Floats:
    """Sums of `values[rows]` by group, column by column: groups x columns."""
    return np.stack([np.bincount(group, column[rows], minlength=groups) for column in values.T.copy()], axis=1)
