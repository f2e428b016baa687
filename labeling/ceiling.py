"""The human ceiling: how well one person says what the others say. A higher score than that means little."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from labeling.agreement import Ints


class Ceiling(NamedTuple):
    """One person against the others on `images` that two or more labeled: accuracy, and average precision.

    `ap` takes the person's label as the score, 1 for the label asked about and 0 for others: precision p at recall r,
    then everything else at once, AP = r p + (1 - r) x prevalence. None where nobody else gave that label, as are
    `precision` and `recall`.
    """

    accuracy: float
    ap: float | None
    images: int
    precision: float | None = None
    recall: float | None = None


def ceiling(counts: Ints, positive: int = 0) -> Ceiling | None:
    """The ceiling from votes (images x labels), None where no image has two; `positive` is the label that AP is of.

    Each answer is compared with what most of the *others* said (leave-one-out), the label drawn at random where they
    are level. Every image weighs the same, however many answered it.
    """
    given = counts.sum(axis=1)
    kept, given = counts[given >= 2], given[given >= 2]
    if not len(kept):
        return None
    table = np.zeros((counts.shape[1],) * 2)  # what one says x what the others say
    for said in range(counts.shape[1]):
        others = kept.copy()
        others[:, said] -= 1
        leads = others == others.max(axis=1, keepdims=True)
        weight = kept[:, said] / given
        table[said] = weight @ (leads / leads.sum(axis=1, keepdims=True))
    whole, asked, named = table.sum(), table[:, positive].sum(), table[positive].sum()
    if not asked:
        return Ceiling(float(np.trace(table) / whole), None, len(kept))
    recall = table[positive, positive] / asked
    precision = table[positive, positive] / named if named else 0.0
    ap = recall * precision + (1 - recall) * asked / whole
    return Ceiling(float(np.trace(table) / whole), float(ap), len(kept), float(precision), float(recall))
