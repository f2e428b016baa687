"""What WordNet says of candidates: which show the concept, how near the others are, which names are ambiguous."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from collector.records import Rejected
from collector.wordnet import WordNet

REASONS = {
    "is-the-concept": "its class is the concept",
    "kind-of-the-concept": "its class is a kind of the concept",
    "parent-of-the-concept": "the concept is a kind of its class",
    "part-of-the-concept": "its class is a part or member of the concept, of a kind or of a parent of it",
    "has-the-concept": "the concept is a part or member of its class",
}
NEAR, MID = 0.75, 0.4
OBJECT, PERSON = "n00002684", "n00007846"
USED = {  # of 50 pictures of such classes of ImageN that were looked at, 35 show people
    "n03051540": "wear", "n04272054": "wear", "n04447443": "put on", "n03800933": "play", "n04285146": "play with",
    "n02778669": "play with", "n04576211": "ride or drive",
}  # fmt: skip
WORD = re.compile(r"[^\W\d_]+")


class Ontology:
    """The synsets of a concept's labels (without "none of them"), and what each other synset is to them.

    `related` is synset -> (reason, label) for everything that surely shows one of them. `is_human`: one is a person, of
    whom pictures of nearly anything may show one.
    """

    def __init__(self, words: WordNet, synsets: Mapping[str, str]) -> None:
        self.words = words
        self.synsets = dict(synsets)
        self.kinds = {label: words.reached(own, "below") for label, own in synsets.items()}
        self.related: dict[str, tuple[str, str]] = {}
        for label in synsets:
            for wnid, reason in self._related(label).items():
                self.related.setdefault(wnid, (reason, label))
        self.is_human = any(PERSON in words.reached(own, "above") for own in synsets.values())
        tops = (words.synset(own) for own in synsets.values())
        self._parents = {up for top in tops if top for up in top.above}
        self.tier, self.ambiguous = cache(self._tier), cache(self._ambiguous)
        self._shown = set[str]().union(*self.kinds.values())
        self._also = {
            sense: label for label, own in synsets.items() for sense in words.senses(label) if sense not in self.related
        }

    def _tier(self, wnid: str) -> str:
        """How near a synset is, by how much of a label's way from the top of WordNet it shares."""
        nearness = self._nearness(wnid)
        return "near" if nearness >= NEAR else "mid" if nearness >= MID else "far"

    def refuses(self, wnid: str) -> Rejected | None:
        """Why pictures of a class must not be negatives; None if they may, and for pictures of no known class."""
        if wnid not in self.related:
            return None
        reason, label = self.related[wnid]
        return Rejected(reason, f"{_called(self.words, wnid)} against {_called(self.words, self.synsets[label])}")

    def _ambiguous(self, wnid: str) -> str:
        """Why people should look at pictures of a class that is not related to the concept; empty if they need not."""
        synset = self.words.synset(wnid)
        if synset is None:
            return f"WordNet here does not know {wnid}"
        above = {wnid} | self.words.ancestors(wnid)
        for sense, label in self._also.items():
            if sense in above or (wnid in self.words.ancestors(sense) and self.words.nearness(wnid, sense) >= NEAR):
                return f"`{label}` can also mean {_called(self.words, sense)}"
        if use := next((use for top, use in USED.items() if top in above and self.is_human), ""):
            return f"people {use} it"
        for word in synset.words:
            if label := self._named_in(word.replace("_", " ")):
                return f"its name `{word.replace('_', ' ')}` has `{label}`"
            if means := [sense for sense in self.words.common(word) if sense in self._shown]:
                return f"`{word.replace('_', ' ')}` can also mean {_called(self.words, means[0])}"
        if self._parents & above:
            return ""  # a definition tells siblings apart by naming the other: an ass is smaller than a horse
        said = self.says(synset.gloss.partition('; "')[0])
        return f"its definition speaks of `{said}`" if said else ""

    def says(self, text: str) -> str:
        """The first word of a text that usually means the concept or a kind of it; empty if there is none.

        Within a phrase that means another object, it says nothing: rocking horse, horse chestnut.
        """
        found = [each[0] for each in WORD.finditer(text.lower())]
        for before, word, after in zip(["", *found], found, [*found[1:], ""], strict=False):
            if next(iter(self.words.common(word)), None) in self._shown and not (
                self._is_other(f"{before} {word}") or self._is_other(f"{word} {after}")
            ):
                return word
        return ""

    def _is_other(self, phrase: str) -> bool:
        means = self.words.first_meaning(phrase)
        return means is not None and means not in self.related and OBJECT in self.words.ancestors(means)

    def of_query(self, query: str) -> tuple[str, str]:
        """(synset, tier) of search words; far if WordNet does not know them.

        If they mostly mean something else than the concept, they were meant as what is nearest to it (donkey: the
        animal rather than the symbol of a party).
        """
        senses = self.words.senses(query)
        if not senses or senses[0] in self.related:
            return (senses[0], "near") if senses else ("", "far")
        wnid = max((sense for sense in senses if sense not in self.related), key=self._nearness)
        return wnid, self.tier(wnid)

    def _nearness(self, wnid: str) -> float:
        return max((self.words.nearness(wnid, own) for own in self.synsets.values()), default=0.0)

    def _named_in(self, name: str) -> str:
        parts = set(WORD.findall(name.lower()))
        return next((label for label in self.synsets if set(WORD.findall(label.lower())) <= parts), "")

    def _related(self, label: str) -> dict[str, str]:
        """Synset -> reason. What is inside parents is inside the concept too, but not all kinds of that.

        WordNet knows parts of kinds (the mane of a horse) whose direct parent is what a class would be called (mane).
        """
        words, own, kinds = self.words, self.synsets[label], self.kinds[label]
        above, parts = words.ancestors(own), set(_along(words, kinds, "inside"))
        groups = {
            "has-the-concept": words.reached(_along(words, kinds, "around"), "around", "below"),
            "part-of-the-concept": words.reached(parts, "inside", "below")
            | set(_along(words, parts, "above"))
            | words.reached(_along(words, above, "inside"), "inside"),
            "parent-of-the-concept": above,
            "kind-of-the-concept": kinds,
            "is-the-concept": {own},
        }
        return {wnid: reason for reason, found in groups.items() for wnid in found}


def _along(words: WordNet, wnids: set[str], way: str) -> list[str]:
    return [other for wnid in sorted(wnids) if (synset := words.synset(wnid)) for other in getattr(synset, way)]


def _called(words: WordNet, wnid: str) -> str:
    synset = words.synset(wnid)
    return f"{wnid} ({synset.words[0].replace('_', ' ')})" if synset else wnid
