"""Candidates: files of ImageN or of another folder, and what the crawl found under the label "none of them".

Each is judged by what is known of it without looking at its pixels: its class, the query that found it, its title.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collector import folders
from collector.catalog import pools, sightings
from collector.config import IntakeConfig
from collector.errors import UsageError
from collector.negatives.ontology import Ontology
from collector.records import Concept, License, Rejected, Sighting
from collector.splits import NEGATIVE_SOURCES, position
from collector.workspace import Workspace

NAMED = re.compile(r"^(n\d{8})_")
SEEN_AS = "found-as-the-concept"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One picture that may become a negative; `image` is the sha256 of its bytes, `path` None if they are stored.

    `checks` is what the pool keeps of it: source, creator, wnid (its class), query, verified, and `ambiguous`, the
    reason for which people should look at it first.
    """

    image: str
    found: Sighting
    tier: str
    path: Path | None = None
    checks: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def reason(self) -> str:
        """Where it comes from, in words."""
        query = self.checks.get("query")
        return f"{self.found.source}: {f'found by `{query}`' if query else self.found.title}"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of pictures, the source and license under which they are taken, and their tier if a person says it."""

    root: Path
    source: str
    license: License
    tier: str | None = None


Judged = Candidate | tuple[Sighting, Rejected]


def ranked(candidates: Collection[Candidate], seed: int, concept: str) -> list[Candidate]:
    """Each picture once, in an order that depends on the seed and on its bytes alone; ambiguous ones come last."""
    once = {each.image: each for each in sorted(candidates, key=lambda each: (each.found.source, each.found.source_id))}
    return sorted(
        once.values(),
        key=lambda each: ("ambiguous" in each.checks, position(f"{seed}:negatives:{concept}:{each.image}"), each.image),
    )


def has_classes(root: Path) -> bool:
    """Whether files of a folder are named by WordNet ids, as those of ImageN are."""
    return any(NAMED.match(path.name) for path in folders.files(root))


def in_folder(ws: Workspace, about: Concept, folder: Folder, knows: Ontology) -> Iterator[Judged]:
    """Every file of a folder, as a candidate or with the reason why it cannot be one; reads and hashes them all."""
    config = ws.section(IntakeConfig)
    files = [path for path in folders.files(folder.root) if not path.name.startswith(".")]
    # ImageN is one known set wherever it lies; two other folders may use the same names for different pictures.
    place = "" if folder.source == "imagen" else f"{folders.identity(folder.root)}/"
    for done, path in enumerate(files):
        ws.progress(f"reading {folder.source}", done, len(files))
        found = Sighting(
            folder.source, place + folders.inside(path, folder.root), path.resolve().as_uri(), folder.license,
            concept=about.name, label=about.negative, title=path.stem,
        )  # fmt: skip
        match = NAMED.match(path.name)
        wnid = match[1] if match else ""
        if why := knows.refuses(wnid):
            yield found, why
            continue
        data = folders.read(path, config)
        if isinstance(data, Rejected):
            yield found, data
            continue
        checks = {"source": folder.source, "wnid": wnid}
        if wnid and (unsure := knows.ambiguous(wnid)):
            checks["ambiguous"] = unsure
        tier = folder.tier or (knows.tier(wnid) if wnid else "given")
        yield Candidate(hashlib.sha256(data).hexdigest(), found, tier, path, checks)


def crawled(ws: Workspace, about: Concept, places: Mapping[str, str], knows: Ontology) -> Iterator[Judged]:
    """What queries found under the label "none of them"; `places` is query -> tier for those that WordNet cannot place.

    What Open Images' people looked at and called none is near: a model had proposed it.
    """
    aside = pools.duplicates(ws.catalog)
    seen = sightings.latest(ws.catalog, about.name)
    as_concept = {each.image for each in seen if each.found.label != about.negative}
    for each in seen:
        found = each.found
        if found.label != about.negative or not found.query or found.source in NEGATIVE_SOURCES or each.image in aside:
            continue
        verified = found.facts.get("verified") == "negative"
        wnid, tier = ("", "near") if verified else _placed(found.query, places, knows)
        why = knows.refuses(wnid)
        if each.image in as_concept:
            why = Rejected(SEEN_AS, "another query found it as the concept itself")
        if why:
            yield found, why
            continue
        checks = {"source": found.source, "query": found.query, "wnid": wnid}
        if found.creator:
            checks["creator"] = found.creator
        if verified:
            checks["verified"] = "negative"
        elif said := _speaks(found, knows):
            checks["ambiguous"] = f"its title or tags say `{said}`"
        yield Candidate(each.image, found, tier, None, checks)


def _placed(query: str, places: Mapping[str, str], knows: Ontology) -> tuple[str, str]:
    if query in places:
        return "", places[query]
    return knows.of_query(query) if knows.synsets else ("", "given")


def _speaks(found: Sighting, knows: Ontology) -> str:
    tags = found.facts.get("tags", ())
    texts: Sequence[str] = [found.title, *(tag for tag in tags if isinstance(tag, str))]
    return next((said for text in texts if (said := knows.says(text))), "")


def check_imagen(root: Path, origin: str) -> None:
    """Raise `UsageError` for a folder that is no copy of ImageN."""
    if not has_classes(root):
        raise UsageError(
            f"{origin}: {root} is no copy of ImageN: no file there is named like n02391049_1352_zebra.jpg",
            hint="another folder of pictures: `collect negatives --folder DIR`",
        )
