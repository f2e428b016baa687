"""The checks of quality: each measures one thing in an image, from 0 (bad) to 1 (good).

    @check("dark/1")
    def dark(look: Look) -> Score: ...

A check only measures; which scores are bad is decided when they are read (collector/quality.py). The number after the
slash is raised when a check measures differently, so that old scores are never mixed with new ones.

What is checked is the small upright picture that intake keeps (shorter side 288 to 432 pixels), so that the megapixels
of a camera neither cost time nor change a score. Only `upscaled` looks at the pixels of the original.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from collector import privacy
from collector.catalog.quality import Subject
from collector.decoding import FORMATS, upright_rgb
from collector.faces import find_faces
from collector.registry import Registry

Gray = NDArray[np.uint8]
SIDE = 192  # pixels of the shorter side at which sharpness is measured
CROP = 192  # pixels of the original that `upscaled` looks at, in each direction
PATTERN = 256  # pixels of the square in which `tiled` looks for repeats
NOISE = 4  # gray levels of a Laplacian that JPEG leaves in even areas
FEW = 17  # pixels of a side below which a picture has no structure to speak of
EVEN = 0.5  # what counts as fine detail in an even block: so that a flat picture is sharp, not blurry

cv2.setNumThreads(1)  # pictures are shared out among threads; OpenCV must not share out each of them again


class Score(NamedTuple):
    """0 is bad, 1 is good; `details` are plain JSON."""

    score: float
    details: Mapping[str, Any] = {}


class Check(NamedTuple):
    """A check: `key` is its name with the version, as the catalog knows it; `asked` is run only on demand."""

    key: str
    measure: Callable[[Look], Score]
    asked: bool = False


CHECKS: Registry[Check] = Registry("check")


def check(key: str, *, asked: bool = False) -> Callable[[Callable[[Look], Score]], Callable[[Look], Score]]:
    """Register a check under its name; `key` is `name/version`."""

    def register(measure: Callable[[Look], Score]) -> Callable[[Look], Score]:
        CHECKS.add(key.split("/")[0], Check(key, measure, asked))
        return measure

    return register


class Look:
    """One image as the checks see it; each part is made once, when a check first asks for it.

    `picture` is upright RGB: the preview, or the whole original where it is small. `read` gives the original bytes.
    """

    def __init__(self, subject: Subject, picture: Image.Image, read: Callable[[], bytes]) -> None:
        self.subject = subject
        self.picture = picture
        self._read = read

    @cached_property
    def data(self) -> bytes:
        """The original bytes."""
        return self._read()

    @cached_property
    def tags(self) -> privacy.Found:
        """What the metadata tells."""
        return privacy.found(self.data)

    @cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """(height, width, 3)."""
        return np.asarray(self.picture)

    @cached_property
    def gray(self) -> Gray:
        """Luma, (height, width)."""
        return np.asarray(cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8)

    @cached_property
    def levels(self) -> NDArray[np.float64]:
        """The share of pixels at each of the 256 gray levels; every second pixel is asked, in both directions."""
        counts = cv2.calcHist([self.gray[::2, ::2]], [0], None, [256], [0, 256]).ravel()
        return np.asarray(counts / counts.sum(), dtype=np.float64)

    @cached_property
    def steps(self) -> tuple[Gray, Gray]:
        """Absolute differences of neighbors, across and down."""
        return _apart(self.gray[:, 1:], self.gray[:, :-1]), _apart(self.gray[1:], self.gray[:-1])

    @cached_property
    def crop(self) -> Gray:
        """The middle of the original, pixel for pixel."""
        width, height = self.picture.size
        if (width, height) != (self.subject.width, self.subject.height):
            return _middle(self.data)
        y, x = max(0, (height - CROP) // 2), max(0, (width - CROP) // 2)
        return self.gray[y : y + CROP, x : x + CROP]


def _apart(one: Gray, other: Gray) -> Gray:
    return np.asarray(cv2.absdiff(one, other), dtype=np.uint8)


def _above(values: Gray, level: int) -> Gray:
    """255 where a value is above a level, else 0."""
    return np.asarray(cv2.threshold(values, level, 255, cv2.THRESH_BINARY)[1], dtype=np.uint8)


def _middle(data: bytes) -> Gray:
    with Image.open(io.BytesIO(data), formats=FORMATS) as file:
        if file.format in ("JPEG", "MPO"):
            file.draft("L", file.size)  # the whole size, without the colors
        x, y = max(0, (file.width - CROP) // 2), max(0, (file.height - CROP) // 2)
        return np.asarray(upright_rgb(file.crop((x, y, x + min(CROP, file.width), y + min(CROP, file.height)))))[..., 1]


# -- light and color --------------------------------------------------------------------------------------------------


@check("dark/1")
def dark(look: Look) -> Score:
    """The luma that 1 % of the pixels exceed: a night with a lamp in it is no dark picture."""
    return Score(_level(look, 0.99) / 255)


@check("light/1")
def light(look: Look) -> Score:
    """How far below white the luma is that 5 % of the pixels do not reach: a cup on white paper is no light picture."""
    return Score(1 - _level(look, 0.05) / 255)


@check("low_information/1")
def low_information(look: Look) -> Score:
    """The entropy of the gray levels, in bits of 8: 0 for one color."""
    used = look.levels[look.levels > 0]
    return Score(max(0.0, float(-(used * np.log2(used)).sum()) / 8))


@check("grayscale/1")
def grayscale(look: Look) -> Score:
    """The distance of the largest from the smallest channel that 1 % of the pixels exceed, in units of 64 levels.

    What JPEG leaves of gray is 2 or 3 levels, and a sepia print has color.
    """
    step = max(1, min(look.rgb.shape[:2]) // 64)
    some = look.rgb[::step, ::step].reshape(-1, 3)
    red, green, blue = some[:, 0], some[:, 1], some[:, 2]
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return Score(
        min(1.0, float(np.partition(spread, int(0.99 * (spread.size - 1)))[int(0.99 * (spread.size - 1))]) / 64)
    )


def _level(look: Look, share: float) -> int:
    """The lowest gray level that at least `share` of the pixels do not exceed."""
    return int(np.searchsorted(np.cumsum(look.levels), share - 1e-9))


# -- size and shape ---------------------------------------------------------------------------------------------------


@check("odd_aspect/1")
def odd_aspect(look: Look) -> Score:
    """The shorter side over the longer one."""
    sides = (look.subject.width, look.subject.height)
    return Score(min(sides) / max(sides))


@check("tiny/1")
def tiny(look: Look) -> Score:
    """The shorter side over 512 pixels."""
    return Score(min(1.0, min(look.subject.width, look.subject.height) / 512))


# -- sharpness --------------------------------------------------------------------------------------------------------


@check("blurry/1")
def blurry(look: Look) -> Score:
    """`sharpness` with the shorter side at 192 pixels: what a network sees, whatever the camera."""
    gray = look.gray
    scale = SIDE / min(gray.shape)
    if scale < 1:
        gray = np.asarray(cv2.resize(gray, None, fx=scale, fy=scale), dtype=np.uint8)
    return Score(sharpness(gray))


@check("upscaled/1")
def upscaled(look: Look) -> Score:
    """`sharpness` of the middle of the original, pixel for pixel: enlarging adds no detail of the finest scale.

    Enlarged without interpolation, each pixel stands there two, three or four times; then the steps at the places
    where they are smallest count, over all steps.
    """
    if min(look.crop.shape) < FEW:
        return Score(1.0)
    across = _apart(look.crop[:, 1:], look.crop[:, :-1]).mean(axis=0)
    mean, repeats = float(across.mean()), 1.0
    if mean > 0.5:
        repeats = min(float(across[phase::period].mean()) for period in (2, 3, 4) for phase in range(period)) / mean
    return Score(min(sharpness(look.crop), repeats))


def sharpness(gray: Gray) -> float:
    """How much of the contrast that stands at 2 and 4 times the pixel is there at the pixel already, 0 to 1.

    The largest Laplacian in each block of 16 x 16 pixels, on three levels of a Gaussian pyramid, summed over all
    blocks. It is a share, so it does not depend on the contrast (a pale sky is not blurry), and sharp parts outweigh a
    soft background. At 192 pixels: 334 photographs of ImageN have 0.47 to 0.83; after a Gaussian blur whose sigma is
    0.5 % of the shorter side 92 % of them have less than 0.4, and after 0.8 % 98 %.
    """
    peaks: list[NDArray[np.float32]] = []
    for block in (16, 8, 4):
        if peaks:
            gray = np.asarray(cv2.pyrDown(gray), dtype=np.uint8)
        edges = cv2.convertScaleAbs(cv2.Laplacian(gray, cv2.CV_16S))
        largest = cv2.dilate(edges, np.ones((block, block), np.uint8), anchor=(0, 0), borderValue=0)
        peaks.append(largest[::block, ::block].astype(np.float32))
    rows, columns = min(each.shape[0] for each in peaks), min(each.shape[1] for each in peaks)
    first, second, third = (each[:rows, :columns] for each in peaks)
    fine = float(np.maximum(first - NOISE, 0).sum()) + EVEN * first.size
    return fine / (fine + float(np.maximum(np.maximum(second, third) - NOISE, 0).sum()))


# -- pictures that are no photographs ---------------------------------------------------------------------------------


@check("screenshot/1")
def screenshot(look: Look) -> Score:
    """Straight level and upright edges of even color, as windows have them: ten of them give 0.

    An edge is a row (column) of which a quarter differs from the next by over 8 levels while both hardly change along
    it: a thing in front of white paper has no such edges. Those at the borders are frames and do not count.
    """
    if min(look.gray.shape) < FEW:
        return Score(1.0)
    across, down = look.steps
    moves_across, moves_down = _above(across, 2), _above(down, 2)
    level = _above(down, 8)[:, 1:] & ~moves_across[:-1] & ~moves_across[1:]
    upright = _above(across, 8)[1:] & ~moves_down[:, :-1] & ~moves_down[:, 1:]
    lines = _edges(cv2.reduce(level, 1, cv2.REDUCE_AVG).ravel()) + _edges(
        cv2.reduce(upright, 0, cv2.REDUCE_AVG).ravel()
    )
    return Score(1 - min(1.0, lines / 10))


def _edges(shares: NDArray[Any]) -> int:
    """How many runs of rows are edges, without those at the borders."""
    margin = max(2, len(shares) // 20)
    found = shares[margin : len(shares) - margin] > 255 // 4
    return int(np.count_nonzero(found[1:] & ~found[:-1]))


@check("text/1")
def text(look: Look) -> Score:
    """The share of the picture that does not look like writing.

    Writing is a block of 16 x 16 pixels in which neighbors either hardly differ (under 12 levels, at least 45 %) or
    differ strongly (over 48 levels, at least 8 %), with little between.
    """
    if min(look.gray.shape) < FEW:
        return Score(1.0)
    across = look.steps[0]
    size = (across.shape[1] // 16, across.shape[0] // 16)
    across = across[: size[1] * 16, : size[0] * 16]
    strong, weak = (
        cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in (_above(across, 48), ~_above(across, 11))
    )
    writing = (strong > 0.08 * 255) & (weak > 0.45 * 255) & (strong.astype(np.int16) + weak > 0.72 * 255)
    return Score(1 - float(writing.mean()))


@check("placeholder/1")
def placeholder(look: Look) -> Score:
    """The share of the pixels that do not have one of the 8 commonest gray levels: nearly none in a flat drawing.

    A picture that was seen at many addresses is judged more strictly (`quality.placeholder_addresses`).
    """
    return Score(1 - float(np.sort(look.levels)[-8:].sum()))


@check("tiled/1")
def tiled(look: Look) -> Score:
    """How little the picture resembles itself moved by some distance, and again by twice that distance.

    The peak of the autocorrelation of its edges, in standard deviations: 6 and less give 1, 12 give 0.5. Edges are
    evened out against their surroundings, so that a pale mark in a sky counts as much as a tree, and the spectrum
    against its neighborhood, so that a texture counts less than a pattern. Distances are those from 1/10 of a side up.
    A watermark laid over the whole picture repeats; so do some facades and fences. Below 0.45 are half of the
    photographs with text of 60 % opacity all over them, a quarter with 40 %, and 0.5 % of those without.
    """
    square = cv2.resize(look.gray, (PATTERN, PATTERN))
    edges = np.asarray(cv2.Laplacian(square, cv2.CV_32F), dtype=np.float32)
    edges /= cv2.sqrt(cv2.blur(edges * edges, (17, 17))) + 2
    spectrum = cv2.dft(edges * _WINDOW, flags=cv2.DFT_COMPLEX_OUTPUT)
    power: NDArray[np.float32] = spectrum[..., 0] ** 2 + spectrum[..., 1] ** 2
    power /= cv2.blur(power, (15, 15)) + 1e-3
    half, quarter = PATTERN // 2, PATTERN // 4
    repeats = cv2.dft(power, flags=cv2.DFT_INVERSE | cv2.DFT_REAL_OUTPUT)[:half]  # the other half is its mirror image
    again = np.asarray(cv2.blur(np.roll(repeats, half, axis=1) * _OVERLAP, (3, 3)), dtype=np.float32)
    again -= np.asarray(cv2.blur(again, (11, 11)))
    values = (again[:quarter, quarter : 3 * quarter] + again[::2, ::2])[_DISTANT]
    spread = 1.48 * float(np.median(np.abs(values)))  # as a normal distribution has it; many peaks do not widen it
    return Score(min(1.0, 6 * spread / max(float(values.max()), 1e-9)) if spread > 0 else 1.0)


def _window() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """A Hann window; what undoes it in an autocorrelation; which distances count. Distances: y from 0, x centered."""
    half, quarter = PATTERN // 2, PATTERN // 4
    hann = np.hanning(PATTERN)
    overlap = np.correlate(hann, hann, "full")[half - 1 : half - 1 + PATTERN] / (hann * hann).sum()
    y, x = np.mgrid[0:quarter, -quarter:quarter]
    distance = np.hypot(y, x)
    return (
        np.outer(hann, hann).astype(np.float32),
        (1 / np.maximum(np.outer(overlap[half:], overlap), 0.05)).astype(np.float32),
        (distance >= PATTERN / 10) & (distance < 0.95 * quarter),
    )


_WINDOW, _OVERLAP, _DISTANT = _window()


# -- people -----------------------------------------------------------------------------------------------------------


@check("gps/1")
def gps(look: Look) -> Score:
    """0 where the file says where it was taken; the details name the tags, never their values."""
    tags = look.tags.places
    return Score(float(not tags), {"tags": tags} if tags else {})


@check("owner/1")
def owner(look: Look) -> Score:
    """0 where the file names its owner or the serial number of a camera or lens; the details name the tags."""
    tags = look.tags.owners
    return Score(float(not tags), {"tags": tags} if tags else {})


@check("faces/1", asked=True)
def faces(look: Look) -> Score:
    """1 without a face, 0 with one; the details hold boxes (left, top, width, height) as shares of the picture."""
    boxes = find_faces(look.gray)
    return Score(float(not boxes), {"boxes": boxes} if boxes else {})
