"""What travels inside an export: the options, a part of the work, a picture ready to be written, what became of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.manifest import ManifestRow

if TYPE_CHECKING:
    import pyarrow as pa

STEM = 16  # letters of a sha256 that name a file: two of 1e6 pictures share them once in 4e7 exports


@dataclass(frozen=True, slots=True)
class Options:
    """How to export: `resize` is the shorter side in pixels, 0 for as it is; `shard_size` is in pictures."""

    format: str
    splits: tuple[str, ...]
    resize: int = 0
    keep_exif: bool = False
    blur_faces: bool = False
    shard_size: int = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """A run of rows of one split that is written, and written down, at once: `number` of `parts` of that split.

    `table` is a slice of the manifest's; rows are made of it when they are needed.
    """

    split: str
    number: int
    parts: int
    table: pa.Table

    @property
    def rows(self) -> Iterator[ManifestRow]:
        """The rows, in order."""
        columns = (column.to_pylist() for column in self.table.columns)
        return (ManifestRow(*row) for row in zip(*columns, strict=True))

    @property
    def size(self) -> int:
        """How many rows there are."""
        return int(self.table.num_rows)

    @property
    def name(self) -> str:
        """`train-00003`."""
        return f"{self.split}-{self.number:05d}"


class Made(NamedTuple):
    """A picture as it will be exported: `width` and `height` are in pixels, upright.

    `turned` says that only its EXIF orientation makes it upright. `changes` are what was done, kind -> words; `spared`
    that a license against derivatives kept it at its size.
    """

    row: ManifestRow
    data: bytes
    suffix: str
    width: int
    height: int
    turned: bool
    changes: Mapping[str, str]
    spared: bool

    @property
    def stem(self) -> str:
        """The beginning of the sha256 of the original."""
        return self.row.image[:STEM]

    @property
    def name(self) -> str:
        """A file name that is safe everywhere and the same in every export."""
        return self.stem + self.suffix


class Entry(NamedTuple):
    """What is written down of an exported picture; `path` is the file that holds it, relative to the export."""

    image: str
    path: str
    name: str
    width: int
    height: int
    turned: bool
    changes: Mapping[str, str]
    spared: bool

    @property
    def done(self) -> str:
        """The changes in words, empty for original bytes."""
        return ", ".join(self.changes.values())


class Written(NamedTuple):
    """A finished part: its files (path -> sha256 and bytes), its pictures, and how many were left out, by reason."""

    files: dict[str, tuple[str, int]]
    entries: list[Entry]
    left_out: dict[str, int]

    def to_json(self) -> bytes:
        """For the journal of the export."""
        return json.dumps(self._asdict(), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Written:
        """The opposite of `to_json`; raises `ValueError`, `KeyError` or `TypeError`."""
        told = json.loads(data)
        files = {path: (str(digest), int(size)) for path, (digest, size) in told["files"].items()}
        return cls(files, [Entry(*each) for each in told["entries"]], dict(told["left_out"]))


@dataclass(frozen=True, slots=True)
class About:
    """What all formats need to know of the data set.

    `name` and digest are of the `snapshot`, `settings` its own; `labels` are in our order, each with its folder;
    `gone` are pictures of it that may not be given away any more, each with the reason.
    """

    concept: str
    name: str
    snapshot: str
    made_at: str
    labels: tuple[str, ...]
    folders: Mapping[str, str]
    options: Options
    settings: Mapping[str, Any]
    gone: Mapping[str, str]

    def plan(self) -> dict[str, Any]:
        """What decides about every byte of the export: two exports of one plan are equal."""
        told = json.dumps(sorted(self.gone)).encode()
        options = {**asdict(self.options), "splits": list(self.options.splits)}
        return {"snapshot": self.snapshot, **options, "gone": hashlib.sha256(told).hexdigest()}


Pairs = Callable[[], Iterator[tuple[ManifestRow, Entry]]]
Write = Callable[[Path, Part, Iterable[Made], About], tuple[dict[str, tuple[str, int]], list[Entry]]]


@dataclass(frozen=True, slots=True)
class Format:
    """One way to lay a data set out.

    `reads` are the kinds of pictures that its readers read; others become PNG. `write` writes the pictures of a part
    whole and durably, below the folder. `index` gives further files from all entries, path -> pieces of text, split by
    split. `load` is the code of the card that loads it, and `configs` what Hugging Face's front matter needs to find
    the files of a split (`{split}`), empty where it cannot.
    """

    reads: frozenset[str]
    write: Write
    load: Callable[[About], str]
    library: str
    index: Callable[[str, Pairs, About], Iterable[str]] | None = None
    index_path: str = ""
    configs: str = ""
