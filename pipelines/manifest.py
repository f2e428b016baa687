"""A snapshot as it lies on the disk: sorted rows, one digest over all of them, one file that never changes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from collector.catalog import models
from collector.catalog.models import SnapshotRow
from collector.errors import CollectError, GateNotMet, UsageError
from collector.workspace import Workspace
from pipelines import parquet

SPLITS = ("train", "calibration", "validation", "test")
HELD_OUT = ("calibration", "validation", "test")  # labeled blind, never trained on


class ManifestRow(NamedTuple):
    """One image of a snapshot. `group` is the image kept for its near-duplicates; `votes` is JSON, label -> people."""

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


@dataclass(frozen=True, slots=True)
class Manifest:
    """A snapshot in memory: its rows sorted by image, and the header that the digest covers with them."""

    concept: str
    labels: tuple[str, ...]
    config: dict[str, float]
    rows: tuple[ManifestRow, ...]

    def digest(self) -> str:
        """sha256 over the header and all rows, as JSON lines with sorted keys."""
        header = {"concept": self.concept, "labels": self.labels, "config": self.config, "format": 1}
        hashed = hashlib.sha256()
        for record in (header, *(row._asdict() for row in self.rows)):
            hashed.update(json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n")
        return hashed.hexdigest()

    def counts(self) -> dict[str, dict[str, int]]:
        """Split -> label -> images, zeros included."""
        found = Counter((row.split, row.label) for row in self.rows)
        return {split: {label: found[split, label] for label in self.labels} for split in SPLITS}

    def split(self, name: str) -> list[ManifestRow]:
        """The rows of one split."""
        return [row for row in self.rows if row.split == name]


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
        rows = tuple(ManifestRow(**each) for each in table.to_pylist())
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
        raise CollectError(
            f"the snapshot {path} cannot be read: {error}", hint="`collect snapshot` makes a new one"
        ) from error
    manifest = Manifest(header["concept"], tuple(header["labels"]), header["config"], rows)
    if manifest.digest() != row.digest:
        raise CollectError(f"the snapshot {path} was changed by hand", hint="`collect snapshot` makes a new one")
    return manifest


def find(ws: Workspace, concept: str, digest: str | None = None) -> SnapshotRow:
    """The snapshot whose digest begins with `digest`, or the newest of the concept.

    Raises:
        UsageError: no snapshot is called so.
        GateNotMet: there is none yet.
    """
    row = models.find_snapshot(ws.catalog, concept, digest)
    if row is None and digest is not None:
        raise UsageError(f"`{concept}` has no snapshot `{digest}`", hint="`collect snapshot` prints the digest")
    if row is None:
        raise GateNotMet(
            f"`{concept}` has no frozen validation set yet", hint=f"run `collect snapshot {concept}` first"
        )
    return row


def write_manifest(ws: Workspace, manifest: Manifest, path: str) -> None:
    """Put a manifest at `path`, relative to the data folder."""
    import pyarrow as pa

    kinds = {"confidence": pa.float64(), "annotators": pa.int64()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in ManifestRow._fields])
    header = {"concept": manifest.concept, "labels": manifest.labels, "config": manifest.config}
    table = pa.Table.from_pylist([row._asdict() for row in manifest.rows], schema=schema)
    parquet.save(ws.data / path, table.replace_schema_metadata({"collect": json.dumps(header)}))
