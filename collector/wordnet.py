"""WordNet 3.0 nouns: which synset a word means, and what lies above it. ImageNet's ids are its file offsets.

Read from the dictionary files where they are installed (Debian: `wordnet-base`); otherwise from a small table that
knows ImageN's 200 synsets and everything above them, which still tells kinds and parents of the concept apart there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

PLACES = ("/usr/share/wordnet", "/usr/local/share/wordnet/dict", "~/nltk_data/corpora/wordnet")


class Synset(NamedTuple):
    """One meaning: its id (`n` and eight digits), its words, and the ids directly above it (hypernyms)."""

    wnid: str
    words: tuple[str, ...]
    above: tuple[str, ...]


class WordNet:
    """Lookups over one source of synsets; `complete` says whether it is the whole dictionary."""

    def __init__(
        self, synset: Callable[[str], Synset | None], first: Callable[[str], str | None], complete: bool
    ) -> None:
        self.synset = cache(synset)
        self.first_meaning = first
        self.complete = complete

    def ancestors(self, wnid: str) -> set[str]:
        """Every synset above `wnid`, up to `entity`; empty for an unknown id."""
        found: set[str] = set()
        waiting = [wnid]
        while waiting:
            synset = self.synset(waiting.pop())
            for above in synset.above if synset else ():
                if above not in found:
                    found.add(above)
                    waiting.append(above)
        return found

    def relation(self, wnid: str, concept: str) -> str | None:
        """Why `wnid` cannot be a negative of `concept`: it is the concept, a kind of it or a parent; None if it can."""
        if wnid == concept:
            return "is-the-concept"
        if concept in self.ancestors(wnid):
            return "kind-of-the-concept"
        if wnid in self.ancestors(concept):
            return "parent-of-the-concept"
        return None

    def steps_to_common(self, wnid: str, concept: str) -> int | None:
        """Steps from `concept` up to the nearest synset that also lies above `wnid`; None if there is none."""
        other = {wnid} | self.ancestors(wnid)
        level, steps = {concept}, 0
        while level:
            if level & other:
                return steps
            level = {up for each in level for up in ((self.synset(each) or Synset(each, (), ())).above)}
            steps += 1
        return None


def installed(folder: str = "") -> str | None:
    """The folder of the dictionary files, `folder` or one of the usual places; None if they are in none."""
    for place in (folder, os.environ.get("WNHOME", "") + "/dict", *PLACES):
        path = Path(place).expanduser()
        if place and (path / "data.noun").is_file() and (path / "index.noun").is_file():
            return str(path)
    return None


def load(folder: str = "") -> WordNet:
    """The dictionary in `folder` or in one of the usual places, else the table of ImageN's synsets."""
    place = installed(folder)
    return _dictionary(Path(place)) if place else _table()


def _dictionary(folder: Path) -> WordNet:
    def synset(wnid: str) -> Synset | None:
        with open(folder / "data.noun", "rb") as file:
            file.seek(int(wnid[1:]))
            return _parse(wnid, file.readline().decode())

    @cache
    def index() -> dict[str, str]:
        lines = (folder / "index.noun").read_text(encoding="utf-8").splitlines()
        # lemma pos n_synsets n_pointers [pointers] n_senses n_tagged offset offset ...; most frequent meaning first
        parts = [line.split() for line in lines if not line.startswith(" ")]
        return {each[0]: f"n{each[6 + int(each[3])]}" for each in parts}

    return WordNet(synset, lambda word: index().get(_lemma(word)), complete=True)


def _parse(wnid: str, line: str) -> Synset | None:
    parts = line.partition(" | ")[0].split()
    if len(parts) < 4 or parts[0] != wnid[1:]:
        return None
    count = int(parts[3], 16)
    words = tuple(parts[4 : 4 + 2 * count : 2])
    pointers = parts[5 + 2 * count :]
    above = (f"n{pointers[i + 1]}" for i in range(0, len(pointers) - 3, 4) if pointers[i] in ("@", "@i"))
    return Synset(wnid, words, tuple(above))


def _table() -> WordNet:
    rows: dict[str, Synset] = {}
    for line in resources.files("collector").joinpath("imagen_synsets.tsv").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            wnid, words, above = line.split("\t")
            rows[wnid] = Synset(wnid, tuple(words.split(",")), tuple(above.split(",")) if above else ())
    by_word: dict[str, str] = {}
    for wnid, synset in rows.items():
        for word in synset.words:
            by_word.setdefault(word.lower(), wnid)
    return WordNet(rows.get, lambda word: by_word.get(_lemma(word)), complete=False)


def _lemma(word: str) -> str:
    return word.strip().lower().replace(" ", "_")
