"""One real Label Studio for all tests of this folder, in a folder of its own and on a free port."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from collector.workspace import Workspace
from labeling import server
from labeling.config import LabelConfig
from labeling.server import Server
from pipelines.machine import LABEL_STUDIO
from tests.conftest import need
from tests.labeling.desks import PEOPLE, add


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
def backend_port(free_port: Callable[[], int]) -> int:
    """The only port that the Label Studio of the tests may connect to."""
    return free_port()


@pytest.fixture(scope="session")
def studio_server(studio_data: Path, free_port: Callable[[], int], backend_port: int) -> Iterator[Server]:
    """A running Label Studio; it is ended after the last test."""
    need(LABEL_STUDIO)
    folder = studio_data / "label-studio"
    with pytest.MonkeyPatch.context() as stray:  # Label Studio would obey each of these
        stray.setenv("PORT", "1")
        stray.setenv("HOST", "http://example.org/elsewhere")
        stray.setenv("DEBUG", "true")
        stray.setenv("HEARTEX_ALLOWED_HOSTS", "*")
        stray.setenv("DATABASE_NAME", str(studio_data / "elsewhere.sqlite3"))
        started = server.start(folder, studio_data / "store", LabelConfig(port=free_port(), backend_port=backend_port))
    yield started
    server.stop(folder)


@pytest.fixture
def concept(request: pytest.FixtureRequest) -> str:
    """A concept of each test's own; the same in every run, for splits are drawn by its name."""
    return f"c{hashlib.sha256(request.node.name.encode()).hexdigest()[:6]}"


@pytest.fixture
def desk(make_workspace: Callable[..., Workspace], studio_server: Server, studio_data: Path, concept: str) -> Workspace:
    """A workspace with 16 pictures and three annotators, at the running server."""
    people = ", ".join(f'"{name}"' for name in PEOPLE)
    store = studio_data / "store"
    ws = make_workspace(f'[workspace]\nstore = "{store}"\n[label]\nannotators = [{people}]\nno_proposal_share = 0.3\n')
    (ws.data / "label-studio").symlink_to(studio_server.folder)
    add(ws, concept, range(16))
    return ws
