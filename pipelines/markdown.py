"""Markdown in which strangers' text stays text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from collector.credits import plain, web_link

_MARKS = re.compile(r"([\\`*_{}\[\]<>#|~$&])")


def text(value: object) -> str:
    """Anything on one line, as Markdown and HTML take it literally."""
    return _MARKS.sub(r"\\\1", plain(str(value)))


def code(value: object) -> str:
    """Anything on one line as a code span, whose fence is longer than any within."""
    said = plain(str(value))
    fence = "`" * (max(map(len, re.findall("`+", said)), default=0) + 1)
    gap = " " if "`" in said else ""
    return f"{fence}{gap}{said}{gap}{fence}"


class Markdown(str):
    """Text that is Markdown already."""


def linked(value: object, url: str) -> Markdown:
    """Text that leads to a web page, or text alone where the address is none."""
    address = web_link(url)
    good = address and not set("<>\\\n|") & set(address)
    return Markdown(f"[{text(value)}](<{address}>)" if good else text(value))


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table; a cell that is `Markdown` stays as it is."""
    lines = [head, [Markdown("---")] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(each) for each in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return value if isinstance(value, Markdown) else text(value)
