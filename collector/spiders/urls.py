"""A list of addresses: `collect crawl WORD --urls FILE`, with a license for each row, or one that a person states.

`lists.py` reads the file. A row without a license is refused, unless `sources.urls.license` vouches for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from collector import licenses
from collector.errors import UsageError
from collector.records import License, Sighting
from collector.spiders import lists
from collector.spiders.base import ImageSpider, Job, Page
from collector.spiders.config import SourceConfig, UrlsConfig

PAGE_SIZE = 1000
LONG = 300  # characters; a longer address is named by its hash
MISSING = License("missing")


class Urls(ImageSpider):
    """The pictures at the addresses of a list, in its order."""

    name = "urls"
    gives = "the pictures of a list of addresses of your own: text, CSV, TSV or Parquet"
    terms = "the license that each row states, or that you state for all of them"
    limits = "none; with --processes each process takes the hosts that are its own"
    spread = True
    config: UrlsConfig

    def __init__(self, job: Job, config: SourceConfig) -> None:
        super().__init__(job, config)
        self._open: dict[tuple[int, int, int], Iterator[lists.Row]] = {}  # where we stopped: what comes next

    def paths(self) -> list[Path]:
        """The lists: those of the command, else those of the settings, which are relative to config.toml."""
        if given := self.job.options.get("urls"):
            return [Path(each) for each in given]
        return [self.job.ws.root / each for each in self.config.files]

    def asks(self, words: str) -> str:
        """The words, and which lists in which state: a list that has changed is read from its beginning again."""
        paths = [path for path in self.paths() if path.exists()]
        states = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
        return json.dumps([words, states, self.config.model_dump(mode="json")])

    async def page(self, words: str, cursor: Any) -> Page:
        """The next 1,000 rows that are ours; a cursor is [list, where its next row begins, rows before it].

        Raises:
            UsageError: there is no list, or it cannot be read.
        """
        if words != self.job.queries[0][1]:
            return Page(())  # a list is the same whatever is searched for
        paths = self.paths()
        vouched = vouched_for(self.config.license)
        if cursor is None:
            lists.check(paths, self.config)
        index, after, number = cursor or (0, 0, 0)
        found: list[Sighting] = []
        while index < len(paths):
            reading = self._open.pop((index, after, number), None) or lists.rows(
                paths[index], self.config, after, number
            )
            for row in reading:
                if self.job.mine(row.address):
                    found.append(read_row(row, paths[index].name, vouched))
                    if len(found) == PAGE_SIZE:
                        self._open[index, row.after, row.number] = reading
                        return Page(found, [index, row.after, row.number])
                if row.number % PAGE_SIZE == 0:
                    await asyncio.sleep(0)  # the rows of other processes may be many
            index, after, number = index + 1, 0, 0
        return Page(found)


def read_row(row: lists.Row, name: str, vouched: License | None) -> Sighting:
    """A row of the list called `name`; `vouched` is the license that a person states for rows without one."""
    address = row.address
    where = f"row {row.number} of {name}"
    if row.license or vouched is None:
        stated, said = read_license(row.license), f"license={row.license!r}, {where}"
    else:
        stated, said = vouched, f"{where} states none; {vouched.evidence}"
    web = address.startswith(("http://", "https://"))
    return Sighting(
        "urls",
        (address if len(address) <= LONG else hashlib.sha256(address.encode()).hexdigest()) or where,
        address if web else address[:LONG],
        License(stated.code, stated.version, stated.url, stated.jurisdiction, said),
        title=row.caption,
    )


@lru_cache(4096)
def read_license(text: str) -> License:
    """The license of a column's text: a code with its version such as `by-4.0`, or an address."""
    if not text:
        return MISSING
    return licenses.from_code("", url=text) if "://" in text else licenses.from_code(text)


def vouched_for(text: str) -> License | None:
    """The license of `sources.urls.license`, None when it is empty.

    Raises:
        UsageError: it is no license that a crawl may take.
    """
    if not text:
        return None
    stated = licenses.from_person(text)
    if stated.code in licenses.OURS:
        raise UsageError(
            f"sources.urls.license is `{text}`, and a crawl takes licenses only",
            hint="state a code such as by-4.0; `collect import` takes pictures of your own",
        )
    evidence = f"a person states sources.urls.license={text!r}"
    return License(stated.code, stated.version, stated.url, stated.jurisdiction, evidence)
