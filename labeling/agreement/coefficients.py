"""Agreement of a whole table, from votes (tasks x labels): percent, Fleiss, Randolph, Krippendorff.

Sources: Krippendorff, Content Analysis (2004), ch. 11; Fleiss, Psychological Bulletin 76 (1971) 378; Randolph,
Free-marginal multirater kappa (2005); Passonneau, Measuring agreement on set-valued items (LREC 2006).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from collector.errors import UsageError
from labeling.agreement.answers import MISSING, Floats, Ints
from labeling.agreement.bootstrap import Estimate, Figure, Weights, estimate, totals, undefined

Level = Literal["nominal", "ordinal", "interval"]
NO_PAIR = "no image was labeled by two annotators"
ONE_LABEL = "only one label was used, so agreement by chance cannot be told from skill"
RAGGED = "images have different numbers of labels; alpha takes them as they are"
HEADLINE = ("alpha", "percent", "pairwise", "unanimous", "fleiss", "randolph", "entropy")


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """How far two labels are apart (Krippendorff 2004, 11.3.4; his delta squared), which is all that alpha needs.

    Nominal: 1 where they differ. Ordinal: the square of the difference of their mean ranks, so it depends on how often
    each label was used. Otherwise `distance` (labels x labels) says it: squares of differences for interval labels,
    MASI for sets of labels.
    """

    kind: Literal["nominal", "ordinal", "matrix"] = "nominal"
    distance: Floats = field(default_factory=lambda: np.zeros((0, 0)))

    @classmethod
    def of(cls, level: Level, labels: Sequence[str]) -> Scale:
        """The scale of a level; ordinal labels are given from low to high.

        Raises:
            UsageError: an interval scale whose labels are not numbers.
        """
        if level != "interval":
            return cls(level)
        try:
            numbers = np.array([float(label) for label in labels])
        except ValueError as error:
            raise UsageError(
                f"labels of an interval scale must be numbers, but {str(error).partition(': ')[2]} is none",
                hint="take the ordinal level, or the nominal one",
            ) from None
        return cls("matrix", (numbers[:, None] - numbers) ** 2)

    @classmethod
    def masi(cls, sets: Sequence[frozenset[str]]) -> Scale:
        """Passonneau's distance of sets, 1 - Jaccard x M: M is 1 for equal, 2/3 for nested, 1/3 for crossing ones."""
        members = sorted(set().union(*sets))
        held = np.array([[name in one for name in members] for one in sets], dtype=np.float64).reshape(len(sets), -1)
        size = held.sum(axis=1)
        common = held @ held.T
        union = size[:, None] + size - common
        smaller, larger = np.minimum(size[:, None], size), np.maximum(size[:, None], size)
        kind = np.where(common == 0, 0.0, np.where(common == larger, 1.0, np.where(common == smaller, 2 / 3, 1 / 3)))
        jaccard = np.divide(common, union, out=np.ones_like(union), where=union > 0)
        return cls("matrix", np.where(union > 0, 1 - jaccard * kind, 0.0))

    def apart(self, size: int) -> Floats:
        """The distances as they are known before anything is counted: 0 and 1 for nominal and ordinal labels."""
        return self.distance if self.kind == "matrix" else 1.0 - np.eye(size)

    def terms(self, counts: Ints) -> Floats:
        """What each task adds to the sums that alpha is a function of; nothing where it has fewer than two labels."""
        given = counts.sum(axis=1)
        pairable = given >= 2
        share = np.divide(1.0, given - 1, out=np.zeros(len(counts)), where=pairable)
        votes = counts * pairable[:, None].astype(np.float64)
        if self.kind == "nominal":
            differing = (np.square(votes.sum(axis=1)) - np.einsum("ij,ij->i", votes, votes))[:, None]
        elif self.kind == "ordinal":
            low, high = np.triu_indices(counts.shape[1], 1)
            differing = 2 * votes[:, low] * votes[:, high]
        else:
            differing = ((votes @ self.distance) * votes).sum(axis=1, keepdims=True)
        return np.column_stack([differing * share[:, None], votes])

    def alpha(self, sums: Floats) -> Floats:
        """Alpha of each column of summed terms; nan where the expected disagreement is zero.

        alpha = 1 - (n - 1) D / sum_ck n_c n_k d_ck: n_c counts the labels c in tasks with n_u >= 2 labels, n is their
        sum, d_ck the distance, and D = sum_u sum_ck n_uc n_uk d_ck / (n_u - 1).
        """
        size = len(sums) - 1
        if self.kind == "ordinal":
            size = int((np.sqrt(8 * len(sums) + 1) - 1) / 2)
        margins = sums[len(sums) - size :]
        n = margins.sum(axis=0)
        if self.kind == "nominal":
            observed, expected = sums[0], np.square(n) - np.square(margins).sum(axis=0)
        elif self.kind == "ordinal":
            low, high = np.triu_indices(size, 1)
            rank = np.cumsum(margins, axis=0) - margins / 2
            apart = np.square(rank[low] - rank[high])
            observed = (sums[: len(low)] * apart).sum(axis=0)
            expected = 2 * (margins[low] * margins[high] * apart).sum(axis=0)
        else:
            observed, expected = sums[0], ((self.distance @ margins) * margins).sum(axis=0)
        ratio: Floats = np.divide((n - 1) * observed, expected, out=np.full(n.shape, np.nan), where=expected > 0)
        return np.subtract(1, ratio)


