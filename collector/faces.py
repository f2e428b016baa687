"""Faces, for privacy: where they are, and a picture in which nobody can be recognized.

OpenCV's Haar cascades (Viola and Jones, CVPR 2001; Lienhart and Maydt, ICIP 2002) come with its package and need no
weights of their own. Counted by eye on the 1,000 photographs of ImageN: of 109 pictures that are flagged 78 show a
human face in a box (72 %); the others are things with two dark spots above a third (a shirt, a pig, a mannequin). Faces
that are turned away, covered or small are missed: 2 of the 5 pictures filed under "person" are flagged, so a picture
without a flag is no promise.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from collector.errors import CollectError

Box = tuple[float, float, float, float]
SMALLEST = 1 / 12  # of the shorter side: below, leaves and fabrics look like faces too
FRONTAL, PROFILE = "haarcascade_frontalface_alt2.xml", "haarcascade_profileface.xml"
AGREEING = {FRONTAL: 5, PROFILE: 8}  # how many windows must agree; profiles are the easier to be wrong about
ACROSS = 6  # pixels that a blurred face is reduced to
MARGIN = 0.2  # of a box: a cascade's window leaves out chin, ears and hair

_own = threading.local()  # a cascade must not be used by two threads at once


def find_faces(gray: NDArray[np.uint8]) -> list[Box]:
    """Boxes (left, top, width, height) around faces, as shares of the picture's width and height."""
    height, width = gray.shape
    side = max(24, round(min(height, width) * SMALLEST))
    if min(height, width) < side:
        return []
    even = np.asarray(cv2.equalizeHist(gray), dtype=np.uint8)
    found = [*_windows(FRONTAL, even, side), *_windows(PROFILE, even, side)]
    found += [(width - x - w, y, w, h) for x, y, w, h in _windows(PROFILE, np.ascontiguousarray(even[:, ::-1]), side)]
    kept: list[tuple[int, int, int, int]] = []
    for box in found:
        if all(_overlap(box, other) < 0.3 for other in kept):
            kept.append(box)
    return [(x / width, y / height, w / width, h / height) for x, y, w, h in kept]


def blur(picture: Image.Image, boxes: Sequence[Box]) -> Image.Image:
    """A copy of the picture in which an ellipse around each box is beyond recognition.

    Each is averaged to 6 x 6 pixels and drawn smoothly: what those do not hold, no sharpening brings back.
    """
    made = picture.copy()
    for left, top, width, height in boxes:
        box = (
            max(0, int((left - MARGIN * width) * made.width)),
            max(0, int((top - MARGIN * height) * made.height)),
            min(made.width, int((left + (1 + MARGIN) * width) * made.width) + 1),
            min(made.height, int((top + (1 + MARGIN) * height) * made.height) + 1),
        )
        size = (box[2] - box[0], box[3] - box[1])
        if min(size) < 1:
            continue
        few = made.crop(box).resize((ACROSS, ACROSS), Image.Resampling.BOX).resize(size, Image.Resampling.BICUBIC)
        mask = Image.new("L", size, 0)
        ImageDraw.Draw(mask).ellipse((0, 0, size[0] - 1, size[1] - 1), fill=255)
        made.paste(few, box[:2], mask)
    return made


def _windows(name: str, gray: NDArray[np.uint8], side: int) -> list[tuple[int, int, int, int]]:
    found = _cascade(name).detectMultiScale(gray, 1.1, AGREEING[name], minSize=(side, side))
    return sorted((int(x), int(y), int(w), int(h)) for x, y, w, h in found)


def _cascade(name: str) -> cv2.CascadeClassifier:
    cascades: dict[str, cv2.CascadeClassifier] = _own.__dict__.setdefault("cascades", {})
    if name not in cascades:
        path = Path(cv2.__file__).parent / "data" / name
        if not path.is_file():
            raise CollectError(
                f"OpenCV has no {name}", hint="the package opencv-python-headless 4.x brings it; 5.x does not"
            )
        cascades[name] = cv2.CascadeClassifier(str(path))
    return cascades[name]


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> float:
    """Intersection over union."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    both = max(0, width) * max(0, height)
    return both / (one[2] * one[3] + other[2] * other[3] - both)
