"""Names that people type, mapped to what they mean, with "did you mean" when they mistype."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from collector.errors import UsageError

T = TypeVar("T")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`"; did you mean `limit`?"` for the nearest known word, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean `{near[0]}`?" if near else ""


class Registry(Generic[T]):
    """A table of named things of one kind.

    >>> hashes: Registry[int] = Registry("hash")
    >>> hashes.add("one", 1)
    >>> hashes["one"]
    1
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def add(self, name: str, item: T) -> None:
        """Register `item`; a name can be taken only once."""
        if name in self._items:
            raise UsageError(f"two plug-ins call their {self.kind} `{name}`", hint="rename one of them")
        self._items[name] = item

    def __getitem__(self, name: str) -> T:
        if name not in self._items:
            raise UsageError(
                f"`{name}` is not a {self.kind}{did_you_mean(name, self._items)}",
                hint=f"known: {', '.join(sorted(self._items))}",
            )
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __contains__(self, name: object) -> bool:
        return name in self._items
