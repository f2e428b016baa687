"""WordNet: what a word means, and what lies above it; with the dictionary and with the small table."""

from __future__ import annotations

import pytest

from collector import wordnet
from collector.wordnet import WordNet
from pipelines.machine import WORDNET
from tests.conftest import need

HORSE, ZEBRA, EQUID, PONY, DOG = "n02374451", "n02391049", "n02374149", "n02382437", "n02084071"


@pytest.fixture(params=["table", "dictionary"])
def words(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> WordNet:
    if request.param == "table":
        monkeypatch.setattr(wordnet, "PLACES", ())
        monkeypatch.delenv("WNHOME", raising=False)
    else:
        need(WORDNET)
    found = wordnet.load()
    assert found.complete == (request.param == "dictionary")
    return found


def test_a_word_means_its_most_frequent_synset(words: WordNet) -> None:
    assert words.first_meaning("Horse") == HORSE
    assert words.first_meaning("domestic dog") == DOG
    assert words.first_meaning("no such word") is None


def test_the_concept_its_kinds_and_its_parents_cannot_be_negatives(words: WordNet) -> None:
    assert words.relation(HORSE, HORSE) == "is-the-concept"
    assert words.relation(HORSE, EQUID) == "kind-of-the-concept"
    assert words.relation(EQUID, HORSE) == "parent-of-the-concept"
    assert words.relation(ZEBRA, HORSE) is None


def test_siblings_are_nearer_than_other_animals(words: WordNet) -> None:
    zebra, dog = words.steps_to_common(ZEBRA, HORSE), words.steps_to_common(DOG, HORSE)
    assert zebra == 1
    assert dog is not None
    assert dog > 1


def test_only_the_whole_dictionary_knows_kinds_that_imagen_does_not_hold(words: WordNet) -> None:
    expected = "kind-of-the-concept" if words.complete else None
    assert words.relation(PONY, HORSE) == expected
