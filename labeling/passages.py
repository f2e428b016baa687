"""Which sentences of the guideline speak of two labels that people mistake for each other."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?=\S)[^.!?\n]*)*[.!?]*")
_WORD = re.compile(r"\w+")
_EMPTY = {"not", "no", "none", "other", "others", "the", "of", "a", "an", "and", "or", "with", "without", "them"}


def sentences(text: str) -> list[str]:
    """The sentences of a plain text; a line that ends without a full stop ends one as well."""
    found = (match.group().strip(" \t*#->") for match in _SENTENCE.finditer(text))
    return [sentence for sentence in found if _WORD.search(sentence)]


def about(text: str, labels: Sequence[str]) -> list[str]:
    """The sentences that name one of the labels, or a word of one; those that name most labels come first.

    Words are compared without case, and an ending of up to two letters is forgiven: horse finds horses.
    """
    wanted = [_words(label) for label in labels]
    scored = []
    for place, sentence in enumerate(sentences(text)):
        said = [word.casefold() for word in _WORD.findall(sentence)]
        named = sum(any(_same(word, each) for each in said for word in words) for words in wanted)
        if named:
            scored.append((-named, place, sentence))
    return [sentence for _, _, sentence in sorted(scored)]


def advice(text: str, first: str, second: str) -> str:
    """One sentence on what the guideline says of a pair of labels, or that it is silent."""
    found = about(text, (first, second))
    pair = f"`{first}` and `{second}`"
    if not text.strip():
        return f"There is no guideline: say in `label.guideline` what tells {pair} apart."
    if not found:
        return f"The guideline is silent on {pair}: say what tells them apart, with an example of each."
    quoted = " ".join(f"“{sentence}”" for sentence in found[:2])
    return f"Of {pair} the guideline says: {quoted} Sharpen it there."


def _words(label: str) -> set[str]:
    words = {word.casefold() for word in _WORD.findall(label)}
    return {word for word in words if word not in _EMPTY} or words


def _same(word: str, said: str) -> bool:
    return said == word or (len(word) > 3 and said.startswith(word) and len(said) - len(word) <= 2)
