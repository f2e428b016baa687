"""The scripted annotators err at the rates that the demo states, and always in the same way."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from labeling.interface import UNSURE
from pipelines.demo.annotators import ANNOTATORS, Annotator, opinion

LABELS = ("horse", "not-horse")
IMAGES = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(4000)]


@pytest.mark.parametrize("who", ANNOTATORS, ids=lambda who: who.name)
def test_an_annotator_errs_as_often_as_stated(who: Annotator) -> None:
    said = Counter(opinion(who, image, "horse", LABELS) for image in IMAGES)
    shares = {answer: count / len(IMAGES) for answer, count in said.items()}
    assert shares["not-horse"] == pytest.approx(who.wrong, abs=0.015)
    assert shares[UNSURE] == pytest.approx(who.unsure, abs=0.01)
    assert shares[None] == pytest.approx(who.skips, abs=0.01)


def test_the_same_picture_gets_the_same_answer_again() -> None:
    ana = ANNOTATORS[0]
    assert [opinion(ana, image, "horse", LABELS) for image in IMAGES[:50]] == [
        opinion(ana, image, "horse", LABELS) for image in IMAGES[:50]
    ]


def test_annotators_err_on_different_pictures() -> None:
    wrong = [
        {image for image in IMAGES if opinion(who, image, "horse", LABELS) == "not-horse"} for who in ANNOTATORS[1:]
    ]
    assert len(wrong[0] & wrong[1]) < 0.2 * min(map(len, wrong))


def test_a_wrong_answer_is_one_of_the_other_labels() -> None:
    several = ("horse", "zebra", "donkey", "none")
    liar = Annotator("liar", wrong=1.0)
    assert {opinion(liar, image, "zebra", several) for image in IMAGES[:200]} == {"horse", "donkey", "none"}
