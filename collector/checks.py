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
CROP = 128  # pixels of the original that `upscaled` looks at, in each direction: 192 find no more
PATTERN = 256  # pixels of the square in which `tiled` looks for repeats: at 192 half as many are found
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
    def gray(self) -> Gray:
        """Luma, (height, width)."""
        return np.asarray(self.picture.convert("L"))

    @cached_property
    def levels(self) -> NDArray[np.float32]:
        """The share of pixels at each of the 256 gray levels; every second pixel is asked, in both directions."""
        counts = cv2.calcHist([self.gray[::2, ::2]], [0], None, [256], [0, 256]).ravel()
        return np.asarray(counts / counts.sum(), dtype=np.float32)

    @cached_property
    def few_colors(self) -> float:
        """The share of the pixels that have one of the 8 commonest gray levels."""
        return float(np.partition(self.levels, -8)[-8:].sum())

    @cached_property
    def steps(self) -> tuple[Gray, Gray]:
        """Absolute differences of neighbors, across and down, where a pixel has both."""
        here = self.gray[:-1, :-1]
        return _apart(self.gray[:-1, 1:], here), _apart(self.gray[1:, :-1], here)

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


def _up_to(values: Gray, level: int) -> Gray:
    """255 where a value is at most a level, else 0."""
    return np.asarray(cv2.threshold(values, level, 255, cv2.THRESH_BINARY_INV)[1], dtype=np.uint8)


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


