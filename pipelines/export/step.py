"""`collect export`: which pictures of a snapshot, how, and where; the work itself is in `pipelines.export.run`."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from collector import durable
from collector.catalog import forgotten, sightings
from collector.errors import CollectError, UsageError
from collector.records import Summary
from collector.registry import did_you_mean
from collector.spiders.config import CrawlConfig
from collector.workspace import Workspace
from pipelines.export import imagefolder, names, papers, run
from pipelines.export.formats import FORMATS
from pipelines.export.records import About, Options, Part
from pipelines.folder_sums import RECORD, check, read_record
from pipelines.manifest import SPLITS, Manifest, find, read_manifest

PLAN = "plan.json"  # in an unfinished export: what it was begun for


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSummary(Summary):
    """What lies in the folder `path`: `images` pictures in `files` files of `bytes` bytes, `labels` by split and label.

    `stripped`, `resized`, `blurred` and `converted` (how -> pictures) say what was changed, `turned` how many pictures
    are upright by their EXIF orientation alone. `left_out` counts pictures of the snapshot by reason. `changed` is
    False where the export was there already; then every file was checked.
    """

    concept: str
    snapshot: str
    format: str
    path: str
    images: int
    files: int
    bytes: int
    labels: dict[str, dict[str, int]]
    licenses: dict[str, int]
    stripped: int
    resized: int
    blurred: int
    converted: dict[str, int]
    turned: int
    left_out: dict[str, int]
    changed: bool


def export(
    ws: Workspace, out: str | Path, options: Options, concept: str | None = None, *, snapshot: str | None = None
) -> ExportSummary:
    """Write a snapshot into the folder `out`, which must not be there yet; the same command goes on where it stopped.

    Args:
        ws: the workspace.
        out: the folder.
        options: the format, and what to do with the pictures.
        concept: its name; may be left out when there is one only.
        snapshot: name or beginning of the digest; default: the newest of the concept.

    Raises:
        UsageError: no such snapshot, format or split; or the folder holds something else.
        CollectError: bytes of a picture are gone or changed, or the finished export was changed.
    """
    _check(options)
    row = find(ws, ws.concept(concept).name, snapshot)
    manifest = read_manifest(ws, row)
    folder = Path(os.path.abspath(out))
    present = [split for split, labels in manifest.counts().items() if sum(labels.values())]
    if missing := [split for split in options.splits if split not in present]:
        raise UsageError(
            f"the snapshot has no pictures in `{'`, `'.join(missing)}`", hint=f"it has {', '.join(present)}"
        )
    splits = tuple(each for each in present if each in options.splits or not options.splits)
    options = replace(options, splits=splits)
    labels = tuple(manifest.labels)
    gone = _gone(ws, manifest, splits)
    told = (manifest.concept, row.name or row.digest[:12], row.digest, row.made_at, labels, names.folders(labels))
    about = About(*told, options, dict(manifest.config), gone)
    with ws.lock(f"export-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"), durable.explained(folder):
        done = _finished(folder, about.plan())
        if not done:
            _work(ws, folder, manifest, about)
        return _summary(folder, read_record(folder), about, changed=not done)


def _check(options: Options) -> None:
    FORMATS[options.format]
    for split in options.splits:
        if split not in SPLITS:
            near = did_you_mean(split, SPLITS)
            raise UsageError(f"`{split}` is not a split{near}", hint=f"known: {', '.join(SPLITS)}")
    if options.resize and options.resize < 16:
        raise UsageError(f"--resize {options.resize} is too small", hint="16 pixels or more on the shorter side")
    if options.shard_size < 1:
        raise UsageError("--shard-size must be 1 or more", hint="1000 pictures is a good size")


def _gone(ws: Workspace, manifest: Manifest, splits: Collection[str]) -> dict[str, str]:
    """Pictures that may not be given away any more, whatever lies in the store, and why.

    They were forgotten; or a new snapshot would not take them, because their source has withdrawn them or now states a
    license that `crawl.license` refuses.
    """
    places = zip(manifest.column("image"), manifest.column("split"), strict=True)
    images = {image for image, split in places if split in splits}
    refused = sightings.refused(ws.catalog, manifest.concept, ws.section(CrawlConfig).license)
    found = {image: why for image, why in refused.items() if image in images}
    return found | dict.fromkeys(forgotten.among(ws.catalog, images), forgotten.REASON)


def _finished(folder: Path, plan: dict[str, Any]) -> bool:
    """Whether the folder holds this very export, whole; raises when it holds anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not folder.is_dir() or not (folder / RECORD).is_file():
        raise UsageError(f"{folder} is there already, and is no export", hint="name a folder that does not exist")
    held = read_record(folder)["plan"]
    if {**held, "gone": plan["gone"]} == plan and held != plan:
        raise CollectError(
            f"pictures were forgotten, withdrawn or relicensed (or came back) since the export in {folder} was written",
            hint="remove the folder and export again",
        )
    if held != plan:
        raise UsageError(
            f"{folder} holds another export ({held['format']} of snapshot {held['snapshot'][:12]}, or other options)",
            hint="name another folder, or remove this one",
        )
    found = check(folder)
    if not found.ok:
        raise CollectError(
            f"the export in {folder} was changed since it was written: {found.told()}",
            hint=f"`collect verify {shlex.quote(str(folder))}` lists the files; remove the folder and export again",
        )
    return True


