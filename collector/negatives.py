"""Build the class that is not the concept, from a folder of pictures or from ImageN.

ImageN (ajschumacher/imagen) is 1,000 photographs, five for each of 200 WordNet synsets, named `<wnid>_<id>_<name>.jpg`.
Five of them are horses: a file is left out when WordNet says that its synset is the concept, a kind of it or one of its
parents, and also when it is a near-copy of a positive. The pictures have no license: they are taken in as `unlicensed`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydantic import Field

from collector import folders, wordnet
from collector.catalog import images, pools
from collector.catalog.pools import PoolRow
from collector.config import IntakeConfig, Section
from collector.dedup import DedupConfig
from collector.errors import UsageError
from collector.fingerprints import PHASH
from collector.imagen import fetched
from collector.intake import Intake, fill_fingerprints, taking_in
from collector.licenses import from_person
from collector.records import Concept, Rejected, Sighting, Summary
from collector.splits import NEGATIVE_SOURCES, enroll, position
from collector.workspace import Workspace

NAMED = re.compile(r"^(n\d{8})_")
COPY = "copy-of-a-positive"
AT_ONCE = 64  # files taken in together


class NegativesConfig(Section):
    """Where negatives come from and how many there should be."""

    section = "negatives"
    imagen: str = Field(
        "", description="folder of ImageN, relative to config.toml; empty: fetched once from its public archive"
    )
    archive: str = Field(
        "https://github.com/ajschumacher/imagen/archive/refs/heads/master.zip", description="ImageN's public archive"
    )
    ratio: float = Field(1.0, gt=0, description="negatives wanted for each positive")
    wordnet: str = Field("", description="folder with WordNet 3.0's data.noun; empty: the usual places")


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativesSummary(Summary):
    """The pool of a concept: `excluded` counts by reason the pictures that must not be negatives.

    `synsets` is label -> WordNet id for every label whose kinds and parents were kept out.
    """

    concept: str
    synsets: dict[str, str]
    positives: int
    negatives: int
    new: int
    wanted: int
    tiers: dict[str, int]
    excluded: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Picture:
    """A candidate file with the WordNet id in its name, if it has one, and its tier."""

    path: Path
    name: str
    source_id: str
    wnid: str
    tier: str


def negatives(
    ws: Workspace,
    concept: str | None = None,
    *,
    folder: Path | None = None,
    imagen: Path | None = None,
    license: str = "unlicensed",
    ratio: float | None = None,
) -> NegativesSummary:
    """Fill the pool of a concept with negatives from `folder`, or else from ImageN, of which `imagen` is a copy."""
    config = ws.section(NegativesConfig)
    about = ws.concept(concept)
    source = "imagen" if folder is None else "negatives"
    copy = imagen or (ws.root / config.imagen if config.imagen else None)
    root = folder or copy or fetched(ws, config.archive)
    from_person(license)  # refuse a wrong code before anything is read
    with ws.lock("negatives"), taking_in(ws) as intake:
        enroll(ws, about)
        pool = pools.members(ws.catalog, about.name)
        positives = {row.image for row in pool if row.role == "positive"}
        have = {row.image for row in pool if row.role == "negative"}
        wanted = round((ratio or config.ratio) * len(positives))
        synsets, pictures = _candidates(ws, about, root, source, config.wordnet)
        guard = _Guard(ws, positives)
        before, stored = len(have), images.seen_images(ws.catalog, about.name, source)
        done = have | pools.duplicates(ws.catalog).keys()
        left = iter([picture for picture in pictures if stored.get(picture.source_id) not in done])
        while some := list(islice(left, min(AT_ONCE, max(0, wanted - len(have))))):
            found = [(picture, _sighting(about, picture, source, license)) for picture in some]
            have |= _take(ws, intake, about, found, guard)
            ws.progress("taking negatives", len(have), wanted)
    pool = pools.members(ws.catalog, about.name)
    tiers = Counter(row.tier for row in pool if row.role == "negative")
    return NegativesSummary(
        concept=about.name,
        synsets=synsets,
        positives=sum(row.role == "positive" for row in pool),
        negatives=sum(tiers.values()),
        new=len(have) - before,
        wanted=wanted,
        tiers=dict(sorted(tiers.items())),
        excluded=images.refusals(ws.catalog, about.name, NEGATIVE_SOURCES),
        warnings=_warnings(len(positives), len(have), wanted, root),
        next=f"collect label push {about.name}",
    )


def _candidates(
    ws: Workspace, about: Concept, root: Path, source: str, dictionary: str
) -> tuple[dict[str, str], list[_Picture]]:
    """(label -> synset, the files that may be negatives), in an order that depends on seed and name only.

    Every file that WordNet excludes becomes a rejection row, so that the summary can be recomputed.
    """
    files = [path for path in folders.files(root) if not path.name.startswith(".")]
    # ImageN is one known set wherever it lies; two other folders may use the same names for different pictures.
    place = "" if source == "imagen" else f"{folders.identity(root)}/"
    words = wordnet.load(dictionary)
    named = any(NAMED.match(path.name) for path in files)
    synsets = {label: _synset(about, label, words) for label in about.labels[:-1]} if named else {}
    refused = images.rejected_ids(ws.catalog, about.name, source)
    kept = []
    for path in files:
        match = NAMED.match(path.name)
        wnid = match[1] if match else ""
        name = folders.inside(path, root)
        picture = _Picture(path, name, place + name, wnid, _tier(words, wnid, synsets.values()))
        found = [(why, own) for own in synsets.values() if wnid and (why := words.relation(wnid, own))]
        if picture.source_id in refused:
            continue
        if not found:
            kept.append(picture)
        else:
            why, own = found[0]
            images.reject(ws.catalog, _sighting(about, picture, source), Rejected(why, f"{wnid} against {own}"))
    return synsets, sorted(kept, key=lambda each: position(f"{ws.seed}:{about.name}:{each.name}"))


def _take(
    ws: Workspace, intake: Intake, about: Concept, found: Sequence[tuple[_Picture, Sighting]], guard: _Guard
) -> set[str]:
    """Take files in and put them into the pool; those that intake refuses and copies of a positive are left out."""
    waiting = []
    for picture, sighting in found:
        data = folders.read(picture.path, ws.section(IntakeConfig))
        waiting.append(intake.reject(sighting, data) if isinstance(data, Rejected) else intake.take(data, sighting))
    rows: dict[str, PoolRow] = {}
    for (picture, sighting), outcome in zip(found, [each.result() for each in waiting], strict=True):
        if isinstance(outcome, Rejected):
            continue
        near = guard.nearest(outcome.image)
        if near is not None:
            images.reject(ws.catalog, sighting, Rejected(COPY, f"within the dedup threshold of {near}"))
            continue
        checks = {"wnid": picture.wnid, "nearest_positive_bits_above": guard.threshold}
        reason = f"{sighting.source}: {picture.name}"
        rows[outcome.image] = PoolRow(outcome.image, about.negative, "negative", picture.tier, reason, checks)
    pools.add(ws.catalog, about.name, rows.values())
    return set(rows)


class _Guard:
    """Knows the positives' hashes and tells which of them an image is a copy of."""

    def __init__(self, ws: Workspace, positives: set[str]) -> None:
        fill_fingerprints(ws)
        config = ws.section(DedupConfig)
        self.threshold, self.min_quality = config.threshold, config.min_quality
        self.catalog = ws.catalog
        known = images.hashes(ws.catalog, PHASH)
        self.positives = {image: known[image] for image in sorted(positives) if image in known}

    def nearest(self, image: str) -> str | None:
        """The first positive that `image` equals or resembles, None when it is free of them."""
        if image in self.positives:
            return image
        value, quality = images.hashes(self.catalog, PHASH, image).get(image, ("", 0.0))
        if quality < self.min_quality:
            return None
        for other, (hash_, clear) in self.positives.items():
            if clear >= self.min_quality and (int(value, 16) ^ int(hash_, 16)).bit_count() <= self.threshold:
                return other
        return None


