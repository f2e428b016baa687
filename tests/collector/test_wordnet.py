"""WordNet: what a word means, and what lies around it; with the dictionary and with the small table."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector import wordnet
from collector.errors import UsageError
from collector.wordnet import WordNet
from pipelines.machine import WORDNET
from tests.conftest import need

HORSE, ZEBRA, EQUID, DOG, BEE, CAR = "n02374451", "n02391049", "n02374149", "n02084071", "n02206856", "n02958343"


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


@pytest.fixture
def dictionary() -> WordNet:
    need(WORDNET)
    return wordnet.load()


def test_a_word_means_its_most_frequent_synset(words: WordNet) -> None:
    assert words.first_meaning("Horse") == HORSE
    assert words.first_meaning("horses") == HORSE
    assert words.first_meaning("domestic dog") == DOG
    assert words.first_meaning("no such word") is None
    assert words.first_meaning("") is None


def test_what_lies_above_and_below(words: WordNet) -> None:
    assert EQUID in words.ancestors(HORSE)
    assert HORSE not in words.ancestors(HORSE)
    assert {HORSE, ZEBRA} < words.reached(EQUID, "below")
    assert words.ancestors("n99999999") == words.reached("n99999999", "below") == set()


def test_siblings_are_nearer_than_other_animals_and_those_than_things(words: WordNet) -> None:
    zebra, dog, bee, car = (words.nearness(each, HORSE) for each in (ZEBRA, DOG, BEE, CAR))
    assert words.nearness(HORSE, HORSE) == 1 > zebra > dog > bee > car > 0
    assert words.nearness("n99999999", HORSE) == 0


def test_an_id_that_is_none_is_unknown(words: WordNet) -> None:
    assert [words.synset(each) for each in ("horse", "n1", "n02374452", "n99999999", "", "v02374451")] == [None] * 6


def test_proper_names_come_last(dictionary: WordNet) -> None:
    first, *_, last = (dictionary.synset(each) for each in dictionary.senses("crane"))
    assert first is not None
    assert last is not None
    assert "crane" in first.words
    assert "crane" not in last.words


@pytest.mark.parametrize(("plural", "one"), [("ponies", "pony"), ("women", "woman"), ("foxes", "fox"), ("cars", "car")])
def test_plurals_mean_what_one_means(dictionary: WordNet, plural: str, one: str) -> None:
    assert dictionary.senses(plural) == dictionary.senses(one) != ()


def test_the_dictionary_knows_parts(dictionary: WordNet) -> None:
    forest, tree, genus = (str(dictionary.first_meaning(word)) for word in ("forest", "tree", "genus equus"))
    assert tree in dictionary.reached(forest, "inside")
    assert forest in dictionary.reached(tree, "around")
    assert genus in dictionary.reached(HORSE, "around")


def test_files_that_are_no_dictionary_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"does not hold data\.noun"):
        wordnet.load(str(tmp_path))
    for name in wordnet.FILES:
        (tmp_path / name).write_bytes(b"\xff\xfe\x00 broken\n" * 200)
    with pytest.raises(UsageError, match="no dictionary"):
        wordnet.load(str(tmp_path))
