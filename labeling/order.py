"""In which order pictures go to people, and which cases are still open.

The order of tasks is the order of their ids in Label Studio: that alone holds on every page. Its own "uncertainty
sampling" is ignored when a person opens a link to a task, and for the second annotator of a picture.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector import fingerprints
from collector.catalog import images as image_rows
from collector.catalog import labels as rows
from collector.catalog import rounds as book
from collector.catalog.labels import Current
from collector.errors import CollectError, GateNotMet
from collector.splits import position
from collector.workspace import Workspace
from labeling.config import Order

SPREAD = 1000  # so many pictures are chosen one by one to be far apart; the rest follows at random


def arrange(ws: Workspace, concept: str, images: Sequence[str], order: Order | None) -> list[str]:
    """`images`, which come in a random order, in the order that was asked for."""
    if order == "uncertain":
        model = book.newest_model(ws.catalog, concept)
        guesses = rows.guesses(ws.catalog, concept, model) if model else {}
        return sorted(images, key=lambda image: guesses[image].score if image in guesses else 2.0)
    if order == "diverse":
        return diverse(ws, images)
    if order == "next":
        rank = {image: at for at, image in enumerate(listed(ws, concept))}
        return sorted(images, key=lambda image: rank.get(image, len(rank)))
    return list(images)


def next_folder(ws: Workspace, concept: str) -> Path:
    """Where the lists of `collect next` lie; a name of a concept may be no name of a folder."""
    return ws.data / "next" / hashlib.sha256(concept.encode()).hexdigest()[:16]


def next_lists(ws: Workspace, concept: str) -> list[Path]:
    """Every list of a concept, oldest first."""
    return sorted(next_folder(ws, concept).glob("*.json"))


def listed(ws: Workspace, concept: str) -> list[str]:
    """The images of the newest list of `collect next`, in its order.

    Raises:
        GateNotMet: there is no list yet.
        CollectError: the list cannot be read.
    """
    lists = next_lists(ws, concept)
    if not lists:
        raise GateNotMet(f"nothing was chosen for `{concept}` yet", hint=f"run `collect next {concept}` first")
    return [str(row["image"]) for row in read_list(lists[-1])]


def read_list(path: Path) -> list[dict[str, Any]]:
    """The rows of a list; raises `CollectError` where it cannot be read."""
    try:
        rows = json.loads(path.read_bytes())
        return [{"image": row["image"], "by": row["by"], **row} for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CollectError(f"{path} cannot be read: {error}", hint="`collect next` makes a new list") from error


def diverse(ws: Workspace, images: Sequence[str]) -> list[str]:
    """Pictures that look different from all before them come first: greedy k-center over 256-bit hashes.

    Each next picture is the farthest, in bits, from its nearest among those that were chosen (Gonzalez, Theoretical
    Computer Science 38 (1985) 293), for the first `SPREAD`. Pictures without a hash come last.
    """
    hashes = image_rows.hashes(ws.catalog, fingerprints.DCT)
    known = [image for image in images if image in hashes]
    rest = [image for image in images if image not in hashes]
    if not known:
        return rest
    bits = fingerprints.pack([hashes[image][0] for image in known])
    chosen = farthest_first(bits, SPREAD)
    taken = set(chosen)
    return [*(known[i] for i in chosen), *(image for i, image in enumerate(known) if i not in taken), *rest]


def farthest_first(bits: NDArray[np.uint64], most: int) -> list[int]:
    """Row numbers of (n, words) bit strings, the first row first, then always the one farthest from all before it."""
    distance = np.full(len(bits), np.iinfo(np.int64).max)
    chosen = [0]
    while len(chosen) < min(most, len(bits)):
        apart = np.bitwise_count(bits ^ bits[chosen[-1]]).sum(axis=1, dtype=np.int64)
        distance = np.minimum(distance, apart)
        distance[chosen[-1]] = -1
        chosen.append(int(distance.argmax()))
    return chosen


def withheld(ws: Workspace, concept: str, image: str, share: float) -> bool:
    """Whether an image is of the share that is shown without a proposal, by a keyed hash: what they do is measured."""
    return position(f"{ws.seed}:{concept}:no proposal:{image}") < share


def disputed(answers: Sequence[Current]) -> dict[str, set[str]]:
    """Image -> who answered it, for the images whose answers tie; the most answers first.

    Each person counts once, with the last answer. "Can't tell" and skips decide nothing, but whoever gave one has seen
    the picture.
    """
    said: defaultdict[str, dict[str, str | None]] = defaultdict(dict)
    for row in answers:
        said[row.image][row.annotator] = row.label
    found = []
    for image, by in said.items():
        votes = sorted(Counter(label for label in by.values() if label is not None).values(), reverse=True)
        if len(votes) > 1 and votes[0] == votes[1]:
            found.append((image, set(by)))
    found.sort(key=lambda each: -len(each[1]))
    return dict(found)
