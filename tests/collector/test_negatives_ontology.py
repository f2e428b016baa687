"""Which classes show a concept, how near the others are, and which names are ambiguous."""

from __future__ import annotations

import pytest

from collector import wordnet
from collector.negatives.config import NegativesConfig
from collector.negatives.ontology import Ontology
from collector.negatives.words import search_words
from collector.wordnet import WordNet
from pipelines.machine import WORDNET
from tests.conftest import need

HORSE, ZEBRA, EQUID, PONY, DOG, CAR = "n02374451", "n02391049", "n02374149", "n02382437", "n02084071", "n02958343"
HIPPO, HOTDOG, PERSON, BEE, TREE, APPLE = "n02398521", "n07697537", "n00007846", "n02206856", "n13104059", "n07739125"


@pytest.fixture
def dictionary() -> WordNet:
    need(WORDNET)
    return wordnet.load()


@pytest.fixture(params=["table", "dictionary"])
def words(request: pytest.FixtureRequest) -> WordNet:
    if request.param == "table":
        return wordnet.table()
    need(WORDNET)
    return wordnet.load()


def why(words: WordNet, concept: str, wnid: str | None) -> str | None:
    own = words.first_meaning(concept)
    assert own is not None
    refused = Ontology(words, {concept: own}).refuses(wnid or "")
    return refused.reason if refused else None


def test_the_concept_its_kinds_and_its_parents_cannot_be_negatives(words: WordNet) -> None:
    assert why(words, "horse", HORSE) == "is-the-concept"
    assert why(words, "equine", HORSE) == "kind-of-the-concept"
    assert why(words, "horse", EQUID) == "parent-of-the-concept"
    assert why(words, "horse", ZEBRA) is None
    assert why(words, "horse", "") is None


def test_only_the_whole_dictionary_knows_kinds_that_imagen_does_not_hold(words: WordNet) -> None:
    assert why(words, "horse", PONY) == ("kind-of-the-concept" if words.complete else None)


@pytest.mark.parametrize("part", ["hoof", "mane"])
def test_parts_of_the_concept_cannot_be_negatives(dictionary: WordNet, part: str) -> None:
    assert "part-of-the-concept" in {why(dictionary, "horse", sense) for sense in dictionary.senses(part)}


def test_what_has_the_concept_as_a_part_cannot_be_a_negative(dictionary: WordNet) -> None:
    assert why(dictionary, "wheel", CAR) == "has-the-concept"
    assert why(dictionary, "tree", dictionary.first_meaning("forest")) == "has-the-concept"
    assert why(dictionary, "tree", dictionary.first_meaning("apple")) in ("part-of-the-concept", None)


def test_no_part_keeps_look_alikes_out(dictionary: WordNet) -> None:
    for concept, others in {"horse": (ZEBRA, DOG), "dog": (HORSE,), "bird": (BEE,), "person": (DOG,)}.items():
        assert [why(dictionary, concept, other) for other in others] == [None] * len(others)


@pytest.mark.parametrize(
    ("concept", "near", "mid", "far"), [("horse", ZEBRA, DOG, CAR), ("dog", HORSE, BEE, CAR), ("bird", DOG, BEE, CAR)]
)
def test_tiers_follow_the_way_that_is_shared(words: WordNet, concept: str, near: str, mid: str, far: str) -> None:
    own = words.first_meaning(concept)
    assert own is not None
    ontology = Ontology(words, {concept: own})
    assert [ontology.tier(each) for each in (near, mid, far)] == ["near", "mid", "far"]


def test_the_nearest_label_decides(words: WordNet) -> None:
    assert Ontology(words, {"car": CAR, "horse": HORSE}).tier(ZEBRA) == "near"


@pytest.mark.parametrize(
    ("concept", "wnid", "said"),
    [
        ("dog", HOTDOG, "hot dog"),
        ("horse", HIPPO, "river horse"),
        ("person", "n03445777", "people play with it"),
        ("person", "n02828884", "its definition speaks of `person`"),
        ("person", "n04141975", ""),
        ("person", "n02807133", "people wear it"),
        ("woman", "n03800933", "people play it"),
        ("horse", "n02807133", ""),
        ("horse", ZEBRA, ""),
        ("horse", "n99999999", "does not know"),
    ],
)
def test_ambiguous_names_go_to_people(dictionary: WordNet, concept: str, wnid: str, said: str) -> None:
    own = dictionary.first_meaning(concept)
    assert own is not None
    found = Ontology(dictionary, {concept: own}).ambiguous(wnid)
    assert said in found
    assert bool(said) == bool(found)


