"""The figures of one table in families, so that one pass over the bootstrap draws gives the intervals of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from labeling.agreement import MISSING, Answers, Floats, Ints, Scale, annotators, cohen, confusion
from labeling.agreement.bootstrap import Estimates, Figure, Weights, estimate, totals
from labeling.agreement.coefficients import by_label, confused, headline
from labeling.columns import Columns

SHARED = 20  # tasks that two annotators share to count in the mean kappa, where any two do
MOST_CONFUSIONS = 50
Parts = list[tuple[annotators.Flags, annotators.Flags]]


class Figures:
    """What all figures of a table need, worked out once.

    `shared` are the answers that agreement is measured on: labels of tasks with two labels or more; `inside` says which
    they are among all, `votes` counts them and `rest` is what the others said. `known` are all labels, and `planted`
    those of sentinels. `decided` has the label of each task by each method of consensus.
    """

    def __init__(
        self, main: Columns, planted: Columns, scale: Scale, members: Ints, decided: Mapping[str, Ints]
    ) -> None:
        self.main, self.scale, self.members, self.decided = main, scale, members, decided
        self.inside = main.answers.pairable()
        self.shared = main.answers.compact(self.inside)
        self.votes = self.shared.counts()
        self.rest = annotators.rest(self.shared, self.votes)
        self.windows = annotators.windows(self.shared, self.rest, main.at[self.inside])
        self.confusion = confusion(self.votes)
        first, second = np.triu_indices(len(self.confusion), 1)
        often = np.argsort(-self.confusion[first, second], kind="stable")[:MOST_CONFUSIONS]
        often = often[self.confusion[first, second][often] > 0]
        self.confused = first[often], second[often]
        self.rows = cohen.pair_rows(self.shared)
        often = np.flatnonzero(self.rows.shared >= SHARED)
        self.often = often if len(often) else np.arange(len(self.rows.shared))
        labeled = main.answers.label != MISSING
        self.known = main.answers.compact(labeled)
        truth = main.truth[main.answers.task][labeled]
        self.known_parts: Parts = [
            (truth != MISSING, truth == self.known.label),
            (main.shown[labeled], main.kept[labeled]),
        ]
        labeled = planted.answers.label != MISSING
        self.planted = planted.answers.compact(labeled)
        right = (planted.sentinel == planted.answers.label)[labeled]
        wrong = (planted.shown & (planted.proposal != planted.sentinel))[labeled]
        self.planted_parts: Parts = [(~wrong, right), (wrong, right)]
        shown = main.shown[self.inside]
        self.counted = {
            "rest": _by_annotator(self.shared, [self.rest.compared & shown, self.rest.compared & ~shown]),
            "known": _by_annotator(self.known, [counted for counted, _ in self.known_parts]),
            "planted": _by_annotator(self.planted, [counted for counted, _ in self.planted_parts]),
        }

    def estimates(self, draws: int, seed: int) -> dict[str, Estimates]:
        """Every figure with its interval, by family; families without any answer are left out."""
        shared, known = self._agreement(), self._shares("known")
        if (self.main.truth != MISSING).any():
            known["accuracy"] = self._accuracy()
        runs = [(shared, self.shared), (known, self.known), (self._shares("planted"), self.planted)]
        if len(self.known.tasks) == len(self.shared.tasks):  # the same tasks: the same draws do for both
            runs = [({**shared, **known}, self.shared), runs[2]]
        found: dict[str, Estimates] = {}
        for families, answers in runs:
            if families:
                run = estimate(list(families.values()), len(answers.tasks), draws=draws, seed=seed)
                found.update(zip(families, run, strict=True))
        return found

    def distance(self) -> Floats:
        """What a disagreement counts in Cohen's kappa: by rank on an ordinal scale, else as alpha has it."""
        size = len(self.shared.labels)
        return cohen.weights_of("linear", size) if self.scale.kind == "ordinal" else self.scale.apart(size)

    def versions(self) -> list[Ints]:
        """The votes that were given under each guideline."""
        guideline = self.main.guideline[self.inside]
        return [self.shared.only(guideline == g).counts() for g in range(len(self.main.guidelines))]

    def _agreement(self) -> dict[str, Figure]:
        shared, votes, rest = self.shared, self.votes, self.rest
        found = {
            "headline": headline(votes, self.scale),
            "labels": by_label(votes @ self.members, votes.sum(axis=1)),
            "confusions": confused(votes, *self.confused),
            "rest": annotators.against_rest(shared, votes, rest, self.main.shown[self.inside], self.scale),
            "cohen": cohen.mean_kappa(self.rows, self.distance(), self.often, len(shared.tasks)),
        }
        if len(self.windows.owner):
            found["windows"] = annotators.over_time(shared, rest, self.windows)
        if self.main.guidelines:
            found["guidelines"] = self._by_guideline()
        return found

    def _by_guideline(self) -> Figure:
        sums = [totals(self.scale.terms(votes)) for votes in self.versions()]
        return lambda weights: np.stack([self.scale.alpha(each(weights)) for each in sums])

    def _accuracy(self) -> Figure:
        """Of the tasks with a truth and a label, the share that each method has right; a tie is wrong."""
        labeled = np.unique(self.main.answers.task[self.main.answers.label != MISSING])
        truth = self.main.truth[labeled]
        stated = truth != MISSING
        right = [(labels[labeled] == truth) & stated for labels in self.decided.values()]
        summed = totals(np.column_stack([stated, *right]).astype(np.float64))

        def figure(weights: Weights) -> Floats:
            whole, *parts = summed(weights)
            share: Floats = np.divide(parts, whole, out=np.full((len(parts), len(whole)), np.nan), where=whole > 0)
            return share

        return figure

    def _shares(self, family: str) -> dict[str, Figure]:
        answers, parts = (self.known, self.known_parts) if family == "known" else (self.planted, self.planted_parts)
        return {family: annotators.shares(answers, parts)} if any(counted.any() for counted, _ in parts) else {}


def _by_annotator(answers: Answers, flags: Sequence[annotators.Flags]) -> Ints:
    """How many of each annotator's answers a flag holds for, and of everybody's: flags x (annotators + 1)."""
    counts = [np.bincount(answers.annotator[flag], minlength=len(answers.annotators)) for flag in flags]
    return np.array([[*count, count.sum()] for count in counts], dtype=np.int64)
