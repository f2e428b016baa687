"""Pictures as files of their own, written in groups: what all formats without shards share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from collector import durable
from pipelines.export.records import About, Entry, Made, Part, Write

GROUP_BYTES = 64_000_000
GROUP = 256


def writer(place: Callable[[Made, About], str]) -> Write:
    """A `Format.write` that puts each picture at `place`, a path relative to the export."""

    def write(
        folder: Path, part: Part, pictures: Iterable[Made], about: About
    ) -> tuple[dict[str, tuple[str, int]], list[Entry]]:
        files: dict[str, tuple[str, int]] = {}
        entries: list[Entry] = []
        known: set[str] = set()
        group: dict[str, bytes] = {}
        size = 0
        for each in pictures:
            path = place(each, about)
            group[str(folder / path)] = each.data
            size += len(each.data)
            files[path] = (hashlib.sha256(each.data).hexdigest(), len(each.data))
            entries.append(entry(each, path))
            if size >= GROUP_BYTES or len(group) >= GROUP:
                durable.write_all(group, known)
                group, size = {}, 0
        durable.write_all(group, known)
        return files, entries

    return write


def entry(made: Made, path: str) -> Entry:
    """What is written down of a picture that lies in the file `path`."""
    row = made.row
    return Entry(row.image, path, made.name, made.width, made.height, made.turned, dict(made.changes), made.spared)
