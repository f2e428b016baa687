"""`collect verify`: every byte of a snapshot or of an export hashed anew; what is missing, changed, or extra.

A snapshot is whole when its manifest has its digest, every original in the store has its sha256, and every preview can
be decoded. An export is whole when its files are those that it lists; it can be checked without a workspace.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import simplejpeg

from collector.catalog import concepts, forgotten, images
from collector.catalog.models import SnapshotRow
from collector.errors import CollectError, UsageError
from collector.records import Summary
from collector.store import Preview, Store
from collector.workspace import Workspace
from pipelines.folder_sums import AT_ONCE, THREADS, Progress, check, read_record
from pipelines.manifest import find, read_manifest

SHOWN = 10  # names that the terminal shows; `--json` has all


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySummary(Summary):
    """What was found in a snapshot (`kind` snapshot) or in a folder (export), with digest `snapshot`.

    Of `files` files `bytes` bytes were read, at `mb_s` million bytes a second. `missing`, `changed` and `extra` name
    files of an export, or images; `previews` are images whose preview cannot be decoded. `forgotten` images were
    removed on purpose, and are no error.
    """

    kind: str
    snapshot: str
    path: str
    files: int
    bytes: int
    mb_s: float
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    extra: tuple[str, ...]
    previews: tuple[str, ...]
    forgotten: int
    ok: bool

    def for_people(self) -> dict[str, Any]:
        """The figures, with the first names of each list."""
        told = self.as_json()
        for name in ("missing", "changed", "extra", "previews"):
            some = told[name]
            more = (f"and {len(some) - SHOWN} more",) if len(some) > SHOWN else ()
            told[name] = (*some[:SHOWN], *more)
        return told

    @property
    def verdict(self) -> str:
        """One sentence."""
        parts = {"missing": self.missing, "changed": self.changed, "extra": self.extra, "unreadable": self.previews}
        told = ", ".join(f"{len(some)} {name}" for name, some in parts.items() if some)
        return f"the {self.kind} is not whole: {told}" if told else f"the {self.kind} is whole"


def verify_export(folder: Path, progress: Progress = lambda text, done, total: None) -> VerifySummary:
    """Check the files of an export; needs no workspace.

    Raises:
        UsageError: the folder is no export.
        CollectError: its own list of files is damaged.
    """
    begin = time.monotonic()
    found = check(folder, progress)
    return VerifySummary(
        kind="export",
        snapshot=str(read_record(folder)["plan"]["snapshot"]),
        path=str(folder),
        files=found.files,
        bytes=found.bytes,
        mb_s=_rate(found.bytes, begin),
        missing=found.missing,
        changed=found.changed,
        extra=found.extra,
        previews=(),
        forgotten=0,
        ok=found.ok,
    )


def verify_snapshot(ws: Workspace, snapshot: str | None = None, concept: str | None = None) -> VerifySummary:
    """Check the manifest, the originals and the previews of a snapshot.

    Args:
        ws: the workspace.
        snapshot: name or beginning of the digest; default: the newest of the concept.
        concept: its name; default: whichever has such a snapshot.

    Raises:
        UsageError: no snapshot is called so.
        CollectError: the manifest is gone or was changed.
    """
    row = _row(ws, snapshot, concept)
    begin = time.monotonic()
    wanted = read_manifest(ws, row).column("image")
    previews = images.previews(ws.catalog, wanted)
    missing: list[str] = []
    changed: list[str] = []
    broken: list[str] = []
    gone = forgotten.among(ws.catalog, wanted)
    size = 0
    with ThreadPoolExecutor(THREADS, "verify") as pool:
        for start in range(0, len(wanted), AT_ONCE):
            some = wanted[start : start + AT_ONCE]
            seen = list(pool.map(lambda image: _look(ws.store, image, previews), some))
            lost = [image for image, (found, _, _) in zip(some, seen, strict=True) if found is None]
            missing += [image for image in lost if image not in gone]
            changed += [image for image, (found, _, _) in zip(some, seen, strict=True) if found not in (None, image)]
            broken += [image for image, (_, _, good) in zip(some, seen, strict=True) if not good and image not in gone]
            size += sum(many for _, many, _ in seen)
            rate = _rate(size, begin)
            ws.progress(f"hashing images: {rate:.0f} MB/s", start + len(some), len(wanted))
    return VerifySummary(
        kind="snapshot",
        snapshot=row.digest,
        path=str(ws.data / row.path),
        files=len(wanted),
        bytes=size,
        mb_s=_rate(size, begin),
        missing=tuple(missing),
        changed=tuple(changed),
        extra=(),
        previews=tuple(broken),
        forgotten=len(gone),
        ok=not (missing or changed or broken),
    )


def _row(ws: Workspace, snapshot: str | None, concept: str | None) -> SnapshotRow:
    if concept is not None or snapshot is None:
        return find(ws, ws.concept(concept).name, snapshot)
    for each in concepts.all_concepts(ws.catalog):
        try:
            return find(ws, each.name, snapshot)
        except UsageError:
            continue
    raise UsageError(
        f"`{snapshot}` is neither a snapshot of this workspace nor a folder",
        hint="`collect snapshot list` shows the snapshots",
    )


def _look(store: Store, image: str, previews: Mapping[str, Preview | None]) -> tuple[str | None, int, bool]:
    """(sha256 of the original, None where it is gone; bytes read; whether its preview can be decoded)."""
    preview, read, good = previews.get(image), 0, True
    if preview is not None:
        try:
            jpeg = store.get_preview(preview)
            read = len(jpeg)
            simplejpeg.decode_jpeg(jpeg, "GRAY", min_height=1, min_width=1)  # scaled down, yet every byte is read
        except (CollectError, ValueError):
            good = False
    try:
        data = store.get(image)
    except CollectError as error:
        if isinstance(error.__context__, CollectError) or isinstance(error.__cause__, FileNotFoundError):
            return None, read, good
        raise
    return hashlib.sha256(data).hexdigest(), read + len(data), good


def _rate(size: int, begin: float) -> float:
    return size / 1e6 / max(1e-6, time.monotonic() - begin)
