"""Search words for negatives, tier by tier: look-alikes, other things, usual places and junk, from WordNet."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby

from collector import wordnet
from collector.negatives.config import NegativesConfig
from collector.negatives.ontology import Ontology
from collector.splits import position

WORDS = 6  # search words for a tier
SIBLINGS = (3, 2)  # of them the nearest in WordNet: below the concept's parent, and below the next; others at random
MOST_KINDS = 150
TOP = "n00001740"  # entity
Ranked = tuple[tuple[float, int, int, int, tuple[bool, int], float], str, str]  # rank, synset, name
PLACES = ("n04341686", "n00027167", "n09334396")  # structure, location, land: where things are
SCENES = {
    "n00015388": ("meadow", "forest", "lake"),  # animal
    "n00007846": ("empty street", "empty room", "beach"),  # person
    "n00017222": ("garden", "meadow", "forest floor"),  # plant
    "n00021265": ("empty plate", "kitchen", "table"),  # food
    "n00021939": ("room", "street", "workbench"),  # artifact
    TOP: ("landscape", "street", "room"),  # anything else
}


def search_words(config: NegativesConfig, knows: Ontology, seed: int) -> dict[str, tuple[str, ...]]:
    """Tier -> words to search for: look-alikes, other things drawn at random, usual places, junk."""
    drawn = _nouns(knows, seed)
    return {
        **{tier: tuple(word for word, own in drawn if own == tier)[:WORDS] for tier in ("near", "mid", "far")},
        "context": context_words(config, knows),
        "junk": config.junk,
    }


def context_words(config: NegativesConfig, knows: Ontology) -> tuple[str, ...]:
    """The usual places of the concept: those whose definition names it (stable, kennel), and plain scenes."""
    if config.context:
        return config.context
    words = knows.words
    own = words.synset(next(iter(knows.synsets.values())))
    names = "|".join(re.escape(name.replace("_", " ").lower()) for name in own.words) if own else "$^"
    named = re.compile(rf"\b({names})(s|es)?\b")
    found = {}
    for wnid in sorted(words.reached(PLACES, "below") - knows.related.keys()):
        synset = words.synset(wnid)
        if synset and named.search(synset.gloss.partition('; "')[0].lower()) and (name := _name(words, wnid)):
            found[name] = wnid not in words.common(name)
    above = words.ancestors(own.wnid) | {own.wnid} if own else set()
    scenes = next(scenes for top, scenes in SCENES.items() if top in above or top == TOP)
    places = sorted(found, key=lambda name: (found[name], name))
    return tuple(dict.fromkeys([*places[: WORDS - len(scenes)], *scenes]))


def _nouns(knows: Ontology, seed: int) -> list[tuple[str, str]]:
    """(word, tier) of other things: the nearest ones in WordNet first, then ImageN's 200 classes in random order."""
    words, table = knows.words, wordnet.table()
    basic = {
        wnid: synset for wnid in table.reached(TOP, "below") if (synset := table.synset(wnid)) and not synset.below
    }
    own = next(iter(knows.synsets.values()))
    branch = _branches(words, [wnid for wnid in words.reached(own, "above") if knows.tier(wnid) == "near"])
    kinds = Counter(branch.values())
    found = []
    for wnid in (basic.keys() | branch.keys()) - knows.related.keys():
        name = basic[wnid].words[0].replace("_", " ") if wnid in basic else _name(words, wnid)
        if name:
            seldom = 0 if wnid in basic else 1 if wnid in words.common(name) else 2
            size = -kinds[branch[wnid]] if wnid in branch else 0  # many kinds: well known
            plain = " " in name, -len(words.reached(wnid, "below"))
            rank = -words.nearness(wnid, own), seldom, size, words.depth(wnid), plain, position(f"{seed}:{wnid}")
            found.append((rank, wnid, name))
    near = [each for each in sorted(found) if knows.tier(each[1]) == "near" and not _is_wide(words, each[1])]
    rest = sorted((each for each in found if each[1] in basic), key=lambda each: each[0][-1])
    chosen = [*_siblings(knows, near, branch), *(each for each in rest if not knows.ambiguous(each[1]))]
    means = {name: knows.of_query(name) for *_, name in chosen}  # the same is asked of what the search will find
    return [(name, tier) for name, (wnid, tier) in means.items() if not knows.refuses(wnid)]


def _branches(words: wordnet.WordNet, line: list[str]) -> dict[str, str]:
    """Synset -> the child of one of the concept's parents that it lies below, the nearest parent that has it."""
    found: dict[str, str] = {}
    for up in sorted(line, key=lambda wnid: (-words.depth(wnid), wnid)):
        synset = words.synset(up)
        for child in synset.below if synset else ():
            for wnid in words.reached(child, "below"):
                found.setdefault(wnid, child)
    return found


def _siblings(knows: Ontology, near: list[Ranked], branch: Mapping[str, str]) -> Iterator[Ranked]:
    """The first of each branch, so that not all are zebras; so many from each of the two nearest levels."""
    taken: set[str] = set()
    levels = groupby(near, key=lambda each: each[0][0])
    for most, (_, level) in zip(SIBLINGS, levels, strict=False):
        room = most
        for each in level:
            top = branch.get(each[1], each[1])
            if room and top not in taken and not knows.ambiguous(each[1]):
                taken.add(top)
                room -= 1
                yield each


def _is_wide(words: wordnet.WordNet, wnid: str) -> bool:
    """Whether a word stands for so many kinds of things that a search for it shows anything: mammal."""
    return len(words.reached(wnid, "below")) > MOST_KINDS


def _name(words: wordnet.WordNet, wnid: str) -> str:
    """The word of a synset that mostly means it, as people type it; empty if there is none."""
    synset = words.synset(wnid)
    names = [word for word in (synset.words if synset else ()) if word.islower() and wnid in words.senses(word)[:2]]
    return min(names, key=lambda word: ("_" in word, words.first_meaning(word) != wnid), default="").replace("_", " ")
