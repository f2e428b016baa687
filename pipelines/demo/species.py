"""The four-legged species that the demo draws, and the poses they take: numbers only, drawn by `animals`."""

from __future__ import annotations

import random
from dataclasses import dataclass

from pipelines.demo.canvas import Color, Point

BAY, CHESTNUT, PALOMINO = (112, 62, 34), (150, 78, 38), (205, 160, 96)
BLACK, GRAY, WHITE, DUN = (42, 38, 40), (150, 150, 152), (226, 222, 212), (176, 146, 104)
HOOF = (48, 40, 36)


@dataclass(frozen=True)
class Build:
    """What makes a species: lengths in body lengths, angles in degrees above (neck) or below (head) the horizon."""

    coats: tuple[Color, ...]
    thickness: float = 0.47
    legs: float = 0.64
    leg_width: float = 0.1
    neck: float = 0.5
    neck_up: float = 48
    neck_width: float = 1.0
    head: float = 0.38
    head_down: float = 48
    muzzle: float = 1.0
    ears: float = 0.11
    mane: str = ""  # "long", "upright" or none
    tail: str = "hair"  # "hair", "tuft", "plume" or "stub"
    marks: str = ""  # "stripes", "patches", "nets", "wool", "humps" or none
    horns: float = 0.0


@dataclass(frozen=True)
class Pose:
    """Angles in degrees: the body's pitch, what neck and head add, and (upper, lower) for each leg, forward positive.

    Legs in the order hind far, hind near, fore far, fore near.
    """

    pitch: float
    neck: float
    head: float
    legs: tuple[Point, Point, Point, Point]


POSES = {
    "standing": Pose(0, 0, 0, ((-6, -2), (4, -6), (3, 0), (-3, 2))),
    "walking": Pose(0, -8, 4, ((20, -16), (-20, -26), (-18, -24), (22, 4))),
    "grazing": Pose(-4, -88, 12, ((-8, -2), (6, -8), (12, 6), (-10, -8))),
    "running": Pose(3, -16, 22, ((-48, -62), (-30, -74), (54, 30), (34, -30))),
    "rearing": Pose(44, 2, -8, ((24, -34), (8, -22), (64, -44), (40, -50))),
    "proud": Pose(2, 16, -14, ((-12, -4), (0, -6), (40, -48), (-2, 0))),
}

BUILDS = {
    "horse": Build((BAY, CHESTNUT, PALOMINO, BLACK, GRAY, WHITE, DUN, BAY), mane="long"),
    "rocking_horse": Build(((196, 60, 50), (222, 214, 196), (172, 112, 58)), mane="long"),
    "zebra": Build((WHITE, (214, 206, 190)), neck=0.44, legs=0.58, mane="upright", tail="tuft", marks="stripes"),
    "donkey": Build((GRAY, (128, 116, 104), (110, 92, 78)), 0.42, 0.5, 0.09, 0.4, 40, head=0.42, ears=0.28,
                    mane="upright", tail="tuft"),
    "cattle": Build((WHITE, (120, 66, 38), (60, 48, 44), (170, 120, 80)), 0.54, 0.44, 0.11, 0.26, 16, 1.3, 0.36, 46,
                    1.5, 0.12, tail="tuft", marks="patches", horns=0.16),
    "dog": Build((PALOMINO, BLACK, WHITE, (140, 90, 50)), 0.36, 0.46, 0.1, 0.24, 46, 0.9, 0.34, 22, 0.9, 0.16,
                 tail="plume"),
    "giraffe": Build(((216, 170, 96), (228, 190, 128)), 0.44, 0.86, 0.09, 1.15, 66, 0.8, 0.3, 30, ears=0.1,
                     mane="upright", tail="tuft", marks="nets", horns=0.07),
    "camel": Build((DUN, (196, 158, 104)), 0.46, 0.7, 0.1, 0.56, 34, 0.8, 0.3, 14, 1.2, 0.06, tail="tuft",
                   marks="humps"),
    "sheep": Build((WHITE, (206, 198, 180)), 0.56, 0.34, 0.08, 0.22, 30, 1.1, 0.28, 40, 1.0, 0.12, tail="stub",
                   marks="wool"),
    "antelope": Build((DUN, (186, 122, 66)), 0.38, 0.6, 0.065, 0.4, 60, 0.75, 0.28, 34, 0.8, 0.14, tail="stub",
                      horns=0.4),
}  # fmt: skip


def random_pose(rng: random.Random) -> str:
    """The name of a pose."""
    return rng.choices(list(POSES), (5, 4, 3, 2, 1, 3))[0]
