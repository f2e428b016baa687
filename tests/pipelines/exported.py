"""A snapshot of awkward pictures under awkward labels, made by the steps themselves; only people are played."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from collector.intake import take_in
from collector.records import Kept, License, Sighting
from collector.splits import draw
from collector.workspace import Workspace
from pipelines.snapshot import snapshot
from tests.conftest import picture
from tests.pipelines.labeled import answer, settle

LABELS = ("horse", "a/b", "con", "zébra: *", "NA")
CONFIG = """
[crawl]
license = "any-cc"
contact = "pictures@example.org"

[splits]
validation = 0.3
calibration = 0.3
test = 0.0

[concepts.horse]
labels = ["horse", "a/b", "con", "zébra: *", "NA"]
"""
LICENSES = (
    License("by", "4.0", "https://creativecommons.org/licenses/by/4.0/", evidence="license=by"),
    License("cc0", "1.0", "https://creativecommons.org/publicdomain/zero/1.0/", evidence="license=cc0"),
    License("by-sa", "3.0", "https://creativecommons.org/licenses/by-sa/3.0/de/", "de", "license=by-sa"),
    License("by-nc-nd", "4.0", "https://creativecommons.org/licenses/by-nc-nd/4.0/", evidence="license=by-nc-nd"),
)
TITLES = ("=HYPERLINK(1)", 'a, "quoted"\ntitle', "</script>| {x} $\\alpha$", "ünïcode 馬", "")


def encoded(seed: int, kind: str, size: tuple[int, int] = (160, 120)) -> bytes:
    """A picture as a file of one kind: a format, `CMYK`, `16-bit`, `palette`, or `turned` (with place and owner)."""
    made, buffer = picture(seed, size), io.BytesIO()
    if kind == "CMYK":
        made.convert("CMYK").save(buffer, "JPEG", quality=95)
    elif kind == "16-bit":
        gray = made.convert("I").point(lambda value: value * 257)
        gray.convert("I;16").save(buffer, "PNG")
    elif kind == "palette":
        made.quantize(64).save(buffer, "PNG")
    elif kind == "turned":
        exif = Image.Exif()
        exif[274] = 6
        exif[0xA430] = "Jane Doe"
        exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 0.0)})
        made.save(buffer, "JPEG", quality=95, exif=exif)
    else:
        made.save(buffer, kind, **({"quality": 90} if kind in ("JPEG", "WEBP", "AVIF") else {}))
    return buffer.getvalue()


AWKWARD = ("AVIF", "GIF", "CMYK", "16-bit", "WEBP", "turned", "palette", "PNG")


def found(ws: Workspace, data: bytes, n: int, label: str, license: License) -> str:
    """Take one picture in, seen on a page of its own."""
    seen = Sighting(
        "openverse", f"id-{n}", f"https://img.example/{n}.jpg", license, "horse", label, page=f"https://x.example/{n}",
        title=TITLES[n % len(TITLES)], creator=f"Ann {n % 7}", creator_url="https://x.example/ann",
    )  # fmt: skip
    outcome = take_in(ws, data, seen)
    assert isinstance(outcome, Kept)
    return outcome.image


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace with such a snapshot; nobody may change it."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "config.toml").write_text(CONFIG, encoding="utf-8")
    with Workspace.open(folder / "config.toml", environ={}) as ws:
        fill(ws)
        yield ws


@contextmanager
def copied(world: Workspace, to: Path) -> Iterator[Workspace]:
    """A copy of `world` that may be changed."""
    shutil.copytree(world.root, to)
    with Workspace.open(to / "config.toml", environ={}) as ws:
        yield ws


def fill(ws: Workspace, each: int = 10, kinds: Sequence[str] = AWKWARD) -> str:
    """Collect, draw, label and freeze; the digest of the snapshot."""
    concept = ws.concept("horse")
    truth = {}
    for n in range(each * len(LABELS)):
        label = LABELS[n % len(LABELS)]
        truth[found(ws, encoded(n, "JPEG"), n, label, LICENSES[n % len(LICENSES)])] = label
    for n, kind in enumerate(kinds, start=1000):
        truth[found(ws, encoded(n, kind), n, "horse", LICENSES[0])] = "horse"
    draw(ws, concept)
    answer(ws, truth, ("ann", "bob"))
    settle(ws, *((image, label, {label: 2}) for image, label in truth.items()))
    return snapshot(ws, "horse", accept_shortcut=True).digest
