"""What every test may use: a scratch workspace, and pictures made on the spot."""

from __future__ import annotations

import functools
import io
import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from collector.catalog import Catalog
from collector.locks import named_lock
from collector.workspace import Workspace
from pipelines.machine import LABEL_STUDIO, POSTGRES, Tool, ensure

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of our child processes would compile all that it imports
settings.register_profile("collect", deadline=None)  # machines are noisy: no timed assertions
settings.load_profile("collect")

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"
MEMORY = Path("/dev/shm")
ENOUGH = 8 << 30


def picture(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A colorful picture of soft blobs; different seeds differ in about half of their perceptual hash."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


@functools.cache
def jpeg(seed: int, size: tuple[int, int] = (320, 240), quality: int = 90) -> bytes:
    """`picture` as a JPEG file."""
    buffer = io.BytesIO()
    picture(seed, size).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def pytest_configure() -> None:
    """Keep the folders of the tests in memory where there is much: thousands of catalogs wait for no disk to sync."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= ENOUGH:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: two processes take file after file, and neither ends long before the other."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


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


@pytest.fixture(scope="session", autouse=True)
def _migrated_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A new catalog is the copy of one that all migrations made in 0.2 s. Child processes migrate as users do."""
    template = tmp_path_factory.mktemp("catalog") / "catalog.sqlite"
    migrate = Catalog.migrate

    def copied(self: Catalog) -> None:
        if self.engine.dialect.name != "sqlite" or self.revision() is not None:
            migrate(self)
            return
        if not template.exists():
            made = Catalog(f"sqlite:///{template}")
            migrate(made)
            made.close()
        with closing(sqlite3.connect(template)) as old, closing(self.engine.raw_connection()) as new:
            old.backup(cast("sqlite3.Connection", new.driver_connection))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Catalog, "migrate", copied)
        yield


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server that lives as long as the tests."""
    tools = Path(need(POSTGRES))
    # PostgreSQL refuses to run as root, and an unprivileged account cannot enter pytest's own folders.
    as_nobody = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    root = os.environ.get("PYTEST_DEBUG_TEMPROOT")
    with tempfile.TemporaryDirectory(prefix="collect-pg-", dir=root) as name, socket.socket() as free:
        folder = Path(name)
        if as_nobody:
            shutil.chown(folder, "nobody", "nogroup")
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        data = folder / "data"

        def tool(*arguments: str) -> None:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
            subprocess.run([str(tools / arguments[0]), *arguments[1:]], check=True, **quiet, **as_nobody)  # type: ignore[call-overload]

        tool("initdb", "-D", str(data), "-U", "collect", "--auth=trust", "--no-sync", "-E", "UTF8")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
        tool("pg_ctl", "-D", str(data), "-w", "-o", options, "-l", str(folder / "log"), "start")
        try:
            yield f"postgresql://collect@127.0.0.1:{port}"
        finally:
            tool("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
