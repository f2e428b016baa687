"""Queries that take in labels from elsewhere: which pictures a file means, and one row for each answer."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

from collector.catalog import labels
from collector.catalog.database import Catalog
from collector.catalog.images import is_buried
from collector.catalog.labels import Current
from collector.catalog.tables import image, round_, sighting
from collector.errors import UsageError
from collector.records import JOINT, UNSURE, Concept
from collector.registry import did_you_mean

SHA256 = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file
LONGEST = 200  # characters of an annotator's name


class Given(NamedTuple):
    """An answer from elsewhere: `state` is answered, unsure or skipped; `seconds` and `at` None: not said."""

    image: str
    annotator: str
    state: str
    label: str | None
    note: str = ""
    seconds: float | None = None
    at: str | None = None


class Taken(NamedTuple):
    """How many answers were new, superseded an earlier one, or said what we had."""

    new: int
    changed: int
    same: int


def take(catalog: Catalog, concept: str, given: Sequence[Given], origin: str) -> Taken:
    """Append a row for every answer that is new or says something else than the last import by that annotator.

    `given` holds one answer of each annotator to each image. Importing it again adds nothing.
    """
    known = {(row.image, row.annotator): row for row in labels.heads(catalog, concept) if row.task is None}
    fresh = []
    for answer in given:
        before = known.get((answer.image, answer.annotator))
        if before is None or not _agrees(answer, before):
            fresh.append(_row(concept, answer, before, origin))
    labels.add_annotators(catalog, {answer.annotator: answer.annotator for answer in given})
    labels.add_annotations(catalog, fresh)
    changed = sum(row["supersedes"] is not None for row in fresh)
    return Taken(len(fresh) - changed, changed, len(given) - len(fresh))


def _agrees(answer: Given, before: Current) -> bool:
    """Whether a row says all that the answer says."""
    if (answer.state, answer.label) != (before.state, before.label):
        return False
    told = ((answer.note, before.note), (answer.seconds, before.seconds), (answer.at, before.studio_updated_at))
    return all(new in ("", None) or new == old for new, old in told)


def _row(concept: str, answer: Given, before: Current | None, origin: str) -> dict[str, object]:
    row = {
        "concept": concept,
        "task": None,
        "image": answer.image,
        "annotator": answer.annotator,
        "state": answer.state,
        "label": answer.label,
        "note": answer.note,
        "seconds": answer.seconds,
        "studio_updated_at": answer.at,
        "origin": origin,
        "supersedes": before.id if before else None,
    }
    return {**row, "content": hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()}


def meanings(catalog: Catalog, concept: Concept, said: Iterable[str], where: str) -> dict[str, tuple[str, str | None]]:
    """What each text that stands in a file as a label means: (state, label).

    An empty text is a skip. Several labels joined by `JOINT` are one answer where a round of the concept allows that.

    Raises:
        UsageError: one of them is no label of the concept; `where` is the file.
    """
    with catalog.read() as connection:
        query = sa.select(round_.c.id).where(round_.c.concept == concept.name, round_.c.several.is_(True)).limit(1)
        several = connection.execute(query).first() is not None
    found: dict[str, tuple[str, str | None]] = {"": ("skipped", None)}
    rank = {label: number for number, label in enumerate(concept.labels)}
    for text in sorted(set(said) - {""}):
        parts = set(text.split(JOINT)) if several else {text}
        if UNSURE in parts:
            found[text] = ("unsure", None)
        elif parts <= rank.keys():
            found[text] = ("answered", JOINT.join(sorted(parts, key=rank.__getitem__)))
        else:
            raise _unknown(text, sorted(parts - rank.keys())[0], concept, where)
    return found


def _unknown(text: str, part: str, concept: Concept, where: str) -> UsageError:
    known = (*concept.labels, UNSURE)
    if JOINT in text and set(text.split(JOINT)) <= set(known):
        return UsageError(
            f"{where} gives a picture several labels (`{text}`), which no round of `{concept.name}` allows",
            hint=f"`collect label push {concept.name} --several --round NAME` opens one that does",
        )
    return UsageError(
        f"{where} says `{part}`, which is not a label of `{concept.name}`{did_you_mean(part, known)}",
        hint=f"labels: {', '.join(known)}; others are described in config.toml, under [concepts.{concept.name}]",
    )


def annotator_name(name: str, where: str) -> str:
    """A name as it is written down; raises `UsageError` for one that cannot be a name."""
    name = " ".join(name.split())
    if not name or len(name) > LONGEST or not name.isprintable():
        raise UsageError(
            f"{where} has an annotator called {name[:40]!r}", hint=f"names have 1 to {LONGEST} printable characters"
        )
    return name


class Resolved(NamedTuple):
    """Name -> image, and the names that may mean several images."""

    images: dict[str, str]
    ambiguous: frozenset[str]


def resolve(catalog: Catalog, concept: str, names: Collection[str]) -> Resolved:
    """Which images the names in a file mean: by sha256, by address, by path, by file name, in this order.

    Where a name fits several images, those that were seen for the concept win; if there are several of them still, it
    is ambiguous. One pass over all sightings, whatever the number of names.
    """
    digests = {name: digest for name in names if (digest := _digest(name))}
    with catalog.read() as connection:
        held = set(connection.execute(sa.select(image.c.id).where(~is_buried(image.c.id))).scalars())
        found = {name: digest for name, digest in digests.items() if digest in held}
        wanted = [_keys(name) for name in names if name not in found]
        levels = [set().union(*each) for each in zip(*wanted, strict=True)] if wanted else []
        hits: list[defaultdict[str, dict[str, bool]]] = [defaultdict(dict) for _ in levels]
        query = sa.select(sighting.c.image, sighting.c.concept, sighting.c.url, sighting.c.final_url).distinct()
        for row in connection.execute(query) if levels else ():
            if row.image in held:
                for key in filter(None, (row.url, row.final_url)):
                    for level, known, hit in zip(_keys(key), levels, hits, strict=True):
                        for text in level & known:
                            hit[text][row.image] = hit[text].get(row.image, False) or row.concept == concept
    ambiguous = set()
    for name in names:
        if name not in found:
            meant = _meant(name, hits)
            if len(meant) == 1:
                found[name] = meant.pop()
            elif meant:
                ambiguous.add(name)
    return Resolved(found, frozenset(ambiguous))


def _meant(name: str, hits: Sequence[Mapping[str, Mapping[str, bool]]]) -> set[str]:
    for level, hit in zip(_keys(name), hits, strict=False):
        images = {found: here for text in level for found, here in hit.get(text, {}).items()}
        if images:
            return {found for found, here in images.items() if here} or set(images)
    return set()


def _digest(name: str) -> str | None:
    return next(iter(SHA256.findall(name.lower())[::-1]), None)


def _keys(name: str) -> tuple[set[str], set[str], set[str]]:
    """What a name or an address may be known by: as it is; its path, with and without the first folder; its file."""
    path = unquote(urlsplit(name).path) if "://" in name else name.replace("\\", "/")
    path = path.strip("/")
    base = path.rpartition("/")[2]
    return {name}, {path, path.partition("/")[2]} - {"", base}, {base, UPLOADED.sub("", base)} - {""}


def shapes(catalog: Catalog) -> dict[str, tuple[str, int, int]]:
    """Image -> its format (JPEG, PNG, ...), width and height (pixels, upright)."""
    with catalog.read() as connection:
        query = sa.select(image.c.id, image.c.format, image.c.width, image.c.height)
        return {row.id: (row.format, row.width, row.height) for row in connection.execute(query)}
