"""`collect quality`: scores of every image by every check, each once; what is bad is decided when scores are read.

Thresholds are settings, so they change without measuring again. A flag removes nothing by itself: `quality.exclude`
names the flags that keep images out of the pool.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, field_validator

from collector.catalog import Catalog, images, pools
from collector.catalog import quality as rows
from collector.catalog.quality import Measured, Subject
from collector.config import IntakeConfig, Section
from collector.errors import CollectError
from collector.records import Rejected, Summary
from collector.registry import did_you_mean
from collector.workspace import Workspace

BROKEN = "broken/1"  # 0: the bytes are gone or cannot be decoded; found by whoever looks, so it is no check of its own
GROUP = 256  # images written down together: what a killed run loses at most
WORST = 3  # images that the summary names for each flag


class Thresholds(BaseModel):
    """An image whose score is below one of these carries the flag of that name; 0 flags nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    dark: float = Field(0.25, ge=0, le=1, description="the luma that 1 % of the pixels exceed, of white")
    light: float = Field(0.05, ge=0, le=1, description="how far below white the darkest 5 % of the pixels reach")
    blurry: float = Field(0.4, ge=0, le=1, description="fine detail with the shorter side at 192 pixels")
    low_information: float = Field(0.3, ge=0, le=1, description="entropy of the gray levels, in bits of 8")
    odd_aspect: float = Field(0.35, ge=0, le=1, description="shorter side over longer side")
    tiny: float = Field(0.25, ge=0, le=1, description="shorter side over 512 pixels")
    upscaled: float = Field(0.42, ge=0, le=1, description="fine detail at the pixel of the original")
    grayscale: float = Field(0.15, ge=0, le=1, description="distance of the color channels, over 64 levels")
    screenshot: float = Field(
        0.3, ge=0, le=1, description="share of uncommon gray levels, if edges or text are as drawn"
    )
    text: float = Field(0.7, ge=0, le=1, description="share of the picture that does not look like writing")
    tiled: float = Field(0.5, ge=0, le=1, description="how little the picture repeats itself")
    placeholder: float = Field(0.1, ge=0, le=1, description="share of the pixels outside the 8 commonest gray levels")
    gps: float = Field(0.5, ge=0, le=1, description="0: the file says where it was taken")
    owner: float = Field(0.5, ge=0, le=1, description="0: the file names its owner, or a serial number")
    faces: float = Field(0.5, ge=0, le=1, description="0: a face was found")
    broken: float = Field(0.5, ge=0, le=1, description="0: the bytes are gone or cannot be decoded")