NOMINAL = Scale()


def headline(counts: Ints, scale: Scale = NOMINAL) -> Figure:
    """The figures of `HEADLINE`, one row each, over tasks that all have two labels or more.

    `percent` is the share of equal pairs among all pairs of labels of one task; `pairwise` the mean over tasks of that
    share (Fleiss' P-bar); `entropy` the mean over tasks of that of the votes, in bits.
    """
    given = counts.sum(axis=1)
    pairs = given * (given - 1) / 2
    equal = (np.einsum("ij,ij->i", counts, counts) - given) / 2
    unanimous = counts.max(axis=1, initial=0) == given
    share = np.divide(equal, pairs, out=np.zeros(len(counts)), where=pairs > 0)
    columns = np.column_stack([np.ones(len(counts)), equal, pairs, share, unanimous, entropy(counts)])
    summed = totals(np.column_stack([columns, scale.terms(counts)]))
    even = len(counts) > 0 and bool((given == given[0]).all())
    size = counts.shape[1]

    def figure(weights: Weights) -> Floats:
        sums = summed(weights)
        n, same, all_pairs, shares, agreed, bits = sums[:6]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = shares / n
            used = sums[-size:] / sums[-size:].sum(axis=0)
            chance = np.square(used).sum(axis=0)
            chance[used.max(axis=0, initial=0) == 1] = np.nan
            fleiss = (mean - chance) / (1 - chance) if even else np.full_like(mean, np.nan)
            randolph = (mean - 1 / size) / (1 - 1 / size) if size > 1 else np.full_like(mean, np.nan)
            rows = scale.alpha(sums[6:]), same / all_pairs, mean, agreed / n, fleiss, randolph, bits / n
        return np.stack(rows)

    return figure


def by_label(having: Ints, given: Ints) -> Figure:
    """Alpha of "this label or another?", one row for each label: `having` counts who gave it, of `given` in all."""
    rest = given[:, None] - having
    share = np.divide(2.0, given - 1, out=np.zeros(len(given)), where=given >= 2)[:, None]
    size = having.shape[1]
    summed = totals(np.column_stack([having * rest * share, having, given]))

    def figure(weights: Weights) -> Floats:
        sums = summed(weights)
        observed, one, every = sums[:size], sums[size:-1], sums[-1]
        expected = 2 * one * (every - one)
        ratio = np.divide((every - 1) * observed, expected, out=np.full(observed.shape, np.nan), where=expected > 0)
        return np.asarray(1 - ratio, dtype=np.float64)

    return figure


def alpha(counts: Ints, scale: Scale = NOMINAL, *, draws: int = 1000, seed: int = 0) -> Estimate:
    """Krippendorff's alpha from votes (tasks x labels), with a bootstrap interval over tasks with two labels or more.

    With one label in the data the expected disagreement is zero and alpha is undefined: nan with a reason, never 1.
    Draws in which that happens are left out of the interval.
    """
    kept = _pairable(counts)
    summed = totals(scale.terms(kept))
    (found,) = estimate([lambda weights: scale.alpha(summed(weights))[None]], len(kept), draws=draws, seed=seed)
    return found.estimate(0, len(kept), ONE_LABEL if len(kept) else NO_PAIR)


