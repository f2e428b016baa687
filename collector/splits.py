"""Which images validate and test: drawn at random before anything is trained, then frozen.

Membership is a keyed hash of the image that stands for a near-duplicate group: nobody can pick it, adding images
moves none, and no group spans two splits (the copies of a group never enter the pool).
"""

from __future__ import annotations

import hashlib

from pydantic import Field

from collector.catalog import pools
from collector.catalog.pools import PoolRow
from collector.config import Section
from collector.records import Concept
from collector.workspace import Workspace

NEGATIVE_SOURCES = ("imagen", "negatives")


class SplitsConfig(Section):
    """Shares of the pool that are held out."""

    section = "splits"
    validation: float = Field(0.2, ge=0, le=0.5, description="share of the pool that validates")
    test: float = Field(0.1, ge=0, le=0.5, description="share of the pool that is kept for the final test")


def draw(ws: Workspace, concept: Concept) -> dict[str, str]:
    """Image -> `train`, `validation` or `test` for the whole pool of the concept; new images are drawn and frozen."""
    enroll(ws, concept)
    shares = ws.section(SplitsConfig)
    rule = f"sha256({ws.seed}:{concept.name}:image), validation {shares.validation}, test {shares.test}"
    frozen = pools.splits(ws.catalog, concept.name)
    images = [row.image for row in pools.members(ws.catalog, concept.name)]
    fresh = {
        image: _name(position(f"{ws.seed}:{concept.name}:{image}"), shares) for image in images if image not in frozen
    }
    pools.freeze_splits(ws.catalog, concept.name, fresh, rule)
    frozen = pools.splits(ws.catalog, concept.name)  # another process may have drawn some of them first
    return {image: frozen[image] for image in images}


def enroll(ws: Workspace, concept: Concept) -> int:
    """Put the keepers that were found for the concept into its pool; returns how many are new."""
    known = {row.image for row in pools.members(ws.catalog, concept.name)}
    rows = []
    for image, (label, source) in pools.keepers(ws.catalog, concept.name).items():
        if image in known or source in NEGATIVE_SOURCES:
            continue  # `collect negatives` decides for its own sources
        role, tier = ("negative", "given") if label == concept.negative else ("positive", "positive")
        rows.append(PoolRow(image, label, role, tier, f"found as `{label}` by {source}", {}))
    return pools.add(ws.catalog, concept.name, rows)


def position(key: str) -> float:
    """A number in [0, 1) that depends on `key` alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def _name(at: float, shares: SplitsConfig) -> str:
    if at < shares.validation:
        return "validation"
    return "test" if at < shares.validation + shares.test else "train"