@check("grayscale/2")
def grayscale(look: Look) -> Score:
    """The distance of the largest from the smallest channel that 1 % of the pixels exceed, in units of 64 levels.

    Some 64 pixels in each direction are asked. What JPEG leaves of gray is 2 or 3 levels, and a sepia print has color.
    """
    step = max(1, min(look.picture.size) // 64)
    few = (max(1, look.picture.width // step), max(1, look.picture.height // step))
    red, green, blue = cv2.split(np.asarray(look.picture.resize(few, Image.Resampling.NEAREST)))
    spread = cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)).ravel()
    exceeded = np.searchsorted(np.bincount(spread).cumsum(), 0.99 * spread.size)
    return Score(min(1.0, float(exceeded) / 64))


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


@check("upscaled/2")
def upscaled(look: Look) -> Score:
    """`sharpness` of the middle of the original, pixel for pixel: enlarging adds no detail of the finest scale.

    Enlarged without interpolation, each pixel stands there two, three or four times; then the steps at the places
    where they are smallest count, over all steps.
    """
    if min(look.crop.shape) < FEW:
        return Score(1.0)
    across = cv2.reduce(_apart(look.crop[:, 1:], look.crop[:, :-1]), 0, cv2.REDUCE_SUM, dtype=cv2.CV_32F).ravel()
    mean, repeats = float(across.mean()), 1.0
    if mean > 0.5 * look.crop.shape[0]:
        whole = across[: len(across) // 12 * 12].reshape(-1, 12).mean(axis=0)  # a period of 2, 3 or 4 is one of 12
        repeats = min(float(whole.reshape(-1, period).mean(axis=0).min()) for period in (2, 3, 4)) / mean
    return Score(min(sharpness(look.crop), repeats))


def sharpness(gray: Gray) -> float:
    """How much of the contrast that stands at 2 and 4 times the pixel is there at the pixel already, 0 to 1.

    The largest Laplacian in each block of 16 x 16 pixels, on three levels of a Gaussian pyramid, summed over all
    blocks. It is a share, so it does not depend on the contrast (a pale sky is not blurry), and sharp parts outweigh a
    soft background. At 192 pixels: 334 photographs of ImageN have 0.47 to 0.83; after a Gaussian blur whose sigma is
    0.5 % of the shorter side 92 % of them have less than 0.4, and after 0.8 % 98 %.
    """
    peaks: list[NDArray[np.int16]] = []
    for block, square in _SQUARES.items():
        if peaks:
            gray = np.asarray(cv2.pyrDown(gray), dtype=np.uint8)
        edges = cv2.convertScaleAbs(cv2.Laplacian(gray, cv2.CV_16S))
        largest = cv2.dilate(edges, square, anchor=(0, 0), borderValue=0)
        peaks.append(largest[::block, ::block].astype(np.int16))
    rows, columns = min(each.shape[0] for each in peaks), min(each.shape[1] for each in peaks)
    first, second, third = (each[:rows, :columns] for each in peaks)
    fine = float(np.maximum(first - NOISE, 0).sum()) + EVEN * first.size
    return fine / (fine + float(np.maximum(np.maximum(second, third) - NOISE, 0).sum()))


_SQUARES = {block: np.ones((block, block), np.uint8) for block in (16, 8, 4)}


# -- pictures that are no photographs ---------------------------------------------------------------------------------


@check("screenshot/2")
def screenshot(look: Look) -> Score:
    """How much of the picture has more than 8 gray levels, unless it shows neither straight edges nor lines of text.

    A screen is drawn in few colors: 8 gray levels hold at least 0.78 of each of 120 drawn screenshots in five styles,
    in JPEG and PNG, and over 0.7 of 0.4 % of 250 photographs of ImageN. Things before white paper have few colors too,
    but no level or upright edge between even parts as long as a side of the picture, and no six lines of text. With
    more than half of the picture in other levels, nothing else is looked at.
    """
    if min(look.gray.shape) < FEW or look.few_colors < 0.5:
        return Score(1.0)
    drawn = min(1.0, max(_straight_edges(look), _text_lines(look) / 6))
    return Score(1 - drawn * look.few_colors)


def _straight_edges(look: Look) -> float:
    """The length of level and upright edges, in sides of the picture; only those count that are a fifth of a side.

    An edge is a step of over 8 levels to the next row (column) where the pixels along it hardly change.
    """
    across, down = look.steps
    level = cv2.bitwise_and(_above(down, 8), _up_to(across, 2))
    upright = cv2.bitwise_and(_above(across, 8), _up_to(down, 2))
    shares = (cv2.reduce(level, 1, cv2.REDUCE_AVG).ravel()[2:-2], cv2.reduce(upright, 0, cv2.REDUCE_AVG).ravel()[2:-2])
    return sum(float(each[each > 255 // 5].sum()) for each in shares) / 255


def _text_lines(look: Look) -> float:
    """How often empty rows turn to rows with steps in them, in a sixth of the width; for 288 rows.

    The mean of the three sixths with most.
    """
    busy = _above(np.asarray(cv2.max(*look.steps), dtype=np.uint8), 12)
    width = busy.shape[1] // 6
    turns = []
    for left in range(0, 6 * width, width):
        share = cv2.reduce(busy[:, left : left + width], 1, cv2.REDUCE_AVG).ravel()
        told = share[(share < 5) | (share > 25)] > 25
        turns.append(int(np.count_nonzero(told[1:] & ~told[:-1])))
    return sum(sorted(turns)[-3:]) / 3 * 288 / len(busy)


@check("text/2")
def text(look: Look) -> Score:
    """The share of the picture that does not look like writing; every second row is asked.

    Writing is a block of 16 x 16 pixels in which neighbors either hardly differ (under 12 levels, at least 45 %) or
    differ strongly (over 48 levels, at least 8 %), with little between.
    """
    if min(look.gray.shape) < FEW:
        return Score(1.0)
    rows, columns = look.steps[0].shape[0] // 16, look.steps[0].shape[1] // 16
    across = np.ascontiguousarray(look.steps[0][: rows * 16 : 2, : columns * 16]).reshape(-1, 16)
    strong, weak = (
        cv2.reduce(each, 1, cv2.REDUCE_AVG).reshape(rows, 8, columns).mean(axis=1, dtype=np.float32)
        for each in (_above(across, 48), _up_to(across, 11))
    )
    writing = (strong > 0.08 * 255) & (weak > 0.45 * 255) & (strong + weak > 0.72 * 255)
    return Score(1 - float(writing.mean()))


@check("placeholder/1")
def placeholder(look: Look) -> Score:
    """The share of the pixels that do not have one of the 8 commonest gray levels: nearly none in a flat drawing.

    A picture that was seen at many addresses is judged more strictly (`quality.placeholder_addresses`).
    """
    return Score(1 - look.few_colors)


@check("tiled/2")
def tiled(look: Look) -> Score:
    """How little the rows of a picture resemble themselves moved along, and its columns moved down.

    The peak of the autocorrelation of edges along the rows, summed over all rows, or of that along the columns, in
    standard deviations: 3 and less give 1, 6 give 0.5. Edges are compressed, so that a pale mark in a sky counts as
    much as a tree, and the spectrum is evened out against its neighborhood, so that a texture counts less than a
    pattern. Distances are those from 1/10 to 9/20 of a side. A watermark laid over the whole picture repeats, in rows
    that are staggered too; so do some facades and fences. Below 0.5 are 84 % of 200 photographs with level text of 60 %
    opacity all over them, 71 % with 40 %, and 0.5 % of those without. Text that is laid on aslant is not found.
    """
    square = cv2.resize(look.gray, (PATTERN, PATTERN))
    edges = np.asarray(cv2.LUT(cv2.Laplacian(square, cv2.CV_8U, delta=128), _COMPRESSED), dtype=np.float32)
    power = np.concatenate([_power(edges[::2]), _power(cv2.transpose(edges)[::2])])
    power /= cv2.blur(power, (15, 1)) + 1e-3
    packed = np.zeros((2, PATTERN), np.float32)
    packed[:, 1:-1:2] = power
    alike = cv2.dft(packed, flags=cv2.DFT_INVERSE | cv2.DFT_REAL_OUTPUT | cv2.DFT_ROWS)[:, : PATTERN // 2] * _OVERLAP
    values = (alike - cv2.blur(alike, (15, 1)))[:, PATTERN // 10 : PATTERN * 9 // 20]
    spread = 1.48 * np.median(np.abs(values), axis=1)  # as a normal distribution has it; many peaks do not widen it
    peak = float((values.max(axis=1) / np.maximum(spread, 1e-9)).max())
    return Score(min(1.0, 3 / max(peak, 1e-9)))


def _power(rows: NDArray[Any]) -> NDArray[np.float32]:
    """The power spectra of rows, summed; OpenCV packs real and imaginary parts side by side."""
    spectrum = cv2.dft(rows * _WINDOW, flags=cv2.DFT_ROWS)
    power = cv2.reduce(cv2.multiply(spectrum, spectrum), 0, cv2.REDUCE_SUM)
    return np.asarray(power[:, 1:-1:2] + power[:, 2:-1:2])


def _window() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A Hann window, (1, n), and what undoes it in an autocorrelation, (1, n / 2)."""
    hann = np.hanning(PATTERN)
    overlap = np.correlate(hann, hann, "full")[PATTERN - 1 :] / (hann * hann).sum()
    kept = 1 / np.maximum(overlap[: PATTERN // 2], 0.1)
    return hann[None].astype(np.float32), kept[None].astype(np.float32)


_WINDOW, _OVERLAP = _window()
_COMPRESSED = ((np.arange(256) - 128) / (np.abs(np.arange(256) - 128) + 8)).astype(np.float32)


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