def alpha_by_label(counts: Ints, *, draws: int = 1000, seed: int = 0) -> list[Estimate]:
    """For each label, alpha of the question "this label or another?" (one against the rest)."""
    kept = _pairable(counts)
    (found,) = estimate([by_label(kept, kept.sum(axis=1))], len(kept), draws=draws, seed=seed)
    return [found.estimate(k, len(kept), ONE_LABEL if len(kept) else NO_PAIR) for k in range(counts.shape[1])]


def pairwise_agreement(counts: Ints, *, draws: int = 1000, seed: int = 0) -> Estimate:
    """Share of annotator pairs that gave the same label: mean over tasks of sum_c n_c(n_c - 1) / n(n - 1).

    This is Fleiss' P-bar (1971, eq. 3) for ragged data; it is not corrected for chance.
    """
    kept = _pairable(counts)
    if not len(kept):
        return undefined(0, NO_PAIR)
    (found,) = estimate([headline(kept)], len(kept), draws=draws, seed=seed)
    return found.estimate(HEADLINE.index("pairwise"), len(kept))


def fleiss_kappa(counts: Ints) -> float:
    """Fleiss' kappa (1971, eq. 8); nan when tasks have different numbers of labels, or only one label was used."""
    given = counts.sum(axis=1)
    if not len(counts) or given[0] < 2 or (given != given[0]).any():
        return float("nan")
    used = counts.sum(axis=0)
    n, total = int(given[0]), int(given.sum())
    observed = (int(np.einsum("ij,ij->", counts, counts)) - total) / (len(counts) * n * (n - 1))
    by_chance = int(used @ used) / total**2
    return float("nan") if by_chance == 1 else (observed - by_chance) / (1 - by_chance)


def randolph_kappa(counts: Ints) -> float:
    """Randolph's kappa (2005): as Fleiss', with chance at one in the number of labels whatever was used."""
    size = counts.shape[1]
    kept = _pairable(counts)
    given = kept.sum(axis=1)
    if size < 2 or not len(kept):
        return float("nan")
    observed = float(((np.einsum("ij,ij->i", kept, kept) - given) / (given * (given - 1))).mean())
    return float((observed - 1 / size) / (1 - 1 / size))


def confusion(counts: Ints) -> Ints:
    """Which labels are mistaken for each other: labels x labels, the number of annotator pairs that gave (a, b).

    A pair is counted once for each task: the matrix is symmetric, and the sum of its upper triangle is the number
    of pairs.
    """
    table = counts.T @ counts
    np.fill_diagonal(table, (counts * (counts - 1) // 2).sum(axis=0))
    return table


def confused(counts: Ints, first: Ints, second: Ints) -> Figure:
    """The share of each pair of labels among all differing pairs of labels of one task, one row each."""
    given = counts.sum(axis=1)
    differing = (np.square(given) - np.einsum("ij,ij->i", counts, counts)) / 2
    summed = totals(np.column_stack([counts[:, first] * counts[:, second], differing]))

    def figure(weights: Weights) -> Floats:
        sums = summed(weights)
        share: Floats = np.divide(sums[:-1], sums[-1], out=np.full_like(sums[:-1], np.nan), where=sums[-1] > 0)
        return share

    return figure


def majority(counts: Ints) -> Ints:
    """The label with the most votes for each task; `MISSING` where two labels share the lead or nobody voted."""
    if not counts.shape[1]:
        return np.full(len(counts), MISSING)
    winner = counts.argmax(axis=1)
    top = np.take_along_axis(counts, winner[:, None], axis=1)
    return np.where((top[:, 0] > 0) & ((counts == top).sum(axis=1) == 1), winner, MISSING)


def entropy(counts: Ints) -> Floats:
    """Entropy of the votes of each task, in bits: 0 where all agree, or nobody voted; 1 for one against one."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
    bits: Floats = np.abs((share * logs).sum(axis=1))
    return bits


def _pairable(counts: Ints) -> Ints:
    several = counts.sum(axis=1) >= 2
    return counts if several.all() else counts[several]
