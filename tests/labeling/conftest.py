"""One real Label Studio for all tests of this folder, in a folder of its own and on a free port."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labeling import server
from labeling.config import LabelConfig
from labeling.server import Server
from pipelines.machine import LABEL_STUDIO
from tests.conftest import need


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Finds a port of this machine that nobody uses."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


@pytest.fixture(scope="session")
def studio_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a workspace; its Label Studio and its store lie in it."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def studio_server(studio_data: Path, free_port: Callable[[], int]) -> Iterator[Server]:
    """A running Label Studio; it is ended after the last test."""
    need(LABEL_STUDIO)
    folder = studio_data / "label-studio"
    with pytest.MonkeyPatch.context() as stray:  # Label Studio would obey each of these
        stray.setenv("PORT", "1")
        stray.setenv("HOST", "http://example.org/elsewhere")
        stray.setenv("DATABASE_NAME", str(studio_data / "elsewhere.sqlite3"))
        started = server.start(folder, studio_data / "store", LabelConfig(port=free_port()))
    yield started
    server.stop(folder)
