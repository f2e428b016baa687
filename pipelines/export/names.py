"""Labels as names of folders: safe on every system, different where the labels are, and readable back.

What a path, a shell pattern or Windows gives a meaning to is written as %XX, as in an address, so
`urllib.parse.unquote` gives the label back.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

LONGEST = 200  # bytes of a name; file systems take 255
_PLAIN = frozenset(" -_.,+&()'")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)  # on Windows


def folders(labels: Iterable[str]) -> dict[str, str]:
    """Label -> the name of its folder.

    >>> folders(["horse", "../x", "con"])
    {'horse': 'horse', '../x': '%2E.%2Fx', 'con': '%63on'}
    """
    named: dict[str, str] = {}
    taken: set[str] = set()
    for label in labels:
        name = _safe(label)
        if _alike(name) in taken:  # systems that take upper and lower case for the same
            name = _escaped(name[0]) + name[1:] if not name.startswith("%") else f"{name}-{_hash(label)}"
        while _alike(name) in taken:
            name = f"{name}-{_hash(label)}"
        taken.add(_alike(name))
        named[label] = name
    return named


def _safe(label: str) -> str:
    name = "".join(letter if letter.isalnum() or letter in _PLAIN else _escaped(letter) for letter in label)
    if unicodedata.normalize("NFC", name) != name:  # a Mac would write it another way
        name = "".join(letter if letter.isascii() else _escaped(letter) for letter in name)
    if name[:1] in (".", " ", "_", "-") or _RESERVED.fullmatch(name):  # hidden, or taken for an option
        name = _escaped(name[0]) + name[1:]
    if name[-1:] in (".", " "):
        name = name[:-1] + _escaped(name[-1])
    if len(name.encode("utf-8", "replace")) > LONGEST:
        name = name.encode("utf-8", "replace")[:100].decode("utf-8", "ignore").rstrip(". %") + "-" + _hash(label)
    return name or "%"


def _escaped(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))


def _alike(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def _hash(label: str) -> str:
    return hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:8]
