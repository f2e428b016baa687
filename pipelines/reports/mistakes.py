"""The page of mistakes: the most confident errors, each beside the training images that look most like it."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from collector.catalog import labels as label_rows
from collector.catalog import models
from collector.catalog.errata import Erratum
from collector.dedup import across
from collector.dedup.step import current
from collector.errors import CollectError
from labeling.errata import state_of
from pipelines.errata import ranked
from pipelines.features import folder_of, read
from pipelines.predict import load_model
from pipelines.reports.contact_sheet import PER_PAGE, Picture
from pipelines.reports.material import Material
from pipelines.reports.said import Said

NEIGHBORS = 3
MOST = PER_PAGE // (NEIGHBORS + 1)  # mistakes
CELLS = 50_000_000  # numbers of training features in memory at once
TOLD = 3  # labels whose probability is told


class Near(NamedTuple):
    """A training image and the cosine of its features to those of a mistake."""

    image: str
    label: str
    cosine: float


class Mistake(NamedTuple):
    """One error; `why` are sentences on what may be behind it, `command` opens an erratum for it."""

    picture: Picture
    label: str
    said: str
    probabilities: list[tuple[str, float]]
    votes: dict[str, int]
    proposals: list[str]
    near: list[tuple[Picture, Near]]
    why: list[str]
    command: str


def mistakes(of: Material) -> dict[str, Any] | None:
    """The most confident errors of the newest run on validation."""
    if of.run is None or of.run.metrics is None:
        return None
    said = of.validation
    wrong = said.errors()
    shown = wrong[:MOST].tolist()
    near, eyes, trouble = _neighbors(of, [said.images[k] for k in shown])
    return {
        "run": of.run,
        "mistakes": _told(of, said, shown, near),
        "wrong": len(wrong),
        "images": len(said.images),
        "eyes": eyes,
        "trouble": trouble,
        "suspects": len(_doubted(said) & {said.images[k] for k in wrong}),
    }


def _told(of: Material, said: Said, rows: Sequence[int], near: Mapping[str, list[Near]]) -> list[Mistake]:
    """Everything that is known of the mistakes in some rows."""
    mine = {said.images[k] for k in rows}
    proposals = defaultdict(set)
    for answer in label_rows.current(of.catalog, of.name):
        if answer.image in mine and answer.proposal:
            proposals[answer.image].add(answer.proposal)
    votes = _votes(of)
    errata = {row.image: (row, state) for row, state in state_of(of.ws, of.name) if row.image in mine}
    doubted, copies = _doubted(said), _copies(of, near)
    found = []
    for k in rows:
        image, label, guess = said.images[k], said.labels[said.truth[k]], said.labels[said.said[k]]
        top = np.argsort(-said.probabilities[k], kind="stable")[:TOLD]
        doubt = image in doubted
        why = _why(guess, near.get(image, []), errata.get(image), doubted=doubt, copies=copies.get(image, []))
        found.append(
            Mistake(
                picture=of.album.picture(image),
                label=label,
                said=guess,
                probabilities=[(said.labels[j], float(said.probabilities[k, j])) for j in top],
                votes=votes.get(image, {}),
                proposals=sorted(proposals[image]),
                near=[(of.album.picture(each.image), each) for each in near.get(image, [])],
                why=why,
                command=f"collect errata open {image[:12]} --should-be {shlex.quote(guess)} --why 'seen in the report' "
                f"--concept {shlex.quote(of.name)}",
            )
        )
    return found


def _votes(of: Material) -> dict[str, dict[str, int]]:
    """Image -> what people voted, as the snapshot of the run has it; nothing where that is damaged."""
    try:
        rows = zip(*_columns(of, "validation", "image", "votes"), strict=True)
        return {image: json.loads(text or "{}") for image, text in rows}
    except CollectError:
        return {}


def _why(
    guess: str,
    near: Sequence[Near],
    erratum: tuple[Erratum, str] | None,
    *,
    doubted: bool,
    copies: Sequence[Near],
) -> list[str]:
    """What may be behind a mistake, the surest first."""
    why = []
    if erratum:
        row, state = erratum
        why.append(f"erratum {row.id} ({state}) says that the label should be `{row.should_be}`")
    elif doubted:
        why.append("the label may be wrong: the model contradicts it as confidently as it is right elsewhere")
    why += [f"a copy of it is in train as `{each.label}`: {each.image[:12]}" for each in copies]
    if near and all(each.label == guess for each in near):
        why.append(f"all training images that look most like it are `{guess}`")
    elif near and all(each.label != guess for each in near):
        why.append(f"none of the training images that look most like it is `{guess}`")
    return why


def _doubted(said: Said) -> set[str]:
    """Images whose label confident learning puts in doubt (`pipelines.errata.ranked`)."""
    return {said.images[k] for k in ranked(said.probabilities, said.truth)[0].tolist()} if len(said.images) else set()


def _neighbors(of: Material, images: Sequence[str]) -> tuple[dict[str, list[Near]], str, str]:
    """Image -> the training images nearest by the cosine of their features, whose features, or why there are none.

    A fine-tuned network has seen its training images, but their features were not kept. Then those of the newest head
    have to do.
    """
    assert of.run is not None
    if not images:
        return {}, "", ""
    others = [
        run for run in models.experiments(of.catalog, of.name)[::-1] if run.metrics and not run.config["finetune"]
    ]
    trouble = ""
    for run in (of.run, *others[:1]):
        try:
            backbone = load_model(of.ws, of.name, run.run).backbone
            found = _nearest(of, images, folder_of(of.ws, backbone), backbone.dimension)
        except CollectError as error:
            trouble = trouble or error.message
            continue
        if any(found.values()):
            return found, backbone.name, ""
        trouble = trouble or f"the features of its training images ({backbone.name}) are not in the cache"
    return {}, "", trouble


def _nearest(of: Material, images: Sequence[str], folder: Path, dimension: int) -> dict[str, list[Near]]:
    """Image -> the training images nearest to it, as far as features are in a folder."""
    mine = _unit(read(folder, images, dimension))
    train, labels = _columns(of, "train", "image", "label")
    cosine = np.full((len(images), 0), -np.inf, dtype=np.float32)
    place = np.zeros((len(images), 0), dtype=np.int64)
    chunk = max(1, CELLS // dimension)
    for start in range(0, len(train), chunk):
        of.ws.progress("report: nearest training images", start, len(train))
        found = _cosines(mine, _unit(read(folder, train[start : start + chunk], dimension)))
        cosine = np.hstack([cosine, found])
        place = np.hstack([place, np.broadcast_to(np.arange(start, start + found.shape[1]), found.shape)])
        best = np.argsort(-cosine, axis=1, kind="stable")[:, :NEIGHBORS]
        cosine, place = np.take_along_axis(cosine, best, axis=1), np.take_along_axis(place, best, axis=1)
    return {
        image: [
            Near(train[at], labels[at], value)
            for at, value in zip(place[row].tolist(), cosine[row].tolist(), strict=True)
            if value > -np.inf
        ]
        for row, image in enumerate(images)
    }


def _cosines(some: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cosine of every pair of rows, -inf where the features of either are not there."""
    found = np.nan_to_num(some) @ np.nan_to_num(others).T
    found[np.isnan(some).any(axis=1)] = -np.inf
    found[:, np.isnan(others).any(axis=1)] = -np.inf
    return np.asarray(found)


def _columns(of: Material, split: str, *names: str) -> list[list[Any]]:
    """Some columns of one split of the run's snapshot."""
    import pyarrow.compute as pc

    assert of.run is not None
    table = of.manifest(of.run.snapshot).table
    rows = table.filter(pc.equal(table["split"], split))
    return [rows[name].to_pylist() for name in names]


def _unit(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; a row of zeros stays one."""
    length = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.where(length == 0, 1, length))


def _copies(of: Material, near: Mapping[str, list[Near]]) -> dict[str, list[Near]]:
    """Image -> those of its neighbors that its fingerprint calls a copy: they should not lie in two splits."""
    gallery, limits = current(of.ws)

    def side(images: Iterable[str]) -> across.Side:
        return across.of_rows(gallery, np.array([gallery.rows[i] for i in images if i in gallery.rows], np.int64))

    known = {each.image: each for row in near.values() for each in row}
    pairs = across.copies(side(near), side(known), limits) if near else []
    found = defaultdict(list)
    for each in pairs:
        found[each.first].append(known[each.second])
    return dict(found)