def _synset(about: Concept, label: str, words: wordnet.WordNet) -> str:
    found = about.synsets.get(label) or words.first_meaning(label)
    if found is None or words.synset(found) is None:
        raise UsageError(
            f"no WordNet synset is known for `{label}`, so its kinds and parents cannot be told apart here",
            hint=f'set `concepts.{about.name}.synsets = {{ {label} = "n01234567" }}` and install WordNet 3.0 '
            "(Debian: `apt-get install wordnet-base`)",
        )
    return found


def _tier(words: wordnet.WordNet, wnid: str, synsets: Iterable[str]) -> str:
    """How near a negative is in WordNet: up to 3 steps to a common parent is near, up to 6 mid, the rest far."""
    steps = [n for own in synsets if wnid and (n := words.steps_to_common(wnid, own)) is not None]
    if not steps:
        return "given"
    return "near" if min(steps) <= 3 else "mid" if min(steps) <= 6 else "far"


def _sighting(about: Concept, picture: _Picture, source: str, license: str = "unlicensed") -> Sighting:
    return Sighting(
        source=source,
        source_id=picture.source_id,
        url=picture.path.resolve().as_uri(),
        license=from_person(license),
        concept=about.name,
        label=about.negative,
        title=picture.path.stem,
    )


def _warnings(positives: int, have: int, wanted: int, root: Path) -> tuple[str, ...]:
    if not positives:
        return ("the pool holds no positives yet, so no negatives are wanted: crawl or import first",)
    if have < wanted:
        return (f"{have} of {wanted} negatives: {root} has no more to give",)
    return ()
