"""Each annotator against the others, against known answers, over time, and with or without proposals.

Everything here is a sum over answers of one annotator, weighted by how often the task of each counts, so that one pass
over the draws gives every interval. Anchoring: acceptance of what was proposed, and agreement with proposals shown
beside agreement without; a drift is a change of agreement between the first and the last window of somebody's answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labeling.agreement.answers import MISSING, Answers, Floats, Ints
from labeling.agreement.bootstrap import Figure, Weights, grouped, totals
from labeling.agreement.coefficients import Scale, majority

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Rest:
    """For each answer, the vote of all others on its task: `label` with most votes, `MISSING` for none or a tie.

    `counts` are the others' votes, answers x labels; `compared` says that they have a label, `agreed` that it is his.
    """

    counts: Ints
    label: Ints
    compared: Flags
    agreed: Flags


def rest(answers: Answers, counts: Ints) -> Rest:
    """What the others said (leave-one-out majority); `counts` are the votes on the tasks of `answers`."""
    others = counts[answers.task]
    rows = np.arange(len(others))
    others[rows, answers.label] -= 1
    label = majority(others)
    return Rest(others, label, label != MISSING, label == answers.label)


def against_rest(answers: Answers, counts: Ints, found: Rest, shown: Flags, scale: Scale) -> Figure:
    """Each annotator and the rest, in one pass over the answers.

    Rows: agreement with the rest of each annotator, the same with a proposal shown, the same without; of everybody
    with, without; with less without of each annotator, of everybody; then alpha of all others' answers for each.
    """
    crowd = len(answers.annotators)
    every = scale.terms(counts)
    flags = [found.compared, found.agreed]
    if shown.any():
        flags += [found.compared & shown, found.agreed & shown]
    change = scale.terms(found.counts)
    change -= every[answers.task]
    whole = totals(every)
    summed = grouped(np.column_stack([*flags, change]), answers.task, answers.annotator, crowd)

    def figure(weights: Weights) -> Floats:
        sums = summed(weights).transpose(1, 0, 2)
        compared, agreed, changes = sums[0], sums[1], sums[len(flags) :]
        compared_with, agreed_with = sums[2:4] if len(flags) == 4 else np.zeros((2, *compared.shape))
        shares = [_ratio(agreed, compared), _ratio(agreed_with, compared_with)]
        shares.append(_ratio(agreed - agreed_with, compared - compared_with))
        with_ = _ratio(agreed_with.sum(axis=0), compared_with.sum(axis=0))
        without = _ratio((agreed - agreed_with).sum(axis=0), (compared - compared_with).sum(axis=0))
        others = changes + whole(weights)[:, None, :]
        size = weights.shape[1]
        alphas = scale.alpha(others.reshape(len(others), crowd * size)).reshape(crowd, size)
        return np.vstack([*shares, with_, without, shares[1] - shares[2], with_ - without, alphas])

    return figure


def shares(answers: Answers, parts: Sequence[tuple[Flags, Flags]]) -> Figure:
    """Of the answers that count in `parts` (counted, of those true), the share: part by part, annotators, then all."""
    flags = [flag for counted, true in parts for flag in (counted, counted & true)]
    columns = np.column_stack(flags).astype(np.float64)
    summed = grouped(columns, answers.task, answers.annotator, len(answers.annotators))

    def figure(weights: Weights) -> Floats:
        sums = summed(weights)
        rows = []
        for part in range(len(parts)):
            counted, true = sums[:, 2 * part], sums[:, 2 * part + 1]
            rows += [_ratio(true, counted), _ratio(true.sum(axis=0), counted.sum(axis=0))[None]]
        return np.vstack(rows)

    return figure


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Consecutive parts of each annotator's compared answers in the order he gave them.

    `window` is the number of the window of each answer, `MISSING` for answers in none; `owner` and `compared` are the
    annotator of each window and how many answers it has, `begins` the moment of its first answer.
    """

    window: Ints
    owner: Ints
    compared: Ints
    begins: Ints


def windows(answers: Answers, found: Rest, at: Ints, *, least: int = 20, most: int = 10) -> Windows:
    """Cut compared answers with a known time into up to `most` equal windows of at least `least` answers each.

    Each annotator is ordered by his own clock, so clocks that disagree do no harm. Whoever has not enough for two
    windows has none.
    """
    chosen = np.flatnonzero(found.compared & (at >= 0))
    chosen = chosen[np.lexsort((at[chosen], answers.annotator[chosen]))]
    who = answers.annotator[chosen]
    given = np.bincount(who, minlength=len(answers.annotators))
    parts = np.minimum(given // least, most)
    parts[parts < 2] = 0
    rank = np.arange(len(chosen)) - (np.cumsum(given) - given)[who]
    offset = np.cumsum(parts) - parts
    inside = parts[who] > 0
    number = (offset[who] + rank * parts[who] // np.maximum(given[who], 1))[inside]
    window = np.full(len(answers.task), MISSING)
    window[chosen[inside]] = number
    compared = np.bincount(number, minlength=int(parts.sum()))
    first = np.cumsum(compared) - compared
    return Windows(window, np.repeat(np.arange(len(parts)), parts), compared, at[chosen[inside]][first])


def over_time(answers: Answers, found: Rest, cut: Windows) -> Figure:
    """Agreement with the rest in each window, then for each annotator with windows the last less the first."""
    used = cut.window != MISSING
    flags = np.column_stack([np.ones(int(used.sum())), found.agreed[used]])
    number = len(cut.owner)
    summed = grouped(flags, answers.task[used], cut.window[used], number)
    first = np.flatnonzero(np.diff(cut.owner, prepend=-1))
    last = np.append(first[1:], number)[: len(first)] - 1

    def figure(weights: Weights) -> Floats:
        compared, agreed = summed(weights).transpose(1, 0, 2)
        share = _ratio(agreed, compared)
        return np.vstack([share, share[last] - share[first]])

    return figure


def said_beside(answers: Answers, found: Rest) -> Ints:
    """Annotators x labels x labels: how often each said b where most others said a."""
    crowd, size = len(answers.annotators), len(answers.labels)
    cells = (answers.annotator * size + found.label)[found.compared] * size + answers.label[found.compared]
    return np.bincount(cells, minlength=crowd * size * size).reshape(crowd, size, size)


def information(table: Ints) -> Floats:
    """How much each annotator's answers tell of what the others say, 0 (nothing) to 1 (everything).

    Mutual information over the entropy of the others' labels. A spammer has none; whoever swaps labels consistently has
    as much as one who is right (Ipeirotis et al., HCOMP 2010: bias can be inverted, noise cannot). Corrected for the
    bias of small counts (Miller and Madow, 1955).
    """
    n = table.sum(axis=(1, 2))
    joint = table / np.maximum(n, 1)[:, None, None]
    true, said = joint.sum(axis=2), joint.sum(axis=1)
    cells = [np.count_nonzero(part, axis=tuple(range(1, part.ndim))) for part in (true, said, joint)]
    bias = (cells[0] + cells[1] - cells[2] - 1) / (2 * np.maximum(n, 1))
    mutual = _nats(true) + _nats(said) - _nats(joint) + bias
    whole = _nats(true)
    share: Floats = np.divide(mutual, whole, out=np.full(len(table), np.nan), where=whole > 0)
    return np.clip(share, 0, 1)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan, dtype=np.float64), where=whole > 0)


def _nats(share: Floats) -> Floats:
    """Entropy of each table of shares, in nats."""
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    nats: Floats = -(share * logs).sum(axis=tuple(range(1, share.ndim)))
    return nats
