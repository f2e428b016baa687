"""The demo's own pictures: drawings of horses, of look-alikes and of far things, the same for the same seed.

They are drawings, not photographs, and every title says so. What they are good for is to show the loop without a
network: they differ enough for the perceptual hash (`NEAREST`), and a weak classifier learns them, but not perfectly.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from collector.config import IntakeConfig
from collector.decoding import Decoded, decode
from collector.fingerprints import PHASH
from pipelines.demo.animals import paint_animal, paint_portrait, paint_rockers
from pipelines.demo.canvas import Canvas, Frame
from pipelines.demo.scenes import paint_foreground, paint_scene
from pipelines.demo.species import BUILDS, random_pose
from pipelines.demo.things import THINGS

NEAREST = 12  # any two drawings of one gallery are at least this many bits of 64 apart
HORSE = "n02374451"
ROCKING_HORSE = "rocking_horse"

# WordNet 3.0 ids, as ImageNet writes them; a rocking horse is in no list of negatives, so it needs none.
SYNSETS = {
    "horse": HORSE, "zebra": "n02391049", "donkey": "n02389559", "cattle": "n02402425", "dog": "n02084071",
    "giraffe": "n02439033", "camel": "n02437136", "sheep": "n02411705", "antelope": "n02419796",
    "car": "n02958343", "bus": "n02924116", "bicycle": "n02834778", "watercraft": "n04530566",
    "airplane": "n02691156", "house": "n03544360", "tree": "n13104059", "flower_pot": "n03991062",
    "cup_or_mug": "n03797390", "chair": "n03001627", "table": "n04379243", "lamp": "n03636649",
    "bookshelf": "n02870880", "apple": "n07739125", "mushroom": "n07734744", "soccer_ball": "n04254680",
    "butterfly": "n02274259", "bird": "n01503061", "goldfish": "n01443537", "guitar": "n03467517",
}  # fmt: skip
LOOKALIKES = tuple(name for name in BUILDS if name not in ("horse", ROCKING_HORSE))


@dataclass(frozen=True, slots=True)
class Drawing:
    """One drawn picture: what it shows (`kind`), whether that is a horse, its WordNet id and its JPEG bytes."""

    kind: str
    seed: int
    jpeg: bytes

    @property
    def label(self) -> str:
        """`horse` or `not-horse`: the truth that the scripted annotators know."""
        return "horse" if self.kind == "horse" else "not-horse"

    @property
    def title(self) -> str:
        """What a site would print under it."""
        return f"{self.kind.replace('_', ' ').capitalize()}, drawing no. {self.seed}"

    @property
    def imagen_name(self) -> str:
        """Its file name in the way of ImageN: `<wnid>_<id>_<name>.jpg`."""
        return f"{SYNSETS[self.kind]}_{self.seed}_{self.kind}.jpg"


def draw(kind: str, seed: int) -> bytes:
    """One drawing as JPEG, 360 to 900 pixels on its longer side; the same bytes for the same kind and seed."""
    rng = random.Random(f"{kind}/{seed}")
    longer, ratio = rng.choice((360, 420, 480, 560, 640, 760, 900)), rng.choice((1.5, 1.33, 1.33, 1.25, 1.0))
    width, height = longer, round(longer / ratio)
    canvas = Canvas(width, height, rng)
    row = paint_scene(canvas)
    canvas.haze(rng.uniform(0.6, 0.8))
    if kind in BUILDS:
        _place_animals(canvas, kind, row)
    else:
        size = min(width, height) * rng.uniform(0.55, 0.95)
        foot = row if rng.random() < 0.6 else height * rng.uniform(0.8, 1.0)
        frame = Frame(rng.uniform(0.38, 0.62) * width, foot, size, rng.choice((-1, 1)), rng.uniform(0.8, 1.1))
        THINGS[kind](canvas, frame)
    paint_foreground(canvas, row)
    return canvas.finished()


def _place_animals(canvas: Canvas, kind: str, row: float) -> None:
    rng, width, height = canvas.rng, canvas.width, canvas.height
    tall = BUILDS[kind].legs + BUILDS[kind].neck + 0.35
    flip = 1 if rng.random() < 0.8 else -1
    if rng.random() < 0.05 and kind != ROCKING_HORSE:
        size = min(width, height) * rng.uniform(0.8, 1.2) / max(1.0, tall / 1.6)
        middle = Frame(rng.uniform(0.4, 0.6) * width, rng.uniform(0.5, 0.7) * height, size, flip)
        paint_portrait(canvas, kind, middle)
        return
    pose = "standing" if kind == ROCKING_HORSE else random_pose(rng)
    size = min(width * 0.72, row / tall) * rng.uniform(0.9, 1.06) * (0.78 if pose == "rearing" else 1.0)
    if rng.random() < 0.12:
        small = Frame(rng.uniform(0.05, 0.95) * width, row - 0.06 * height, size * rng.uniform(0.4, 0.7), -flip)
        paint_animal(canvas, kind, small, random_pose(rng))
    frame = Frame(rng.uniform(0.44, 0.56) * width, row, size, flip, rng.uniform(0.92, 1.04))
    if kind == ROCKING_HORSE:
        paint_rockers(canvas, frame)
    paint_animal(canvas, kind, frame, pose)


def other_kinds(count: int) -> list[str]:
    """`count` kinds that are not horses, one look-alike for every three far things."""
    far, near = cycle(THINGS), cycle(LOOKALIKES)
    return [next(far if i % 4 else near) for i in range(count)]


def gallery(kinds: Sequence[str], seed: int = 0) -> Iterator[Drawing]:
    """One drawing for each kind, in order; a drawing too near to an earlier one is drawn again with the next seed."""
    hashes: list[int] = []
    numbers = _seeds(seed)
    for kind in kinds:
        while True:
            number = next(numbers)
            jpeg = draw(kind, number)
            value = perceptual_hash(jpeg)
            if all((value ^ other).bit_count() >= NEAREST for other in hashes):
                break
        hashes.append(value)
        yield Drawing(kind, number, jpeg)


def perceptual_hash(jpeg: bytes) -> int:
    """The perceptual hash that intake gives a drawing."""
    decoded = decode(jpeg, IntakeConfig())
    assert isinstance(decoded, Decoded)
    return next(int(each.value, 16) for each in decoded.fingerprints if each.algorithm == PHASH)


def _seeds(seed: int) -> Iterator[int]:
    number = seed * 100_000
    while True:
        number += 1
        yield number


def write_negatives(folder: Path, drawings: list[Drawing]) -> None:
    """Write drawings as a folder of pictures named in the way of ImageN."""
    folder.mkdir(parents=True, exist_ok=True)
    for drawing in drawings:
        (folder / drawing.imagen_name).write_bytes(drawing.jpeg)
