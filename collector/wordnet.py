"""WordNet 3.0 nouns: what a word means, and what lies above, below and inside it. ImageNet's ids are its file offsets.

Read from the dictionary files where they are installed (Debian: `wordnet-base`); otherwise from a small table that
knows ImageN's 200 synsets and everything above them, which still tells kinds and parents of the concept apart there.
The format of the files: https://wordnet.princeton.edu/documentation/wndb5wn .
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from collector.errors import UsageError

FILES = ("data.noun", "index.noun")
PLACES = ("/usr/share/wordnet", "/usr/local/share/wordnet/dict", "~/nltk_data/corpora/wordnet")
ID = re.compile(r"n\d{8}")
ENDINGS = (("men", "man"), ("ies", "y"), ("shes", "sh"), ("ches", "ch"), ("xes", "x"), ("ses", "s"), ("s", ""))


class Synset(NamedTuple):
    """One meaning: its id (`n` and eight digits) and words; ids above and below it, inside it and of what it is in.

    `above` are hypernyms and `below` hyponyms; `inside` are parts and members, `around` what it is a part or member of.
    `gloss` is the definition; the small table has none.
    """

    wnid: str
    words: tuple[str, ...]
    above: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    around: tuple[str, ...] = ()
    gloss: str = ""


class WordNet:
    """Lookups over one source of synsets; `complete` says whether it is the whole dictionary.

    `senses` gives the meanings of a word (lower case, with _ for spaces), the most frequent one first; `common` how
    many of them occur in the texts that WordNet's authors tagged.
    """

    def __init__(
        self, synset: Callable[[str], Synset | None], index: Mapping[str, tuple[tuple[str, ...], int]], complete: bool
    ) -> None:
        self.synset = cache(synset)
        self.depth = cache(self._depth)
        self.complete = complete
        self._index = index

    def senses(self, word: str) -> tuple[str, ...]:
        """The meanings of a word or phrase, in the singular or plural: most frequent first, proper names last."""
        lemma, senses, _ = self._found(word)
        return tuple(sorted(senses, key=lambda sense: not self._spells(sense, lemma)))

    def common(self, word: str) -> tuple[str, ...]:
        """Those meanings of a word that occur in tagged texts and are no proper names."""
        lemma, senses, tagged = self._found(word)
        return tuple(sense for sense in senses[:tagged] if self._spells(sense, lemma))

    def first_meaning(self, word: str) -> str | None:
        """The most frequent meaning of a word, None if it is no noun."""
        return next(iter(self.senses(word)), None)

    def ancestors(self, wnid: str) -> set[str]:
        """Every synset above `wnid`, up to `entity`; empty for an unknown id."""
        return self.reached(wnid, "above") - {wnid}

    def reached(self, start: str | Iterable[str], *ways: str) -> set[str]:
        """`start`, and all that can be reached from it along `ways`: above, below, inside, around."""
        found: set[str] = set()
        waiting = [start] if isinstance(start, str) else list(start)
        while waiting:
            wnid = waiting.pop()
            if wnid not in found and (synset := self.synset(wnid)):
                found.add(wnid)
                for way in ways:
                    waiting += getattr(synset, way)
        return found

    def nearness(self, wnid: str, concept: str) -> float:
        """How much of the way from the top of WordNet to `concept` is also the way to `wnid`: 0 to 1.

        The depth of their lowest common parent over that of `concept` (after Wu and Palmer, 1994, for one side).
        """
        common = self.reached(wnid, "above") & self.reached(concept, "above")
        return max(map(self.depth, common), default=0) / max(1, self.depth(concept))

    def _depth(self, wnid: str) -> int:
        synset = self.synset(wnid)
        return max((1 + self.depth(up) for up in synset.above), default=0) if synset else 0

    def _spells(self, wnid: str, lemma: str) -> bool:
        synset = self.synset(wnid)
        return synset is not None and lemma in synset.words

    def _found(self, word: str) -> tuple[str, tuple[str, ...], int]:
        lemma = word.strip().lower().replace(" ", "_")
        forms = [lemma] + [lemma.removesuffix(end) + new for end, new in ENDINGS if lemma.endswith(end)]
        return next(((form, *self._index[form]) for form in forms if form in self._index), (lemma, (), 0))


def installed(folder: str = "") -> str | None:
    """The folder of the dictionary files, `folder` or one of the usual places; None if they are in none."""
    for place in (folder, os.environ.get("WNHOME", "") + "/dict", *PLACES):
        path = Path(place).expanduser()
        if place and all((path / name).is_file() for name in FILES):
            return str(path)
    return None


def load(folder: str = "") -> WordNet:
    """The dictionary in `folder`, or else in one of the usual places, else the table of ImageN's synsets.

    Raises:
        UsageError: `folder` holds no dictionary.
    """
    place = installed(folder)
    if folder and place != str(Path(folder).expanduser()):
        raise UsageError(f"{folder} does not hold {' and '.join(FILES)} of WordNet", hint="correct `negatives.wordnet`")
    return _dictionary(Path(place)) if place else table()


@cache
def _dictionary(folder: Path) -> WordNet:
    data = (folder / "data.noun").read_bytes()

    def synset(wnid: str) -> Synset | None:
        start = int(wnid[1:]) if ID.fullmatch(wnid) else len(data)
        return _parse(wnid, data[start : data.find(b"\n", start)].decode("utf-8", "replace"))

    index = {}
    for line in (folder / "index.noun").read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.startswith(" "):
            # lemma pos n_synsets n_pointers [pointers] n_senses n_tagged offset offset ...; most frequent first
            parts = line.split()
            try:
                at = 5 + int(parts[3])
                index[parts[0]] = tuple(f"n{offset}" for offset in parts[at + 1 :]), int(parts[at])
            except (IndexError, ValueError):
                hint = "WordNet 3.0's files are called data.noun and index.noun; Debian: `apt-get install wordnet-base`"
                raise UsageError(f"{folder}/index.noun is no dictionary of WordNet: {line[:60]!r}", hint=hint) from None
    return WordNet(synset, index, complete=True)


def _parse(wnid: str, line: str) -> Synset | None:
    facts, _, gloss = line.partition(" | ")
    parts = facts.split()
    if len(parts) < 4 or parts[0] != wnid[1:]:
        return None
    count = int(parts[3], 16)
    pointers = parts[5 + 2 * count :]  # symbol, offset, part of speech, which words; four by four
    ways: dict[str, list[str]] = {}
    for i in range(0, len(pointers) - 3, 4):
        if pointers[i + 2] == "n":
            ways.setdefault(pointers[i], []).append(f"n{pointers[i + 1]}")

    def along(*symbols: str) -> tuple[str, ...]:
        return tuple(other for symbol in symbols for other in ways.get(symbol, ()))

    words = tuple(parts[4 : 4 + 2 * count : 2])
    return Synset(wnid, words, along("@", "@i"), along("~", "~i"), along("%p", "%m"), along("#p", "#m"), gloss.strip())


@cache
def table() -> WordNet:
    """ImageN's 200 synsets and everything above them: words, hypernyms and hyponyms."""
    rows: dict[str, Synset] = {}
    below: dict[str, list[str]] = {}
    for line in resources.files("collector").joinpath("imagen_synsets.tsv").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            wnid, words, above = line.split("\t")
            rows[wnid] = Synset(wnid, tuple(words.split(",")), tuple(above.split(",")) if above else ())
            for up in rows[wnid].above:
                below.setdefault(up, []).append(wnid)
    senses: dict[str, list[str]] = {}
    for wnid, each in rows.items():
        rows[wnid] = each._replace(below=tuple(below.get(wnid, ())))
        for word in each.words:
            senses.setdefault(word.lower(), []).append(wnid)
    return WordNet(rows.get, {word: (tuple(found), len(found)) for word, found in senses.items()}, complete=False)
