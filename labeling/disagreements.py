"""Which images to look at again, in what order: ties first, then the widest spread of votes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vote:
    """What one annotator said of one image; `label` None means "can't tell"; `seconds` None means not measured."""

    annotator: str
    label: str | None
    note: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Disputed:
    """An image that got different labels: `counts` by label, most votes first, and the vote of each annotator.

    `entropy` is that of the shares of the votes, in bits: 1 for one against one, log2(3) for three labels once each.
    """

    image: str
    counts: dict[str, int]
    tie: bool
    entropy: float
    votes: tuple[Vote, ...]


def rank(votes: Mapping[str, Sequence[Vote]]) -> list[Disputed]:
    """The images of `votes` (image -> one vote of each annotator) that got different labels, most disputed first.

    Ties come first, then higher entropy, then more votes; equal ones by image id, so that the order never changes.
    """
    found = [_weigh(image, given) for image, given in votes.items()]
    disputed = [entry for entry in found if len(entry.counts) > 1]
    return sorted(disputed, key=lambda e: (not e.tie, -round(e.entropy, 9), -sum(e.counts.values()), e.image))


def _weigh(image: str, votes: Sequence[Vote]) -> Disputed:
    counts = Counter(vote.label for vote in votes if vote.label is not None)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Disputed(
        image=image,
        counts=dict(ordered),
        tie=len(ordered) > 1 and ordered[0][1] == ordered[1][1],
        entropy=_entropy([count for _, count in ordered]),
        votes=tuple(sorted(votes, key=lambda vote: vote.annotator)),
    )


def _entropy(counts: Sequence[int]) -> float:
    total = sum(counts)
    return sum(count / total * math.log2(total / count) for count in counts)
