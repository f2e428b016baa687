"""A snapshot as it lies on the disk: sorted rows, one digest over all of them, one file that never changes."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

import numpy as np
from numpy.typing import NDArray

from collector.catalog import forgotten, models, pools
from collector.catalog.models import SnapshotRow
from collector.errors import CollectError, GateNotMet, UsageError
from collector.workspace import Workspace
from pipelines import parquet

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 2  # of the digest and the columns

SPLITS = ("train", "calibration", "validation", "test")
HELD_OUT = ("calibration", "validation", "test")  # labeled blind, never trained on


class ManifestRow(NamedTuple):
    """One image of a snapshot.

    `group` is the image kept for its near-duplicates; `votes` is JSON, label -> people. `facts` is what else the source
    says, as JSON. `bytes`, `width` and `height` (pixels, upright) and `format` are of the original; `flags` are those
    of `collect quality` that it carries, by a space. `erratum` is the number of the erratum that set the label, or 0.
    The last ten are empty in snapshots of format 1.
    """

    image: str
    split: str
    label: str
    confidence: float
    method: str
    votes: str
    annotators: int
    group: str
    role: str
    tier: str
    source: str
    source_id: str
    url: str
    page: str
    title: str
    creator: str
    creator_url: str
    license: str
    license_version: str
    license_url: str
    license_evidence: str
    license_jurisdiction: str = ""
    query: str = ""
    facts: str = "{}"
    width: int = 0
    height: int = 0
    bytes: int = 0
    format: str = ""
    flags: str = ""
    erratum: int = 0


UNIQUE = ("image", "group", "source_id", "url", "page")  # nearly every row has its own
OLD = list(ManifestRow._fields[: -len(ManifestRow._field_defaults)])  # the columns of format 1


@dataclass(frozen=True)
class Manifest:
    """A snapshot in memory: an Arrow table of its rows sorted by image, and the header that the digest covers too.

    `errata` are the numbers of the errata whose labels it holds. `format` 1 knew fewer columns, and no errata.
    """

    concept: str
    labels: tuple[str, ...]
    config: dict[str, Any]
    table: pa.Table
    errata: tuple[int, ...] = ()
    format: int = FORMAT

    @cached_property
    def rows(self) -> tuple[ManifestRow, ...]:
        """Every row; for a million of them `table` is the better place to look."""
        return _rows(self.table)

    def digest(self) -> str:
        """sha256 over the header and all rows.

        Format 2: the header as a line of JSON with sorted keys; then each column in order: a line with its name and
        type, and either its numbers (8 bytes each, little-endian) or the lengths of its texts (the same) and their
        UTF-8. Every engine gives the same bytes for the same rows. Format 1 hashed each row as a line of JSON.
        """
        if self.format == 1:
            return self._digest_of_lines()
        header = {**self._header(), "errata": self.errata, "format": FORMAT}
        hashed = hashlib.sha256(_line(header))
        for name, column in zip(self.table.column_names, self.table.columns, strict=True):
            hashed.update(f"{name} {column.type}\n".encode())
            for part in _content(column):
                hashed.update(part)
        return hashed.hexdigest()

    def counts(self) -> dict[str, dict[str, int]]:
        """Split -> label -> images, zeros included."""
        pairs = self.table.select(["split", "label"]).group_by(["split", "label"]).aggregate([([], "count_all")])
        found = {(row["split"], row["label"]): row["count_all"] for row in pairs.to_pylist()}
        return {split: {label: found.get((split, label), 0) for label in self.labels} for split in SPLITS}

    def split(self, name: str) -> list[ManifestRow]:
        """The rows of one split."""
        import pyarrow.compute as pc

        if "rows" in self.__dict__:
            return [row for row in self.rows if row.split == name]
        return list(_rows(self.table.filter(pc.equal(self.table["split"], name))))

    def column(self, name: str) -> list[Any]:
        """The values of one column, in the order of the images."""
        return list(self.table[name].to_pylist())

    def vote_shares(self, rows: Sequence[ManifestRow]) -> NDArray[np.float64]:
        """The share of the votes for each label: (rows, labels); a label that nobody voted for counts alone."""
        place = {label: k for k, label in enumerate(self.labels)}
        found = np.zeros((len(rows), len(self.labels)))
        for at, row in enumerate(rows):
            votes = json.loads(row.votes or "{}")
            counted = votes if votes.get(row.label, 0) > 0 else {row.label: 1}
            for label in counted.keys() & place.keys():
                found[at, place[label]] = counted[label]
        return np.asarray(found / found.sum(axis=1, keepdims=True))

    def _header(self) -> dict[str, Any]:
        return {"concept": self.concept, "labels": self.labels, "config": self.config}

    def _digest_of_lines(self) -> str:
        hashed = hashlib.sha256(_line({**self._header(), "format": 1}))
        for row in self.table.select(OLD).to_pylist():
            hashed.update(_line(row))
        return hashed.hexdigest()


def named(labels: Sequence[str], most: int = 5) -> str:
    """Some labels in a sentence; of a thousand, the first ones and how many there are."""
    shown = "`" + "`, `".join(labels[:most]) + "`"
    return shown if len(labels) <= most else f"{shown} and {len(labels) - most} more"


def schema() -> pa.Schema:
    """The columns of a manifest, in order."""
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    return pa.schema([(name, kinds[kind]) for name, kind in get_type_hints(ManifestRow).items()])


def _rows(table: pa.Table) -> tuple[ManifestRow, ...]:
    return tuple(ManifestRow(*row) for row in zip(*(column.to_pylist() for column in table.columns), strict=True))


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _content(column: pa.ChunkedArray) -> Iterator[bytes | memoryview]:
    """The bytes of a column's values, whatever its chunks."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_string(column.type):
        kind = "<f8" if pa.types.is_floating(column.type) else "<i8"
        yield from (part.to_numpy().astype(kind).data for part in column.chunks)
        return
    for part in column.chunks:
        yield pc.binary_length(part).to_numpy().astype("<i8").data
    for part in column.chunks:
        if len(part):
            offsets = np.frombuffer(part.buffers()[1], np.int32)[part.offset : part.offset + len(part) + 1]
            if part.buffers()[2] is not None:
                yield memoryview(part.buffers()[2])[int(offsets[0]) : int(offsets[-1])]


