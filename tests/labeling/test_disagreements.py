"""The order in which people look at disputed images again."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.disagreements import Vote, rank


def _votes(*labels: str | None) -> list[Vote]:
    return [Vote(f"annotator{i}", label) for i, label in enumerate(labels)]


def test_ties_come_first_then_the_widest_spread() -> None:
    ranked = rank(
        {
            "four to one": _votes("cat", "cat", "cat", "cat", "dog"),
            "two to one": _votes("cat", "cat", "dog"),
            "tie": _votes("cat", "dog"),
            "three ways": _votes("cat", "dog", "owl"),
            "agreed": _votes("cat", "cat"),
            "alone": _votes("cat"),
        }
    )
    assert [entry.image for entry in ranked] == ["three ways", "tie", "two to one", "four to one"]
    assert [entry.tie for entry in ranked] == [True, True, False, False]
    assert [entry.entropy for entry in ranked] == pytest.approx([1.58496, 1.0, 0.91830, 0.72193], abs=1e-5)


def test_each_vote_is_shown_with_note_and_seconds_and_cannot_tell_is_no_vote() -> None:
    said = [Vote("cyd", None, "too dark", 9.0), Vote("ann", "cat", "", 2.5), Vote("ben", "dog", "ears?", None)]
    (entry,) = rank({"image": said})
    assert entry.votes == (said[1], said[2], said[0])
    assert entry.counts == {"cat": 1, "dog": 1}
    assert rank({"image": _votes("cat", None)}) == []


@given(
    st.dictionaries(st.text("abc"), st.lists(st.sampled_from(["cat", "dog", "owl", None]), max_size=6)), st.integers()
)
def test_the_order_does_not_depend_on_the_order_of_arrival(given_votes: dict[str, list[str | None]], seed: int) -> None:
    votes = {image: _votes(*labels) for image, labels in given_votes.items()}
    shuffled = list(votes.items())
    random.Random(seed).shuffle(shuffled)
    assert rank(dict(shuffled)) == rank(votes)
