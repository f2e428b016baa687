"""Points of stored images: extracted once, kept over kills and damage, compared in pairs."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from collector.dedup import keypoints as module
from collector.dedup.geometry import Points, extract
from collector.dedup.keypoints import compare, keypoints
from collector.intake import take_in
from collector.records import Kept, License, Sighting
from collector.workspace import Workspace
from tests.collector.drawn import Gray, beside, cropped, scene
from tests.conftest import REPOSITORY

KILLED = """
import os, signal, sys
from collector.dedup import keypoints
from collector.catalog import images
from collector.workspace import Workspace

def kill(text, done, total):
    if done >= 4:
        os.kill(os.getpid(), signal.SIGKILL)

keypoints.GROUP = 2
with Workspace.open(sys.argv[1], progress=kill, environ={}) as ws:
    keypoints.keypoints(ws, images.ids(ws.catalog))
"""


def keep(ws: Workspace, picture: Image.Image, format_: str = "PNG") -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format_)
    ws.concept("horse", create=True)
    seen = Sighting("test", str(hash(buffer.getvalue())), "https://x/y", License("cc0"), concept="horse", label="horse")
    outcome = take_in(ws, buffer.getvalue(), seen)
    assert isinstance(outcome, Kept)
    return outcome.image


def packs(ws: Workspace) -> list[Path]:
    return sorted((ws.data / "keypoints").rglob("*.points"))


@pytest.fixture
def extracted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each picture that is looked at."""
    seen: list[int] = []

    def counting(gray: Gray) -> Points:
        seen.append(gray.size)
        return extract(gray)

    monkeypatch.setattr(module, "extract", counting)
    return seen


def test_each_image_is_looked_at_once_and_its_points_stay(ws: Workspace, extracted: list[int]) -> None:
    names = [keep(ws, scene(seed)) for seed in range(3)]
    first = keypoints(ws, names)
    again = keypoints(ws, names)
    assert len(extracted) == 3
    for name in names:
        assert np.array_equal(first[name].places, again[name].places)
        assert np.array_equal(first[name].descriptors, again[name].descriptors)
        assert first[name].size == again[name].size == (400, 300)
    keypoints(ws, [*names, keep(ws, scene(3))])
    assert len(extracted) == 4


def test_large_pictures_are_read_from_their_preview_and_without_it_from_the_original(
    ws: Workspace, extracted: list[int]
) -> None:
    name = keep(ws, scene(1, (1600, 1200)))
    keypoints(ws, [name])
    for pack in (ws.data / "store" / "previews").iterdir():
        pack.unlink()
    keypoints(ws, [name], mirrored=True)
    assert extracted == [384 * 288, 1600 * 1200]


def test_a_killed_run_goes_on_where_it_was(make_workspace: Callable[..., Workspace], extracted: list[int]) -> None:
    ws = make_workspace()
    names = [keep(ws, scene(seed, (160, 120))) for seed in range(8)]
    child = subprocess.run([sys.executable, "-c", KILLED, str(ws.root / "config.toml")], cwd=REPOSITORY, check=False)
    assert child.returncode == -signal.SIGKILL
    assert set(keypoints(ws, names)) == set(names)
    assert len(extracted) == 4


def test_whatever_a_power_cut_leaves_of_a_pack_is_made_whole(ws: Workspace, extracted: list[int]) -> None:
    names = [keep(ws, scene(seed, (160, 120))) for seed in range(3)]
    sound = {name: points.descriptors.copy() for name, points in keypoints(ws, names).items()}
    (pack,) = packs(ws)
    data = pack.read_bytes()
    damaged = [data[:cut] for cut in (0, 10, 60, len(data) // 2, len(data) - 1)]
    damaged += [data + bytes(5000), data + b"garbage" * 99, data[:-500] + bytes(500), bytes(len(data))]
    for content in damaged:
        for other in packs(ws):
            other.unlink()
        pack.write_bytes(content)
        healed = keypoints(ws, names)
        assert set(healed) == set(names)
        assert all(np.array_equal(healed[name].descriptors, sound[name]) for name in names)
    assert len(extracted) > 3


def test_an_image_whose_bytes_are_gone_has_no_points_and_harms_nobody(ws: Workspace) -> None:
    here, gone = keep(ws, scene(1)), keep(ws, scene(2))
    os.unlink(ws.store.path(gone))
    assert set(keypoints(ws, [here, gone, "ab" * 32])) == {here}
    assert [match is None for match in compare(ws, [(here, gone), (here, here)])] == [True, False]


def test_pairs_are_compared_upright_and_mirrored(ws: Workspace) -> None:
    source, other = keep(ws, scene(1)), keep(ws, scene(2))
    crop = keep(ws, cropped(scene(1), 0.6))
    mirror = keep(ws, ImageOps.mirror(cropped(scene(1), 0.7)))
    collage = keep(ws, beside(scene(2), scene(1)))
    turned = keep(ws, scene(1).rotate(90, expand=True), "WEBP")
    copies = [(source, crop), (source, mirror), (source, collage), (other, collage), (turned, source)]
    matches = compare(ws, [*copies, (source, other), (crop, other)])
    assert [match.same for match in matches if match] == [True] * 5 + [False] * 2
    assert [match.mirrored for match in matches if match] == [False, True] + [False] * 5


def test_blank_pictures_are_no_copies_of_anything(ws: Workspace) -> None:
    blank = [keep(ws, Image.new("L", (200 + i, 200), 255)) for i in range(2)]
    assert not any(
        match and match.same for match in compare(ws, [(blank[0], blank[1]), (blank[0], keep(ws, scene(1)))])
    )


def test_nothing_is_asked_and_nothing_is_written(ws: Workspace) -> None:
    assert compare(ws, []) == []
    assert packs(ws) == []
