"""A workspace with labeled pictures: the rows that the earlier steps would have written, around real intake."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from itertools import count

import numpy as np
from PIL import Image

from collector.catalog import consensus, pools
from collector.catalog import labels as label_rows
from collector.catalog.consensus import Settled
from collector.catalog.pools import PoolRow
from collector.intake import take_in
from collector.records import Kept, License, Sighting
from collector.splits import place
from collector.workspace import Workspace

BY = License("by", "4.0", "https://creativecommons.org/licenses/by/4.0/", evidence="license=by")
SPLITS = ("validation", "test", "train", "train")


@cache
def stripes(kind: int, seed: int) -> bytes:
    """A noisy PNG with stripes across (0), down (1) or aslant (2), in any color: what HOG can tell apart."""
    rng = np.random.default_rng(1000 * kind + seed)
    y, x = np.mgrid[0:96, 0:128]
    along = (y, x, x + y)[kind]
    wave = np.sin(along / rng.uniform(2, 4) + rng.uniform(0, 6))[..., None]
    pixels = 128 + wave * rng.uniform(20, 60, 3) + rng.normal(0, 30, (96, 128, 3)) + rng.uniform(-30, 30, 3)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@cache
def drawn_for(split: str, rule: str, data: bytes) -> bytes:
    """The same PNG with a comment that makes the keyed hash of `rule` draw it for a split: nobody may pick one."""
    for n in count():
        chunk = b"tEXt" + b"n\0%d" % n
        salted = data[:-12] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        salted += data[-12:]
        if place(rule, sha256(salted).hexdigest()) == split:
            return salted
    raise AssertionError


def collect(
    ws: Workspace, each: int = 16, license_: License = BY, splits: Sequence[str] = SPLITS
) -> dict[str, tuple[str, str]]:
    """Take `each` pictures of every label of `horse` into its pool; image -> (label, split).

    The splits take turns. Without `calibration` among them the rule is one from before there was such a split.
    """
    concept = ws.concept("horse", create=True)
    drawn = [name for name in ("validation", "test", "calibration") if name in splits]
    rule = f"sha256({ws.seed}:horse:image), " + ", ".join(f"{name} {1 / len(splits)}" for name in drawn)
    found: dict[str, tuple[str, str]] = {}
    for kind, label in enumerate(concept.labels):
        for n in range(each):
            place = (ws.root / f"{label}-{n}").as_uri()  # of a folder somewhere: no digest may depend on it
            seen = Sighting("made", f"{label}-{n}", place, license_, "horse", label)
            split = splits[n % len(splits)]
            outcome = take_in(ws, drawn_for(split, rule, stripes(kind, n)), seen)
            assert isinstance(outcome, Kept)
            found[outcome.image] = (label, split)
    rows = [PoolRow(image, label, "positive", "given", "made", {}) for image, (label, _) in found.items()]
    pools.add(ws.catalog, "horse", rows)
    pools.freeze_splits(ws.catalog, "horse", {image: split for image, (_, split) in found.items()}, rule)
    return found


def answer(
    ws: Workspace, labels: Mapping[str, str | None], people: Sequence[str], *, proposal: str | None = None
) -> None:
    """Let each of `people` give the labels (image -> label; None is "can't tell"), having seen `proposal`."""
    rows = [
        {
            "concept": "horse",
            "image": image,
            "annotator": name,
            "state": "answered" if label else "unsure",
            "label": label,
            "note": "",
            "proposal": proposal,
            "content": f"{image} {name} {label}",
        }
        for image, label in labels.items()
        for name in people
    ]
    label_rows.add_annotators(ws.catalog, {name: f"{name}@example.org" for name in people})
    label_rows.add_annotations(ws.catalog, rows)


def settle(ws: Workspace, *rows: tuple[str, str | None, dict[str, int]]) -> None:
    """Write consensus rows (image, label, votes) beside those that are there."""
    standing = {row.image: row for row in consensus.settled(ws.catalog, "horse")}
    for image, label, votes in rows:
        share = votes.get(label, 0) / sum(votes.values()) if label and votes else 0.0
        standing[image] = Settled(image, label, share, "majority", votes)
    consensus.settle(ws.catalog, "horse", standing.values())


def label_all(ws: Workspace, found: dict[str, tuple[str, str]]) -> None:
    """Two people agree on the truth, everywhere."""
    answer(ws, {image: label for image, (label, _) in found.items()}, ("ann", "bob"))
    settle(ws, *((image, label, {label: 2}) for image, (label, _) in found.items()))
