"""What the demo shows to its site and to its annotators: the pictures, the folder of negatives, and the truth.

Drawn ones are kept in the demo's folder, so that a second run has them at once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from collector.errors import UsageError
from collector.workspace import Progress
from pipelines.demo.drawings import HORSE, LOOKALIKES, ROCKING_HORSE, Drawing, gallery, other_kinds, write_negatives
from pipelines.demo.entries import Listing, Picture

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MOST = 400  # real pictures: as many as the demo's site can sensibly list
# What a search for "horse" finds on the drawn site: horses, things that are tagged wrongly, toys.
FOUND_HORSES, MISTAGGED, TOYS = 156, 14, 6
# What lies in the drawn folder of negatives: a few horses too, as in ImageN, to be left out by their WordNet id.
OTHERS, HORSES_AMONG_THEM = 160, 5


@dataclass(frozen=True, slots=True)
class Material:
    """`pictures` for the site, their `labels` by name, the folder of negatives and the license it is taken in with."""

    pictures: list[Picture]
    labels: dict[str, str]
    negatives: Path
    license: str

    def truth(self, listing: Listing) -> dict[str, str]:
        """sha256 -> label of every whole picture that the demo can meet, near-copies too."""
        known = {digest: self.labels[name] for digest, name in listing.shown().items()}
        for path in self.negatives.iterdir():
            if path.suffix.lower() in SUFFIXES:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                known[digest] = "horse" if path.name.startswith(HORSE) else "not-horse"
        return known


def drawn(folder: Path, progress: Progress) -> Material:
    """The demo's own drawings, made in `folder` the first time (about six seconds)."""
    if not (folder / "found").is_dir():
        draft = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(draft, ignore_errors=True)
        _draw(draft, progress)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    pictures, labels = [], {}
    for path in sorted((folder / "found").iterdir()):
        kind = path.stem.rsplit("_", 1)[0]
        drawing = Drawing(kind, int(path.stem.rsplit("_", 1)[1]), path.read_bytes())
        pictures.append(Picture(path.stem, drawing.title, drawing.jpeg, ("horse", "drawing", kind.replace("_", " "))))
        labels[path.stem] = drawing.label
    # By a hash of the name, so that horses and others are mixed: a search engine does not sort by kind either.
    pictures.sort(key=lambda picture: hashlib.sha256(picture.name.encode()).digest())
    return Material(pictures, labels, folder / "negatives", "own")


def _draw(folder: Path, progress: Progress) -> None:
    found = ["horse"] * FOUND_HORSES + [LOOKALIKES[i % len(LOOKALIKES)] for i in range(MISTAGGED)]
    found += [ROCKING_HORSE] * TOYS
    kinds = found + ["horse"] * HORSES_AMONG_THEM + other_kinds(OTHERS)
    drawings = []
    for drawing in gallery(kinds):
        drawings.append(drawing)
        progress("drawing the demo's pictures", len(drawings), len(kinds))
    write_negatives(folder / "negatives", drawings[len(found) :])
    (folder / "found").mkdir()
    for drawing in drawings[: len(found)]:
        (folder / "found" / f"{drawing.kind}_{drawing.seed}.jpg").write_bytes(drawing.jpeg)


def given(pictures: Path, negatives: Path) -> Material:
    """Real pictures of horses, and a folder of others named in the way of ImageN; neither is copied.

    The site states invented licenses and creators for them, named so that nobody takes them for real.
    """
    files = islice((path for path in sorted(pictures.iterdir()) if path.suffix.lower() in SUFFIXES), MOST)
    shown = [Picture(path.stem, f"Horse ({path.stem}, demo license)", path.read_bytes(), ("horse",)) for path in files]
    for folder, holds in ((pictures, bool(shown)), (negatives, any(negatives.iterdir()))):
        if not holds:
            raise UsageError(f"{folder} holds no pictures", hint=f"formats: {', '.join(SUFFIXES)}")
    return Material(shown, {picture.name: "horse" for picture in shown}, negatives, "unlicensed")
