"""`import`: take a folder of pictures through intake, under the license that a person states for it.

A file is known by its place: the folder's identity and its path inside. Importing again reads and hashes every file,
but decodes only what is new or has changed: size and modification time are no evidence of content.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from collector import licenses
from collector.catalog import images
from collector.config import IntakeConfig
from collector.errors import UsageError
from collector.intake import THREADS, take_in, taking_in
from collector.records import Kept, Known, Outcome, Rejected, Sighting, Summary
from collector.registry import did_you_mean
from collector.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSummary(Summary):
    """What a folder holds for a concept: seen = kept + repeats + all of `rejected`.

    `kept` are distinct images, `repeats` files that show one of them again, `new` the images that this run added to
    the concept.
    """

    concept: str
    kept: int
    seen: int
    rejected: dict[str, int]
    repeats: int
    new: int
    license: str


def import_folder(
    ws: Workspace,
    concept: str,
    folder: str | Path,
    *,
    license: str,
    label: str | None = None,
    source: str = "folder",
) -> ImportSummary:
    """Add every picture in `folder` and below to a concept; a word that is no concept yet becomes one.

    Args:
        ws: the workspace.
        concept: name of a concept, or a new word.
        folder: walked in sorted order; hidden folders and links that lead out of it are left alone.
        license: a code such as `by-4.0` or `cc0`, or `own`, or `unlicensed`.
        label: what the pictures show; default: the concept itself.
        source: name under which the catalog keeps them.

    Raises:
        UsageError: no such folder, nothing in it, or an unknown license or label.
    """
    stated = licenses.from_person(license)
    top = Path(folder).resolve()
    if not top.is_dir():
        raise UsageError(f"{folder} is not a folder", hint="name a folder of pictures")
    files = list(_files(top))
    if not files:
        raise UsageError(f"{folder} holds no files", hint="name a folder of pictures")
    about = ws.concept(concept, create=True)
    if label is not None and label not in about.labels:
        raise UsageError(
            f"`{label}` is not a label of `{about.name}`{did_you_mean(label, about.labels)}",
            hint=f"labels: {', '.join(about.labels)}",
        )
    place = Sighting(source, _identity(top), top.name, stated, concept=about.name, label=label or about.positive)
    before = set(images.seen_images(ws.catalog, about.name, source).values())
    outcomes: list[Outcome] = []
    with taking_in(ws), ThreadPoolExecutor(THREADS) as threads:
        known = images.stored_files(ws.catalog, source)
        try:
            for outcome in threads.map(lambda path: _import(ws, path, top, place, known), files):
                outcomes.append(outcome)
                ws.progress(f"importing {top.name}", len(outcomes), len(files))
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    return _summary(about.name, stated.code, outcomes, before)


def _files(top: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(folder, name) for name in sorted(names)):
            if path.is_file() and path.resolve().is_relative_to(top):
                yield path


def _identity(top: Path) -> str:
    """The same for the same folder; a hash, because a path may name its owner."""
    return hashlib.sha256(os.fsencode(top)).hexdigest()[:12]


def _import(ws: Workspace, path: Path, top: Path, place: Sighting, known: dict[tuple[str, str], str]) -> Outcome:
    inside = os.fsencode(path.relative_to(top)).decode("utf-8", "replace")
    found = replace(place, source_id=f"{place.source_id}/{inside}", url=f"{top.name}/{inside}", title=path.stem)
    try:
        size = path.stat().st_size
        if size > ws.section(IntakeConfig).max_bytes:
            return _refuse(ws, found, Rejected("too-large", f"{size} bytes, more than intake.max_bytes"))
        data = path.read_bytes()
    except OSError as error:
        return _refuse(ws, found, Rejected("unreadable", str(error.strerror)))
    image = known.get((found.source_id, found.url))
    if image is not None and image == hashlib.sha256(data).hexdigest():
        images.add_sighting(ws.catalog, image, found)  # another concept may have imported it
        return Known(image)
    return take_in(ws, data, found)


def _refuse(ws: Workspace, found: Sighting, why: Rejected) -> Rejected:
    images.reject(ws.catalog, found, why)
    return why


def _summary(concept: str, license: str, outcomes: list[Outcome], before: set[str]) -> ImportSummary:
    refused = Counter(each.reason for each in outcomes if isinstance(each, Rejected))
    stored = [each.image for each in outcomes if isinstance(each, Kept | Known)]
    kept = set(stored)
    nothing = ("none of these files is a picture that could be kept",)
    return ImportSummary(
        concept=concept,
        kept=len(kept),
        seen=len(outcomes),
        rejected=dict(sorted(refused.items())),
        repeats=len(stored) - len(kept),
        new=len(kept - before),
        license=license,
        warnings=() if kept else nothing,
        next="collect dedup",
    )