class QualityConfig(Section):
    """Which scores are bad, and which flags keep an image out of the pool."""

    section = "quality"
    exclude: tuple[str, ...] = Field((), description='flags that keep images out of the pool, such as "blurry"')
    placeholder_addresses: int = Field(
        20, ge=2, description="the same bytes at so many addresses are a placeholder, whatever they show"
    )
    below: Thresholds = Field(Thresholds(), description="thresholds")

    @field_validator("exclude")
    @classmethod
    def _are_flags(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in Thresholds.model_fields:
                raise ValueError(f"`{name}` is not a flag{did_you_mean(name, Thresholds.model_fields)}")
        return names


@dataclass(frozen=True, slots=True, kw_only=True)
class QualitySummary(Summary):
    """Of `images`, `measured` were looked at in this run. `flags`: flag -> images; `worst`: flag -> the worst of them.

    `excluded` images are kept out of the pool by `quality.exclude`, or as copies of an outside set.
    """

    images: int
    measured: int
    flags: dict[str, int]
    worst: dict[str, tuple[str, ...]]
    excluded: int

    def for_people(self) -> dict[str, Any]:
        """The flags that some image carries, with the beginnings of the worst images' names."""
        lines = (
            f"{name}  {n}   worst: {' '.join(image[:12] for image in self.worst[name])}"
            for name, n in self.flags.items()
            if n
        )
        return {
            "images": self.images,
            "measured": self.measured,
            "flags": "\n".join(lines) or "none",
            "excluded": self.excluded,
        }


def quality(ws: Workspace, *, faces: bool = False) -> QualitySummary:
    """Measure what is not measured yet; `faces` also looks for faces, which costs many times as much as the rest.

    Raises:
        Busy: another run measures.
    """
    with ws.lock("quality"):
        measured = _measure(ws, faces)
    config = ws.section(QualityConfig)
    found = flagged(ws.catalog, config)
    by_number = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return QualitySummary(
        images=len(images.ids(ws.catalog)),
        measured=measured,
        flags={name: len(those) for name, those in by_number},
        worst={name: tuple(list(those)[:WORST]) for name, those in by_number},
        excluded=len(excluded(ws.catalog, config)),
        next="collect report",
        warnings=_warnings(found),
    )


def flagged(catalog: Catalog, config: QualityConfig) -> dict[str, dict[str, float]]:
    """Flag -> image -> score, worst first, as the thresholds stand now; nothing is measured."""
    keys = keys_of_checks()
    limits = {keys[name]: limit for name, limit in config.below.model_dump().items()}
    names = {key: name for name, key in keys.items()}
    found = {names[key]: those for key, those in rows.below(catalog, limits).items()}
    if config.below.placeholder:
        everywhere = dict.fromkeys(rows.everywhere(catalog, config.placeholder_addresses), 0.0)
        found["placeholder"] = {**everywhere, **found["placeholder"]}
    return found


def excluded(catalog: Catalog, config: QualityConfig) -> dict[str, str]:
    """Image -> why it is kept out of the pool: "quality: FLAG" (of `quality.exclude`), or "copy of NAME"."""
    outside = {image: f"copy of {name}" for image, name in pools.out(catalog).items()}
    if not config.exclude:
        return outside
    found = flagged(catalog, config)
    return outside | {image: f"quality: {flag}" for flag in reversed(config.exclude) for image in found[flag]}


def keys_of_checks(*, asked: bool = True) -> dict[str, str]:
    """Check -> its key with the version; `asked` includes those that run only on demand."""
    from collector.checks import CHECKS  # imports OpenCV, which reading the settings does not need

    return {name: CHECKS[name].key for name in CHECKS if asked or not CHECKS[name].asked} | {"broken": BROKEN}


def _measure(ws: Workspace, faces: bool) -> int:
    """Run the checks that images lack, group by group; returns how many images were looked at."""
    wanted = keys_of_checks(asked=faces)
    subjects = rows.incomplete(ws.catalog, list(wanted.values()))
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count() or 1, "quality") as pool:
        warnings.filterwarnings("ignore", module=r"PIL\.")  # about odd metadata
        for start in range(0, len(subjects), GROUP):
            ws.progress("quality", start, len(subjects))
            group = subjects[start : start + GROUP]
            known = rows.known(ws.catalog, [each.image for each in group])
            lacking = [[name for name, key in wanted.items() if key not in known[each.image]] for each in group]
            found = pool.map(measure, [ws] * len(group), group, lacking)
            rows.put(ws.catalog, [row for some in found for row in some])
    ws.progress("quality", len(subjects), len(subjects))
    return len(subjects)


def measure(ws: Workspace, subject: Subject, names: Sequence[str]) -> list[Measured]:
    """The scores of one image by some checks; whatever its bytes do to a decoder, the answer is rows."""
    from collector.checks import CHECKS, Look

    try:
        picture, details = _picture(ws, subject)
        look = Look(subject, picture, lambda: ws.store.get(subject.image))
        scores = {CHECKS[name].key: CHECKS[name].measure(look) for name in names if name != "broken"}
    except Exception as error:  # a hostile file raises nearly anything
        why = error.message if isinstance(error, CollectError) else f"{type(error).__name__}: {error}"
        return [Measured(subject.image, BROKEN, 0.0, {"why": why[:300]})]
    made = [Measured(subject.image, key, float(each.score), each.details) for key, each in scores.items()]
    return [*made, Measured(subject.image, BROKEN, 1.0, details)]


def _picture(ws: Workspace, subject: Subject) -> tuple[Image.Image, Mapping[str, Any]]:
    """The preview, or the original where there is none; where the preview is damaged, the original and why."""
    from collector.decoding import FORMATS, decode, upright_rgb

    if subject.preview is not None:
        try:
            with Image.open(io.BytesIO(ws.store.get_preview(subject.preview)), formats=("JPEG",)) as file:
                return upright_rgb(file), {}
        except (CollectError, OSError, SyntaxError) as error:
            anything = IntakeConfig(min_side=1, max_pixels=2**40, max_bytes=2**40)
            decoded = decode(ws.store.get(subject.image), anything)
            if isinstance(decoded, Rejected):
                raise CollectError(decoded.detail) from error
            return decoded.small, {"preview": str(error)[:300]}
    with Image.open(io.BytesIO(ws.store.get(subject.image)), formats=FORMATS) as file:
        return upright_rgb(file), {}


def _warnings(found: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    said = []
    if found["broken"]:
        said.append(f"{len(found['broken'])} images cannot be read any more; restore the store from a backup")
    if found["gps"]:
        said.append(f"{len(found['gps'])} files say where they were taken: never publish the originals as they are")
    return tuple(said)
