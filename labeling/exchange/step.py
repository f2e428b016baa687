"""`import` and `export` of labels: from lines of a file to rows of the catalog, and back."""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from collector.catalog import given
from collector.catalog import labels as rows
from collector.catalog.given import Given
from collector.errors import CollectError, UsageError
from collector.records import UNSURE, Concept, Summary
from collector.registry import did_you_mean
from collector.workspace import Workspace
from labeling.exchange import coco, cvat, folders, table, tasks
from labeling.exchange.lines import About, Line, Picture, content
from labeling.interface import SUFFIXES


class Format(NamedTuple):
    """How a format is read and written, and whether skips have a place in it."""

    read: Callable[[Path], list[Line]]
    write: Callable[[Sequence[Line], Path, About], None]
    skips: bool


FORMATS = {
    "label-studio": Format(tasks.read, tasks.write, skips=True),
    "csv": Format(table.read, table.write, skips=True),
    "cvat": Format(cvat.read, cvat.write, skips=False),
    "coco": Format(coco.read, coco.write, skips=False),
    "folders": Format(folders.read, folders.write, skips=False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelImportSummary(Summary):
    """What a file of labels held: answers = new + changed + same + repeated + unknown.

    `repeated` were followed by another answer of the same person to the same picture, which counts; `unknown` are to
    pictures that the workspace does not hold. `annotators` and `labels` count the answers that were taken.
    """

    concept: str
    format: str
    answers: int
    new: int
    changed: int
    same: int
    repeated: int
    unknown: int
    annotators: dict[str, int]
    labels: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelExportSummary(Summary):
    """The standing answers that were written to `path`; `left_out` are skips, for which some formats have no place."""

    concept: str
    format: str
    path: str
    answers: int
    images: int
    annotators: dict[str, int]
    left_out: int


def import_labels(
    ws: Workspace, path: str | Path, concept: str | None = None, *, format: str | None = None, annotator: str = ""
) -> LabelImportSummary:
    """Write down the answers in a file, each as a row of its own; the same file twice adds nothing.

    Args:
        ws: the workspace.
        path: the file, or for `folders` the folder.
        concept: the concept whose labels they are; default: the only one.
        format: one of `FORMATS`; default: what the content looks like.
        annotator: who gave the answers for which the file does not say it.

    Raises:
        UsageError: the file is broken, its labels are not those of the concept, or nobody is named; nothing is written.
        CollectError: none of its pictures is known here.
    """
    chosen, path = ws.concept(concept), Path(path)
    name = _format(format) if format else guess(path)
    lines = FORMATS[name].read(path)
    if not lines:
        raise UsageError(f"{path} holds no labels", hint="export it again where the labels were given")
    ws.progress(f"importing labels from {path.name}", 0, len(lines))
    people = _people({line.annotator for line in lines}, annotator, path, rows.annotators(ws.catalog))
    meant = given.meanings(ws.catalog, chosen, {line.label for line in lines}, path.name)
    found = given.resolve(ws.catalog, chosen.name, {line.image for line in lines})
    _refuse_strangers(found.images, lines, chosen, path)
    last: dict[tuple[str, str], Given] = {}
    twice = contrary = 0
    for line in lines:
        image = found.images.get(line.image)
        if image is not None:
            said = Given(image, people[line.annotator], *meant[line.label], line.note, line.seconds, line.at)
            before = last.pop((image, said.annotator), None)
            twice += before is not None
            contrary += before is not None and before.label != said.label
            last[image, said.annotator] = said
    taken = given.take(ws.catalog, chosen.name, list(last.values()), f"{name} {path.name} {_digest(path, lines)}")
    unknown = sum(line.image not in found.images for line in lines)
    return LabelImportSummary(
        concept=chosen.name,
        format=name,
        answers=len(lines),
        new=taken.new,
        changed=taken.changed,
        same=taken.same,
        repeated=twice,
        unknown=unknown,
        annotators=dict(sorted(Counter(each.annotator for each in last.values()).items())),
        labels=dict(sorted(Counter(each.label or each.state for each in last.values()).items())),
        warnings=tuple(_warnings(lines, found, contrary, unknown)),
        next=f"collect agreement {shlex.quote(chosen.name)}",
    )


def export_labels(
    ws: Workspace, path: str | Path, concept: str | None = None, *, format: str, annotator: str | None = None
) -> LabelExportSummary:
    """Write the standing answers of a concept, of one annotator or of all, in one of `FORMATS`.

    Raises:
        UsageError: no such format or annotator, or the place cannot be written.
        CollectError: nobody has answered anything yet.
    """
    chosen, path, name = ws.concept(concept), Path(path), _format(format)
    standing = rows.current(ws.catalog, chosen.name)
    names = sorted({row.annotator for row in standing})
    if not standing:
        raise CollectError(
            f"nobody has answered anything for `{chosen.name}` yet", hint=f"`collect label pull {chosen.name}`"
        )
    if annotator is not None and annotator not in names:
        raise UsageError(
            f"`{annotator}` has not answered{did_you_mean(annotator, names)}", hint=f"answers are by {', '.join(names)}"
        )
    lines = [
        Line(row.image, row.annotator, _text(row.state, row.label), row.note, row.seconds, row.studio_updated_at)
        for row in standing
        if annotator in (None, row.annotator)
    ]
    written = [line for line in lines if line.label or FORMATS[name].skips]
    emails = {known: email for email, known in rows.annotators(ws.catalog).items()}
    shown = {image: Picture(*row) for image, row in _pictures(ws, {line.image for line in written}).items()}
    FORMATS[name].write(written, path, About(chosen.name, chosen.labels, shown, emails, ws.store))
    return LabelExportSummary(
        concept=chosen.name,
        format=name,
        path=str(path),
        answers=len(written),
        images=len(shown),
        annotators=dict(sorted(Counter(line.annotator for line in written).items())),
        left_out=len(lines) - len(written),
        next=shlex.join(["collect", "label", "import", str(path), chosen.name]),
    )


def guess(path: Path) -> str:
    """The format of a file, by its content."""
    if path.is_dir():
        return "folders"
    start = content(path).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return {b"<": "cvat", b"[": "label-studio", b"{": "coco"}.get(start, "csv")


def _format(name: str) -> str:
    if name not in FORMATS:
        raise UsageError(
            f"`{name}` is not a format of labels{did_you_mean(name, FORMATS)}", hint=f"known: {', '.join(FORMATS)}"
        )
    return name


def _people(named: Collection[str], given_name: str, path: Path, emails: dict[str, str]) -> dict[str, str]:
    """What a file calls each annotator -> what we call them: `given_name` for nobody and for Label Studio's numbers."""
    if "" in named and not given_name.strip():
        raise UsageError(f"{path.name} does not say who gave the labels", hint="name them: --annotator NAME")
    numbers = [name for name in named if name.startswith("user ") and name[5:].isdigit()]
    people = {name: emails.get(name, name) for name in named}
    if given_name.strip():
        people |= {name: f"{given_name} {name[5:]}" if len(numbers) > 1 else given_name for name in numbers}
        people |= {"": given_name} if "" in named else {}
    return {name: given.annotator_name(called, path.name) for name, called in people.items()}


def _refuse_strangers(found: Collection[str], lines: Sequence[Line], concept: Concept, path: Path) -> None:
    if not found:
        raise CollectError(
            f"no picture of {path.name} is in this workspace; the first is {lines[0].image[:100]!r}",
            hint=f"take the pictures in first, as with `collect import {concept.name} FOLDER`; a picture is known by"
            " the sha256 of its bytes, the address where it was found, or its file name",
        )


def _warnings(lines: Sequence[Line], found: given.Resolved, contrary: int, unknown: int) -> list[str]:
    warnings = []
    if found.ambiguous:
        some = ", ".join(sorted(found.ambiguous)[:3])
        warnings.append(f"{len(found.ambiguous)} names may be several pictures and were left out: {some}")
    strange = sorted({line.image for line in lines} - found.images.keys() - found.ambiguous)
    if strange:
        some = ", ".join(name[:80] for name in strange[:3])
        warnings.append(f"answers to pictures that are not in this workspace: {unknown} ({some})")
    if contrary:
        warnings.append(f"{contrary} pictures have two different answers of one person; the last one counts")
    return warnings


def _digest(path: Path, lines: Sequence[Line]) -> str:
    """The first 12 letters of the sha256 of a file; of what it says, for a folder."""
    data = repr(sorted(lines)).encode() if path.is_dir() else content(path)
    return hashlib.sha256(data).hexdigest()[:12]


def _text(state: str, label: str | None) -> str:
    return label or (UNSURE if state == "unsure" else "")


def _pictures(ws: Workspace, wanted: Collection[str]) -> dict[str, tuple[str, int, int]]:
    """Image -> the name of its file, its width and its height."""
    shapes = given.shapes(ws.catalog)
    return {image: (image + SUFFIXES.get(shapes[image][0], ""), *shapes[image][1:]) for image in wanted}