def test_another_meaning_of_the_concept_is_ambiguous_with_its_kinds_and_near_parents(dictionary: WordNet) -> None:
    machine, *others = dictionary.senses("crane")
    bird = next(each for each in others if dictionary.first_meaning("bird") in dictionary.ancestors(each))
    ontology = Ontology(dictionary, {"crane": machine})
    assert "can also mean" in ontology.ambiguous(bird)
    assert "can also mean" in ontology.ambiguous(str(dictionary.first_meaning("wading bird")))
    assert ontology.ambiguous(DOG) == ""


@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("A horse in a field", "horse"),
        ("Cows, ponies; a barn", "ponies"),
        ("HORSES!", "horses"),
        ("the horse-drawn cart", "horse"),
        ("horse race", "horse"),
        ("rocking horse", ""),
        ("Horse chestnut in bloom", ""),
        ("Seahorses", ""),
        ("Zebra", ""),
        ("", ""),
        ("ロバ", ""),
    ],
)
def test_a_title_may_speak_of_the_concept(dictionary: WordNet, title: str, said: str) -> None:
    assert Ontology(dictionary, {"horse": HORSE}).says(title) == said


@pytest.mark.parametrize(
    ("query", "tier", "refused"),
    [("donkey", "near", False), ("cows", "near", False), ("dog", "mid", False), ("car", "far", False),
     ("qwertz", "far", False), ("pony", "near", True), ("animal", "mid", True)],
)  # fmt: skip
def test_a_query_has_the_tier_of_what_it_means(dictionary: WordNet, query: str, tier: str, refused: bool) -> None:
    ontology = Ontology(dictionary, {"horse": HORSE})
    wnid, found = ontology.of_query(query)
    assert (ontology.refuses(wnid) is not None) == refused
    assert refused or found == tier


@pytest.mark.parametrize("concept", ["horse", "dog", "bird", "person", "car"])
def test_no_search_word_of_the_plan_means_the_concept(words: WordNet, concept: str) -> None:
    own = words.first_meaning(concept)
    assert own is not None
    ontology = Ontology(words, {concept: own})
    found = search_words(NegativesConfig(), ontology, seed=0)
    assert all(found.values())
    for tier in ("near", "mid", "far"):
        assert {ontology.of_query(word)[1] for word in found[tier] if words.complete} <= {tier}
        assert not [word for word in found[tier] if ontology.refuses(words.first_meaning(word) or "")]
    assert search_words(NegativesConfig(), ontology, seed=0) == found


@pytest.mark.parametrize(
    ("concept", "siblings"),
    [("horse", {"zebra", "donkey"}), ("dog", {"fox", "wolf"}), ("cat", {"fox"}), ("bird", {"snake"})],
)
def test_the_plan_begins_with_siblings_one_of_each_branch(
    dictionary: WordNet, concept: str, siblings: set[str]
) -> None:
    own = dictionary.first_meaning(concept)
    assert own is not None
    near = search_words(NegativesConfig(), Ontology(dictionary, {concept: own}), seed=0)["near"]
    assert siblings <= set(near)
    assert sum("zebra" in word for word in near) <= 1


def test_a_definition_may_name_the_concept_to_tell_a_sibling_apart(dictionary: WordNet) -> None:
    ass = next(each for each in dictionary.senses("ass") if EQUID in dictionary.ancestors(each))
    assert Ontology(dictionary, {"horse": HORSE}).ambiguous(ass) == ""
    assert Ontology(dictionary, {"horse": HORSE}).ambiguous(str(dictionary.first_meaning("hayrack"))) == ""


@pytest.mark.parametrize("concept", ["dog", "bird", "person", "horse"])
def test_of_imagens_classes_no_kind_or_parent_slips_in(dictionary: WordNet, concept: str) -> None:
    own = str(dictionary.first_meaning(concept))
    ontology = Ontology(dictionary, {concept: own})
    known = {wnid: wordnet.table().synset(wnid) for wnid in wordnet.table().reached("n00001740", "below")}
    classes = [wnid for wnid, synset in known.items() if synset and not synset.below]
    assert len(classes) == 200
    family = dictionary.reached(own, "below") | dictionary.reached(own, "above")
    slipped = [wnid for wnid in classes if wnid in family and ontology.refuses(wnid) is None]
    assert slipped == []
    unrelated = [wnid for wnid in classes if wnid not in family and ontology.refuses(wnid) is not None]
    assert len(unrelated) <= 2  # parts


def test_the_plan_knows_the_usual_places(dictionary: WordNet) -> None:
    ontology = Ontology(dictionary, {"horse": HORSE})
    assert {"stable", "meadow"} <= set(search_words(NegativesConfig(), ontology, 0)["context"])
    assert search_words(NegativesConfig(context=("moor",)), ontology, 0)["context"] == ("moor",)
