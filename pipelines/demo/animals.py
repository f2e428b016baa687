"""Four-legged animals from one skeleton: a build (species), a pose, a coat. Side view, in units of the body's length.

The origin is the middle of the body; y points up. A `Frame` puts the animal into a picture.
"""

from __future__ import annotations

import random

from pipelines.demo.canvas import Canvas, Color, Frame, Point, jitter, mix, shade, turn
from pipelines.demo.species import BAY, BLACK, BUILDS, HOOF, POSES, WHITE, Build, Pose

NETS = (150, 88, 40)
GRAZERS = ("horse", "zebra", "donkey", "giraffe", "camel")  # the others' necks do not reach the ground


def paint_animal(canvas: Canvas, species: str, frame: Frame, pose_name: str) -> None:
    """Draw one animal with its feet on the ground at (frame.x, frame.y)."""
    rng, build, pose = canvas.rng, BUILDS[species], POSES[pose_name]
    if pose_name == "grazing" and species not in GRAZERS:
        pose = POSES["standing"]
    _Animal(canvas, build, pose, frame, _coat(rng, build)).paint()


def paint_portrait(canvas: Canvas, species: str, frame: Frame) -> None:
    """Draw head, neck and shoulder only: the frame's origin is the middle of the neck."""
    build = BUILDS[species]
    still = Pose(0, canvas.rng.uniform(-14, 14), canvas.rng.uniform(-12, 16), ((0, 0),) * 4)
    animal = _Animal(canvas, build, still, frame, _coat(canvas.rng, build))
    middle = between(animal.neck_base, animal.poll, 0.5)
    animal.lift = (-middle[0], -middle[1])
    animal.body()
    animal.neck_and_head()


def between(a: Point, b: Point, share: float) -> Point:
    """The point `share` of the way from `a` to `b`."""
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share


def _coat(rng: random.Random, build: Build) -> Color:
    return jitter(rng, shade(rng.choice(build.coats), rng.uniform(0.8, 1.15)), 6)


def paint_rockers(canvas: Canvas, frame: Frame) -> None:
    """The two curved runners of a rocking horse, under its feet."""
    for depth in (0.0, 0.05):
        arc = [(x / 10, 0.03 + depth + (x / 10) ** 2 * 0.35) for x in range(-9, 10)]
        canvas.line(frame.at(arc), frame.scale * 0.06, (150 - int(depth * 800), 92, 44))


