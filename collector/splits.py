"""Which images validate, test and calibrate: drawn at random before anything is trained, then frozen.

Membership is a keyed hash of the image that stands for a near-duplicate group: nobody can pick it, adding images
moves none, and no group spans two splits (the copies of a group never enter the pool). The rule stands beside each
image, so anybody can recompute where it belongs: a row that was edited by hand is found out.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Mapping
from functools import cache

from pydantic import Field

from collector.catalog import pools
from collector.catalog.pools import PoolRow
from collector.config import Section
from collector.errors import CollectError
from collector.quality import QualityConfig, excluded
from collector.records import Concept
from collector.workspace import Workspace

NEGATIVE_SOURCES = ("imagen", "negatives")
HASHED, IMAGE = "sha256(", ":image), "  # around the key of a rule
MINED = "mined by run "  # the rule of hard negatives, see pipelines/mining.py
NAMED = 5  # images that an error names


class SplitsConfig(Section):
    """Shares of the pool that are held out."""

    section = "splits"
    validation: float = Field(0.2, ge=0, le=0.5, description="share of the pool that validates")
    test: float = Field(0.1, ge=0, le=0.3, description="share of the pool that is kept for the final test")
    calibration: float = Field(0.1, ge=0, le=0.3, description="share of the pool that probabilities are calibrated on")


def draw(ws: Workspace, concept: Concept) -> dict[str, str]:
    """Image -> its split, for the whole pool of the concept; new images are drawn and frozen."""
    settle(ws, concept)
    return dict(pools.drawn(ws.catalog, concept.name))


def settle(ws: Workspace, concept: Concept) -> None:
    """Draw and freeze the splits of the images that are new in the pool of the concept."""
    enroll(ws, concept)
    rule = rule_of(ws, concept)
    names = {image: place(rule, image) for image in pools.undrawn(ws.catalog, concept.name)}
    pools.freeze_splits(ws.catalog, concept.name, names, rule)


def freeze(ws: Workspace, concept: Concept, images: Iterable[str]) -> dict[str, str]:
    """Image -> the split in which it is, once and for all, for some images of the pool."""
    rule = rule_of(ws, concept)
    wanted = list(images)
    frozen = pools.splits(ws.catalog, concept.name)
    drawn = {each: place(rule, each) for each in wanted if each not in frozen}
    pools.freeze_splits(ws.catalog, concept.name, drawn, rule)
    frozen = pools.splits(ws.catalog, concept.name)  # another process may have drawn some of them first
    return {image: frozen[image] for image in wanted}


def home(ws: Workspace, concept: Concept, image: str) -> str:
    """The split that an image belongs to, or would if it came into the pool.

    Whoever chooses pictures for the sake of training (hard negatives) must choose among those of `train`: then the
    held-out ones stay a random sample.
    """
    return place(rule_of(ws, concept), image)


def rule_of(ws: Workspace, concept: Concept) -> str:
    """The rule that draws now, as it is written beside each image: the keyed hash, and the shares in order."""
    sizes = ", ".join(f"{name} {share}" for name, share in ws.section(SplitsConfig))
    return f"{HASHED}{ws.seed}:{concept.name}{IMAGE}{sizes}"


def shares(rule: str) -> Mapping[str, float]:
    """Split -> the share of the pool that a rule draws for it; empty where it is no rule of a keyed hash."""
    return _read(rule)[1]


def place(rule: str, image: str) -> str:
    """The split that a rule draws an image for; an empty string where it is no rule of a keyed hash."""
    key, sizes = _read(rule)
    if not key:
        return ""
    at = position(f"{key}:{image}")
    for name, share in sizes.items():
        if at < share:
            return name
        at -= share
    return "train"


def misplaced(concept: str, rows: Iterable[tuple[str, str, str]]) -> list[str]:
    """The images (image, split, rule) that are not where their rule puts them: somebody edited the table by hand.

    A rule must be the keyed hash of this concept, whatever its seed and shares were. Pictures that were mined
    (`collect negatives --mine`) were put into `train`, and only there.
    """
    return [
        image
        for image, name, rule in rows
        if not (_read(rule)[0].partition(":")[2] == concept and place(rule, image) == name)
        and not (rule.startswith(MINED) and name == "train")
    ]


def require_untouched(concept: str, rows: Iterable[tuple[str, str, str]]) -> None:
    """Raise when images (image, split, rule) are not where their rule puts them.

    Raises:
        CollectError: with the first of the images; no score on a split that somebody picked is a fair one.
    """
    if found := sorted(misplaced(concept, rows)):
        named = ", ".join(image[:12] for image in found[:NAMED]) + (", ..." if len(found) > NAMED else "")
        raise CollectError(
            f"{len(found)} images of `{concept}` are not in the split that their keyed hash draws: {named}",
            hint="the table `split` was edited by hand; restore the catalog, or delete those rows and run "
            f"`collect split {shlex.quote(concept)}`, which draws them again",
        )


@cache
def _read(rule: str) -> tuple[str, Mapping[str, float]]:
    """The key of a rule and its shares; both are empty where it is none that we write."""
    key, there, sizes = rule.removeprefix(HASHED).rpartition(IMAGE)
    pairs = [each.rpartition(" ") for each in sizes.split(", ")]
    try:
        found = {name: float(share) for name, _, share in pairs}
    except ValueError:
        return "", {}
    return (key, found) if there and rule.startswith(HASHED) else ("", {})


def enroll(ws: Workspace, concept: Concept) -> int:
    """Put the keepers that were found for the concept into its pool; returns how many are new."""
    removed = excluded(ws.catalog, ws.section(QualityConfig))
    rows = []
    for image, (label, source, query) in pools.keepers(ws.catalog, concept.name, new=True).items():
        if image in removed or source in NEGATIVE_SOURCES or (query and label == concept.negative):
            continue  # `collect negatives` decides for its own sources, and for what was searched for as negative
        role, tier = ("negative", "given") if label == concept.negative else ("positive", "positive")
        rows.append(PoolRow(image, label, role, tier, f"found as `{label}` by {source}", {}))
    return pools.add(ws.catalog, concept.name, rows)


def position(key: str) -> float:
    """A number in [0, 1) that depends on `key` alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
