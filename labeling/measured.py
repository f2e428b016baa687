"""What `labeling.measure` finds out. A figure that the answers do not define is nan, with the reason beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labeling.agreement import MISSING, Answers, Estimate, Floats, Ints, Level, Pair
from labeling.config import ConsensusMethod


@dataclass(frozen=True, slots=True)
class Confusion:
    """Two labels given to the same images: the number of annotator pairs, their share of all that differ, and where."""

    first: str
    second: str
    pairs: int
    share: Estimate
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive answers of one annotator: when the first was given (ISO 8601), and agreement with the others."""

    begins: str
    agreement: Estimate


@dataclass(frozen=True, slots=True)
class Anchoring:
    """What proposals do to answers, of one annotator or of all.

    `accepted` is the share of shown proposals that were left as they were, `resisted` the share of right answers where
    a wrong one was planted. `shown` and `blank` are agreement with the others with and without a proposal, and
    `change` the first less the second.
    """

    accepted: Estimate
    resisted: Estimate
    shown: Estimate
    blank: Estimate
    change: Estimate


@dataclass(frozen=True, slots=True)
class Person:
    """One annotator. Shares are of his own answers.

    `agreement` is with what most *others* said (leave-one-out; where they tie or are silent nothing is compared),
    `alpha_without` alpha of everybody else, `right` against the truth, `sentinels` against planted answers.
    `information` is what his answers tell of the others', 0 (spam) to 1; consistent swaps keep it. `swaps` is where he
    differs most often: (what others say, what he says, share of the former). `seconds` is the capped median, `fast`
    the number of answers too fast to have looked, `drift` the last of `windows` less the first.
    """

    name: str
    answers: int
    unsure: float
    seconds: float
    fast: int
    agreement: Estimate
    alpha_without: Estimate
    right: Estimate
    sentinels: Estimate
    anchoring: Anchoring
    information: float
    swaps: tuple[str, str, float] | None
    windows: tuple[Window, ...]
    drift: Estimate

    @property
    def compared(self) -> int:
        """Answers on which the others had a majority."""
        return self.agreement.tasks


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Every figure of a table of answers, sentinels apart.

    `counts` are votes (tasks x labels of `answers`); with several labels at once each set is a label there, and
    `by_label` has the single ones. `shared` tasks got two labels or more, and agreement is over them. `confusion` is
    labels x labels, see `agreement.confusion`. `entropy` is the mean of `bits`, that of the votes of each task.
    `majority` and `winners` (by `method`) hold the number of the label of each task, `MISSING` for a tie or no vote;
    `truth` likewise. `accuracy` is against the truth: of all answers, the majority, the method. `seconds` is the median
    of all answers, each capped.
    """

    answers: Answers
    counts: Ints
    level: Level
    several: bool
    shared: int
    alpha: Estimate
    percent: Estimate
    pairwise: Estimate
    unanimous: Estimate
    fleiss: Estimate
    randolph: Estimate
    cohen: Estimate
    entropy: Estimate
    by_label: dict[str, Estimate]
    people: tuple[Person, ...]
    pairs: tuple[Pair, ...]
    confusion: Ints
    confusions: tuple[Confusion, ...]
    guidelines: dict[str, Estimate]
    anchoring: Anchoring
    bits: Floats
    method: ConsensusMethod
    majority: Ints
    winners: Ints
    truth: Ints
    accuracy: dict[str, Estimate]
    seconds: float
    warnings: tuple[str, ...]

    @property
    def ties(self) -> NDArray[np.bool_]:
        """Tasks with votes and without a majority."""
        open_: NDArray[np.bool_] = (self.majority == MISSING) & ~self.blank
        return open_

    @property
    def blank(self) -> NDArray[np.bool_]:
        """Tasks of which nobody could tell."""
        silent: NDArray[np.bool_] = self.counts.sum(axis=1) == 0
        return silent

    @property
    def disputed(self) -> NDArray[np.bool_]:
        """Tasks with different labels."""
        different: NDArray[np.bool_] = (self.counts > 0).sum(axis=1) > 1
        return different
