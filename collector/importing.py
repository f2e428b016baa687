"""`import`: take a folder of pictures through intake, under the license that a person states for it.

A file is known by its place: the folder's identity and its path inside. Importing again reads and hashes every file,
but decodes only what is new or has changed: size and modification time are no evidence of content.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from collector import folders, licenses
from collector.catalog import given, images
from collector.catalog.given import Given
from collector.config import IntakeConfig
from collector.errors import UsageError
from collector.intake import Intake, taking_in
from collector.records import Concept, Kept, Known, Outcome, Rejected, Sighting, Summary
from collector.registry import did_you_mean
from collector.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Sorted:
    """Pictures lie in folders that are called as what they show; `annotator` put them there."""

    annotator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSummary(Summary):
    """What a folder holds for a concept: seen = kept + repeats + all of `rejected`.

    `kept` are distinct images, `repeats` files that show one of them again, `new` the images that this run added to
    the concept, `labeled` those for which the name of their folder is written down as an answer.
    """

    concept: str
    kept: int
    seen: int
    rejected: dict[str, int]
    repeats: int
    new: int
    labeled: int
    license: str


def import_folder(
    ws: Workspace,
    concept: str,
    folder: str | Path,
    *,
    license: str,
    label: str | Sorted | None = None,
    source: str = "folder",
) -> ImportSummary:
    """Add every picture in `folder` and below to a concept; a word that is no concept yet becomes one.

    Args:
        ws: the workspace.
        concept: name of a concept, or a new word.
        folder: walked in sorted order; hidden folders and links that lead out of it are left alone.
        license: a code such as `by-4.0` or `cc0`, or `own`, or `unlicensed`.
        label: what the pictures show; default: the concept itself. `Sorted`: the name of the first folder on the
            way to each, which is also written down as the answer of whoever sorted them ("can't tell" is one, too).
        source: name under which the catalog keeps them.

    Raises:
        UsageError: no such folder, nothing in it, or an unknown license or label.
    """
    stated = licenses.from_person(license)
    top, files = Path(folder).resolve(), folders.files(folder)
    about = ws.concept(concept, create=True)
    shown = _shown(ws, about, label, [_first(folders.inside(path, top)) for path in files], top.name)
    place = Sighting(source, folders.identity(top), top.name, stated, concept=about.name)
    before = set(images.seen_images(ws.catalog, about.name, source).values())
    config = ws.section(IntakeConfig)
    outcomes: list[Outcome] = []
    waiting: deque[Future[Outcome]] = deque()
    with taking_in(ws) as intake:
        known = images.stored_files(ws.catalog, source)
        for path, (_, known_as) in zip(files, shown, strict=True):
            name = folders.inside(path, top)
            found = replace(
                place,
                source_id=f"{place.source_id}/{name}",
                url=f"{top.name}/{name}",
                title=path.stem,
                label=known_as or about.positive,
            )
            waiting.append(_import(intake, found, folders.read(path, config), known))
            while waiting and waiting[0].done():
                outcomes.append(waiting.popleft().result())
            ws.progress(f"importing {top.name}", len(outcomes), len(files))
        outcomes += [each.result() for each in waiting]
    summary = _summary(about.name, stated.code, outcomes, before)
    return _answered(ws, summary, label, shown, outcomes, top) if isinstance(label, Sorted) else summary


def _first(name: str) -> str:
    """The first folder on the way to a file; empty: none."""
    return name.partition("/")[0] if "/" in name else ""


def _shown(
    ws: Workspace, about: Concept, label: str | Sorted | None, names: Sequence[str], where: str
) -> list[tuple[str, str | None]]:
    """(state, label) of each file, as it is stated; a file in no folder is stated by nobody: skipped."""
    if isinstance(label, Sorted):
        given.annotator_name(label.annotator, "--annotator")
        meant = given.meanings(ws.catalog, about, names, where)
        return [meant[name] for name in names]
    if label is not None and label not in about.labels:
        raise UsageError(
            f"`{label}` is not a label of `{about.name}`{did_you_mean(label, about.labels)}",
            hint=f"labels: {', '.join(about.labels)}",
        )
    return [("answered", label or about.positive)] * len(names)


def _answered(
    ws: Workspace,
    summary: ImportSummary,
    label: Sorted,
    shown: Sequence[tuple[str, str | None]],
    outcomes: Sequence[Outcome],
    top: Path,
) -> ImportSummary:
    """Write down the names of folders as answers; a picture in folders of different names has none."""
    said: dict[str, set[tuple[str, str | None]]] = {}
    for meant, outcome in zip(shown, outcomes, strict=True):
        if isinstance(outcome, Kept | Known) and meant[0] != "skipped":
            said.setdefault(outcome.image, set()).add(meant)
    annotator = given.annotator_name(label.annotator, "--annotator")
    answers = [Given(image, annotator, *next(iter(meant))) for image, meant in said.items() if len(meant) == 1]
    digest = hashlib.sha256(repr(sorted(map(repr, answers))).encode()).hexdigest()[:12]
    given.take(ws.catalog, summary.concept, answers, f"folders {top.name} {digest}")
    torn = len(said) - len(answers)
    warning = f"{torn} pictures lie in folders of different labels, so none is written down for them"
    return replace(summary, labeled=len(answers), warnings=(*summary.warnings, warning) if torn else summary.warnings)


def _import(
    intake: Intake, found: Sighting, data: bytes | Rejected, known: Mapping[tuple[str, str], str]
) -> Future[Outcome]:
    if isinstance(data, Rejected):
        return intake.reject(found, data)
    image = known.get((found.source_id, found.url))
    if image is not None and image == hashlib.sha256(data).hexdigest():
        return intake.again(image, found)  # another concept may have imported it
    return intake.take(data, found)


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
        labeled=0,
        license=license,
        warnings=() if kept else nothing,
        next="collect dedup",
    )