class _Animal:
    """One animal while it is painted; `lift` moves it so that its lowest hoof stands on the ground."""

    def __init__(self, canvas: Canvas, build: Build, pose: Pose, frame: Frame, coat: Color) -> None:
        self.canvas, self.build, self.pose, self.frame, self.coat = canvas, build, pose, frame, coat
        rng = canvas.rng
        self.dark = shade(coat, 0.72)
        black_points = build.mane == "long" and rng.random() < 0.6
        self.hair = shade(coat, 0.35) if black_points else mix(coat, WHITE, rng.uniform(0.1, 0.7))
        self.pinto = build.mane == "long" and rng.random() < 0.15
        self.sock = rng.choice([WHITE, self.hair, self.dark, coat])
        half = build.thickness / 2
        self.profile = [(-0.54, 0.2), (-0.46, 0.78), (-0.24, 0.94), (0, 0.8), (0.22, 0.92), (0.42, 0.82),
                        (0.54, 0.3), (0.5, -0.45), (0.3, -0.92), (0, -1.0), (-0.28, -0.84), (-0.48, -0.5)]  # fmt: skip
        self.profile = [(x * rng.uniform(0.97, 1.03), y * half * rng.uniform(0.94, 1.06)) for x, y in self.profile]
        self.hips = ((-0.36, -0.1), (-0.42, -0.1), (0.42, -0.12), (0.34, -0.12))
        self.feet = [self._leg(i) for i in range(4)]
        lowest = min(leg[-1][1] for leg in self.feet)
        self.lift = (0.0, -lowest)
        self.neck_base = turn((0.4, 0.25 * build.thickness), pose.pitch)
        up = pose.pitch * 0.45 + build.neck_up + pose.neck + rng.uniform(-6, 6)
        if pose.neck < -60:
            up = pose.neck + 40
        along = turn((build.neck, 0), up)
        self.poll = (self.neck_base[0] + along[0], self.neck_base[1] + along[1])
        self.up = up
        drop = -build.head_down + pose.head + (0 if pose.neck > -60 else -24)
        self.drop = drop + pose.pitch * 0.4 + rng.uniform(-6, 6)

    def _leg(self, i: int) -> list[Point]:
        upper, lower = self.pose.legs[i]
        rng = self.canvas.rng
        upper, lower = upper + rng.uniform(-5, 5), lower + rng.uniform(-5, 5)
        tilt = self.pose.pitch * (0.3 if i < 2 else 1.0)
        hip = turn(self.hips[i], self.pose.pitch)
        knee = turn((0, -self.build.legs * 0.5), upper + tilt)
        foot = turn((0, -self.build.legs * 0.5), lower + tilt)
        knee = (hip[0] + knee[0], hip[1] + knee[1])
        ankle = (knee[0] + foot[0], knee[1] + foot[1])
        toe = turn((0.045, -0.03), lower + tilt)
        return [hip, knee, ankle, (ankle[0] + toe[0], ankle[1] + toe[1])]

    def at(self, points: list[Point]) -> list[Point]:
        """Body coordinates as pixels, with the animal on the ground."""
        return self.frame.at([(x + self.lift[0], y + self.lift[1]) for x, y in points])

    def paint(self) -> None:
        """All of it, from back to front."""
        self.leg(0)
        self.leg(2)
        self.tail()
        self.body()
        self.neck_and_head()
        self.leg(1)
        self.leg(3)

    def leg(self, i: int) -> None:
        """One leg with its hoof; the far ones are darker."""
        far, size = i in (0, 2), self.frame.scale
        color = shade(self.coat, 0.62 if far else 0.92)
        width = self.build.leg_width * size
        hip, knee, ankle, toe = self.at(self.feet[i])
        thigh = (2.3 if i < 2 else 1.7) * width
        self.canvas.limb([hip, knee, ankle], [thigh, width * 0.95, width * 0.6], color)
        self.canvas.limb(
            [between(knee, ankle, 0.55), ankle], [width * 0.66, width * 0.62], shade(self.sock, 0.7 if far else 1.0)
        )
        self.canvas.limb([ankle, toe], [width * 0.62, width * 0.9], HOOF)
        if self.build.marks == "stripes":
            for share in (0.2, 0.45, 0.7, 0.95):
                x, y = between(hip, knee, share)
                self.canvas.line([(x - width * 0.7, y), (x + width * 0.7, y)], width * 0.3, BLACK)

    def tail(self) -> None:
        """A tail of hair, a tuft on a cord, a plume or a stub."""
        root = turn((-0.52, 0.12 * self.build.thickness), self.pose.pitch)
        kind, rng, size = self.build.tail, self.canvas.rng, self.frame.scale
        fly = 0.3 if self.pose is POSES["running"] else rng.uniform(0.02, 0.14)
        if kind == "hair":
            for _ in range(9):
                sway, length = rng.uniform(0.6, 1.4) * fly, rng.uniform(0.4, 0.56)
                path = [root, (root[0] - 0.08 - sway * 0.6, root[1] - length * 0.35),
                        (root[0] - 0.06 - sway, root[1] - length + sway * 0.5)]  # fmt: skip
                self.canvas.limb(self.at(path), [size * 0.05, size * 0.05, size * 0.015], jitter(rng, self.hair, 10))
        elif kind == "tuft":
            end = (root[0] - 0.08, root[1] - 0.38)
            self.canvas.limb(self.at([root, (root[0] - 0.07, root[1] - 0.15), end]), [size * 0.03] * 3, self.dark)
            x, y = self.at([end])[0]
            self.canvas.ellipse(x, y, size * 0.035, size * 0.07, BLACK)
        elif kind == "plume":
            path = [root, (root[0] - 0.16, root[1] + 0.12), (root[0] - 0.2, root[1] + 0.32)]
            self.canvas.limb(self.at(path), [size * 0.06, size * 0.09, size * 0.04], self.dark)
        else:
            x, y = self.at([(root[0] - 0.02, root[1] - 0.04)])[0]
            self.canvas.ellipse(x, y, size * 0.05, size * 0.08, self.coat)

    def body(self) -> None:
        """The trunk with belly shadow, coat strokes and marks."""
        pitch = self.pose.pitch
        self.canvas.blob(self.at([turn(p, pitch) for p in self.profile]), self.coat)
        belly = [(x, y * 0.9) for x, y in self.profile[7:]] + [(0, -0.5 * self.build.thickness / 2)]
        self.canvas.blob(self.at([turn(p, pitch) for p in belly]), shade(self.coat, 0.84))
        rng, half = self.canvas.rng, self.build.thickness / 2
        for _ in range(26):
            x, y = rng.uniform(-0.42, 0.38), rng.uniform(-0.7, 0.75) * half
            stroke = [turn((x, y), pitch), turn((x - 0.09, y - 0.03), pitch)]
            tone = jitter(rng, shade(self.coat, rng.uniform(0.84, 1.14)), 8)
            self.canvas.line(self.at(stroke), self.frame.scale * 0.012, tone)
        self.marks(half)

    def marks(self, half: float) -> None:
        """What the coat carries on the trunk."""
        if self.build.marks == "patches" or self.pinto:
            self._patches(half)
        elif self.build.marks == "stripes":
            for i in range(11):
                x = -0.44 + i * 0.084
                stripe = [(x, 0.84 * half), (x + 0.03, 0.1 * half), (x, -0.62 * half)]
                widths = [self.frame.scale * share for share in (0.034, 0.03, 0.008)]
                self.canvas.limb(self.at([turn(p, self.pose.pitch) for p in stripe]), widths, BLACK)
        elif self.build.marks == "nets":
            for i in range(36):
                at = (-0.44 + i // 4 * 0.105 + 0.05 * (i % 2), (-0.66 + i % 4 * 0.42) * half)
                self._spot(turn(at, self.pose.pitch), 0.04, NETS)
        elif self.build.marks == "wool":
            rng = self.canvas.rng
            for _ in range(70):
                at = (rng.uniform(-0.52, 0.5), rng.uniform(-0.9, 0.95) * half)
                self._spot(at, rng.uniform(0.04, 0.08), shade(self.coat, rng.uniform(0.86, 1.05)))
        elif self.build.marks == "humps":
            for x in self.canvas.rng.choice([(0.0,), (-0.2, 0.16)]):
                hump = [(x - 0.2, 0.6 * half), (x - 0.08, 1.5 * half), (x, 1.9 * half), (x + 0.1, 1.5 * half),
                        (x + 0.2, 0.6 * half)]  # fmt: skip
                self.canvas.blob(self.at([turn(p, self.pose.pitch) for p in hump]), self.coat)

    def _spot(self, at: Point, radius: float, color: Color) -> None:
        x, y = self.at([at])[0]
        self.canvas.ellipse(x, y, radius * self.frame.scale, radius * self.frame.scale, color)

    def _patches(self, half: float) -> None:
        rng = self.canvas.rng
        other = WHITE if sum(self.coat) < 480 else rng.choice([BLACK, BAY])
        for _ in range(rng.randint(3, 5)):
            x, y, r = rng.uniform(-0.36, 0.34), rng.uniform(-0.4, 0.5) * half, rng.uniform(0.06, 0.13)
            patch = [(x + r * rng.uniform(0.7, 1.4) * c, y + r * rng.uniform(0.6, 1) * s)
                     for c, s in ((1, 0), (0.5, 0.8), (-0.5, 0.8), (-1, 0), (-0.5, -0.8), (0.5, -0.8))]  # fmt: skip
            self.canvas.blob(self.at([turn(p, self.pose.pitch) for p in patch]), other)

    def neck_and_head(self) -> None:
        """Neck, mane, head, ears, horns, eye and nostril."""
        build, wide = self.build, self.build.neck_width
        base, poll = self.neck_base, self.poll
        across, start = turn((0, 1), self.up), -0.3 if self.up > 0 else -0.02
        crest = [(base[0] + (poll[0] - base[0]) * t + across[0] * w * wide,
                  base[1] + (poll[1] - base[1]) * t + across[1] * w * wide)
                 for t, w in ((start, 0.17), (0.3, 0.15), (0.7, 0.11), (1.04, 0.07))]  # fmt: skip
        throat = [(base[0] + (poll[0] - base[0]) * t - across[0] * w * wide,
                   base[1] + (poll[1] - base[1]) * t - across[1] * w * wide)
                  for t, w in ((1.0, 0.08), (0.6, 0.1), (0.15, 0.16), (-0.3, 0.14))]  # fmt: skip
        self.canvas.blob(self.at(crest + throat), shade(self.coat, 0.97))
        if build.marks in ("stripes", "nets"):
            for t in (0.15, 0.35, 0.55, 0.75, 0.9):
                a, b = between(crest[1], crest[3], t), between(throat[2], throat[0], t)
                color = BLACK if build.marks == "stripes" else NETS
                self.canvas.limb(self.at([a, b]), [self.frame.scale * 0.035, self.frame.scale * 0.02], color)
        self.head()
        self.mane(crest)

    def mane(self, crest: list[Point]) -> None:
        """Hair along the crest of the neck, hanging or upright."""
        rng, size = self.canvas.rng, self.frame.scale
        fly = 0.12 if self.pose is POSES["running"] else 0.03
        for i in range(15 if self.build.mane else 0):
            t = i / 14
            x, y = between(crest[0], crest[1], t * 3) if t < 1 / 3 else between(crest[1], crest[3], (t - 1 / 3) * 1.5)
            if self.build.mane == "long":
                end = (x - 0.04 - fly * rng.uniform(0.5, 1.5), y - rng.uniform(0.09, 0.2))
            else:
                tip = turn((0, 0.07), self.up)
                end = (x + tip[0], y + tip[1])
            hair = self.hair if self.build.mane == "long" else shade(self.coat, 0.3)
            self.canvas.limb(self.at([(x, y), end]), [size * 0.045, size * 0.02], jitter(rng, hair, 10))

    def head(self) -> None:
        """The head along its own axis: (1, 0) is the nose, y is the side of the forehead."""
        build, rng, size = self.build, self.canvas.rng, self.frame.scale

        def local(points: list[Point]) -> list[Point]:
            moved = [turn((x * build.head, y * build.head * 0.95), self.drop) for x, y in points]
            return self.at([(self.poll[0] + x, self.poll[1] + y) for x, y in moved])

        nose = build.muzzle
        skull = [(-0.14, 0.02), (0, 0.32), (0.3, 0.33), (0.72, 0.2 * nose), (0.98, 0.16 * nose), (1.06, -0.02),
                 (0.98, -0.18 * nose), (0.68, -0.19 * nose), (0.34, -0.36), (0.02, -0.32)]  # fmt: skip
        for x, tone in ((-0.06, 0.66), (0.06, 0.95)):
            ear = [(x - 0.1, 0.26), (x - 0.02, 0.3 + build.ears / build.head), (x + 0.12, 0.28)]
            if _droops(build):
                ear = [(x - 0.1, 0.2), (x - 0.34, -0.1), (x - 0.2, -0.3), (x + 0.08, 0.1)]
            self.canvas.polygon(local(ear), shade(self.coat, tone))
            if build.horns:
                horn = [(x, 0.3), (x - 0.1, 0.3 + build.horns * 1.2), (x + 0.08, 0.3 + build.horns * 2.4)]
                self.canvas.limb(local(horn), [size * 0.04, size * 0.03, size * 0.012], (206, 192, 160))
        self.canvas.blob(local(skull), self.coat)
        self.canvas.blob(local([(0.78, 0.14 * nose), (1.05, 0), (0.96, -0.17 * nose), (0.76, -0.14 * nose)]), self.dark)
        if build.mane == "long" and rng.random() < 0.4:
            self.canvas.limb(local([(0.2, 0.22), (0.8, 0.1)]), [size * 0.03, size * 0.02], WHITE)
        for (x, y), radius, color in (((0.3, 0.12), 0.024, (24, 18, 16)), ((0.95, 0.05), 0.013, (24, 18, 16)),
                                      ((0.31, 0.15), 0.007, (240, 240, 236))):  # fmt: skip
            px, py = local([(x, y)])[0]
            self.canvas.ellipse(px, py, size * radius, size * radius, color)


def _droops(build: Build) -> bool:
    return build.tail == "plume" or build.marks == "wool"