def read_manifest(ws: Workspace, row: SnapshotRow) -> Manifest:
    """The manifest of a snapshot, checked against its digest.

    Raises:
        CollectError: the file is gone or was changed.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = ws.data / row.path
    try:
        table = pq.read_table(path)
        header = json.loads(table.schema.metadata[b"collect"])
        manifest = Manifest(
            header["concept"],
            tuple(header["labels"]),
            header["config"],
            _filled(table.replace_schema_metadata(None), header.get("format", 1)),
            tuple(header.get("errata", ())),
            header.get("format", 1),
        )
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CollectError(
            f"the snapshot {path} cannot be read: {error}", hint="`collect snapshot` makes a new one"
        ) from error
    if manifest.digest() != row.digest:
        raise CollectError(f"the snapshot {path} was changed by hand", hint="`collect snapshot` makes a new one")
    return manifest


def find(ws: Workspace, concept: str, wanted: str | None = None) -> SnapshotRow:
    """The snapshot of that name, or whose digest begins so; None: the newest of the concept.

    Raises:
        UsageError: no snapshot is called so.
        GateNotMet: there is none yet.
    """
    row = models.find_snapshot(ws.catalog, concept, wanted)
    if row is None and wanted is not None:
        raise UsageError(
            f"`{concept}` has no snapshot `{wanted}`", hint=f"`collect snapshot list {shlex.quote(concept)}` lists them"
        )
    if row is None:
        drawn = any(name in HELD_OUT for name in pools.splits(ws.catalog, concept).values())
        command = f"collect {'snapshot' if drawn else 'split'} {shlex.quote(concept)}"
        raise GateNotMet(f"`{concept}` has no frozen validation set yet", hint=f"run `{command}` first")
    return row


def require_remembered(ws: Workspace, images: Iterable[str]) -> None:
    """Raise a `GateNotMet` when some of the images were forgotten: their bytes are gone on purpose."""
    if gone := forgotten.among(ws.catalog, images):
        raise GateNotMet(
            f"{len(gone)} of these images were forgotten on request, so nothing more can be learned from them",
            hint="make a snapshot without them: `collect snapshot`",
        )


def write_manifest(ws: Workspace, manifest: Manifest, path: str) -> None:
    """Put a manifest at `path`, relative to the data folder."""
    header = {**manifest._header(), "errata": manifest.errata, "format": manifest.format}
    table = manifest.table.replace_schema_metadata({"collect": json.dumps(header)})
    parquet.save(ws.data / path, table, unique=UNIQUE)


def _filled(table: pa.Table, version: int) -> pa.Table:
    """A table as this version has it: the columns that format 1 lacks are empty.

    Raises:
        ValueError: the columns are not those of its format.
    """
    import pyarrow as pa

    if version not in (1, FORMAT) or table.column_names != (OLD if version == 1 else schema().names):
        raise ValueError(f"these are not the columns of format {version}")
    for name, value in ManifestRow._field_defaults.items() if version == 1 else ():
        table = table.append_column(name, pa.repeat(pa.scalar(value, schema().field(name).type), table.num_rows))
    return table.cast(schema())
