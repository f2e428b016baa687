"""What every test may use: a scratch workspace, and pictures made on the spot."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from collector.locks import named_lock
from collector.workspace import Workspace
from pipelines.machine import LABEL_STUDIO, Tool, ensure

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of our child processes would compile all that it imports
settings.register_profile("collect", deadline=None)  # machines are noisy: no timed assertions
settings.load_profile("collect")

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"


def picture(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A colorful picture of soft blobs; different seeds differ in about half of their perceptual hash."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def jpeg(seed: int, size: tuple[int, int] = (320, 240), quality: int = 90) -> bytes:
    """`picture` as a JPEG file."""
    buffer = io.BytesIO()
    picture(seed, size).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install Label Studio before the first test begins: a gigabyte may take longer than a test is given."""
    wanted = any(item.get_closest_marker("studio") for item in session.items)
    if wanted and not session.config.option.collectonly and LABEL_STUDIO.find() is None:
        print("\ninstalling Label Studio for the tests (about 1 GB, once)", flush=True)  # noqa: T201
        with named_lock(Path(tempfile.gettempdir()), "collect-tests", wait_s=1800):  # several workers test at once
            ensure(LABEL_STUDIO)


def need(tool: Tool) -> str:
    """Where `tool` is, installed first if need be; without it the test skips and says what to install, and CI fails."""
    place = ensure(tool)
    if place is not None:
        return place
    said = f"{tool.name} is missing and cannot be installed here: {tool.hint}"
    if os.environ.get("CI"):
        pytest.fail(said)
    pytest.skip(said)


@pytest.fixture
def make_workspace(tmp_path: Path) -> Iterator[Callable[..., Workspace]]:
    """Opens workspaces from the text of a config.toml, and closes them at the end."""
    opened: list[Workspace] = []

    def make(config: str = "", name: str = "ws") -> Workspace:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "config.toml").write_text(config, encoding="utf-8")
        opened.append(Workspace.open(folder / "config.toml", environ={}))
        return opened[-1]

    yield make
    for ws in opened:
        ws.close()


@pytest.fixture
def ws(make_workspace: Callable[..., Workspace]) -> Workspace:
    """An empty workspace with default settings."""
    return make_workspace()