def _work(ws: Workspace, folder: Path, manifest: Manifest, about: About) -> None:
    draft = folder.with_name(f"{folder.name}.unfinished")
    plan = about.plan()
    if draft.exists():
        _take_up(draft, plan)
    durable.make_folder(draft)
    if not (draft / RECORD).exists():
        durable.write(draft / PLAN, json.dumps(plan).encode())
        if about.options.format in ("imagefolder", "tfds"):
            imagefolder.prepare(draft, about)
        parts = _parts(manifest, about)
        run.write_parts(ws, draft, parts, about)
        papers.write(ws, draft, parts, about)
    shutil.rmtree(draft / run.JOURNAL, ignore_errors=True)
    (draft / PLAN).unlink(missing_ok=True)
    durable.sync_folder(draft)
    os.replace(draft, folder)
    durable.sync_folder(folder.parent)


def _take_up(draft: Path, plan: dict[str, Any]) -> None:
    """Make a folder that a killed export left ready to go on, or remove it where it was begun for something else."""
    try:
        begun = json.loads((draft / PLAN).read_bytes())
    except FileNotFoundError:  # killed before its first file, or after its last
        begun = read_record(draft)["plan"] if (draft / RECORD).exists() else None
    if begun is None and any(draft.iterdir()):
        raise UsageError(f"{draft} is there already, and is no unfinished export", hint="move it elsewhere")
    if begun != plan:
        shutil.rmtree(draft)
        return
    for left_over in draft.rglob("*.tmp"):  # half a file
        if left_over.is_file():
            left_over.unlink()


def _parts(manifest: Manifest, about: About) -> list[Part]:
    import pyarrow as pa
    import pyarrow.compute as pc

    made, options = [], about.options
    for split in options.splits:
        mine = manifest.table.filter(pc.equal(manifest.table["split"], split))
        mine = mine.filter(pc.invert(pc.is_in(mine["image"], pa.array(sorted(about.gone), pa.string()))))
        starts = range(0, mine.num_rows, options.shard_size)
        made += [Part(split, n, len(starts), mine.slice(at, options.shard_size)) for n, at in enumerate(starts)]
    return made


def _summary(folder: Path, record: Mapping[str, Any], about: About, *, changed: bool) -> ExportSummary:
    counts = record["counts"]
    return ExportSummary(
        concept=about.concept,
        snapshot=about.snapshot,
        format=about.options.format,
        path=str(folder),
        **{name: counts[name] for name in ("images", "files", "bytes", "labels", "licenses")},
        **{name: counts[name] for name in ("stripped", "resized", "blurred", "converted", "turned", "left_out")},
        changed=changed,
        warnings=tuple(record["warnings"]),
        next=f"collect verify {shlex.quote(str(folder))}",
    )
