"""Which images validate, test and calibrate: drawn at random before anything is trained, then frozen.

Membership is a keyed hash of the image that stands for a near-duplicate group: nobody can pick it, adding images
moves none, and no group spans two splits (the copies of a group never enter the pool).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pydantic import Field

from collector.catalog import pools
from collector.catalog.pools import PoolRow
from collector.config import Section
from collector.quality import QualityConfig, excluded
from collector.records import Concept
from collector.workspace import Workspace

NEGATIVE_SOURCES = ("imagen", "negatives")


class SplitsConfig(Section):
    """Shares of the pool that are held out."""

    section = "splits"
    validation: float = Field(0.2, ge=0, le=0.5, description="share of the pool that validates")
    test: float = Field(0.1, ge=0, le=0.3, description="share of the pool that is kept for the final test")
    calibration: float = Field(0.1, ge=0, le=0.3, description="share of the pool that probabilities are calibrated on")


def draw(ws: Workspace, concept: Concept) -> dict[str, str]:
    """Image -> its split, for the whole pool of the concept; new images are drawn and frozen."""
    enroll(ws, concept)
    return freeze(ws, concept, [row.image for row in pools.members(ws.catalog, concept.name)])


def freeze(ws: Workspace, concept: Concept, images: Iterable[str]) -> dict[str, str]:
    """Image -> the split in which it is, once and for all, for some images of the pool."""
    shares = ws.section(SplitsConfig)
    sizes = ", ".join(f"{name} {share}" for name, share in shares)
    rule = f"sha256({ws.seed}:{concept.name}:image), {sizes}"
    wanted = list(images)
    frozen = pools.splits(ws.catalog, concept.name)
    pools.freeze_splits(
        ws.catalog, concept.name, {each: home(ws, concept, each) for each in wanted if each not in frozen}, rule
    )
    frozen = pools.splits(ws.catalog, concept.name)  # another process may have drawn some of them first
    return {image: frozen[image] for image in wanted}


def home(ws: Workspace, concept: Concept, image: str) -> str:
    """The split that an image belongs to, or would if it came into the pool.

    Whoever chooses pictures for the sake of training (hard negatives) must choose among those of `train`: then the
    held-out ones stay a random sample.
    """
    return _name(position(f"{ws.seed}:{concept.name}:{image}"), ws.section(SplitsConfig))


def enroll(ws: Workspace, concept: Concept) -> int:
    """Put the keepers that were found for the concept into its pool; returns how many are new."""
    known = {row.image for row in pools.members(ws.catalog, concept.name)}
    removed = excluded(ws.catalog, ws.section(QualityConfig))
    rows = []
    for image, (label, source, query) in pools.keepers(ws.catalog, concept.name).items():
        if image in known or image in removed or source in NEGATIVE_SOURCES or (query and label == concept.negative):
            continue  # `collect negatives` decides for its own sources, and for what was searched for as negative
        role, tier = ("negative", "given") if label == concept.negative else ("positive", "positive")
        rows.append(PoolRow(image, label, role, tier, f"found as `{label}` by {source}", {}))
    return pools.add(ws.catalog, concept.name, rows)


def position(key: str) -> float:
    """A number in [0, 1) that depends on `key` alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def _name(at: float, shares: SplitsConfig) -> str:
    if at < shares.validation:
        return "validation"
    at -= shares.validation
    if at < shares.test:
        return "test"
    return "calibration" if at - shares.test < shares.calibration else "train"
