from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from collector.errors import UsageError
from collector.workspace import Workspace
from labeling import lifecycle
from labeling.server import Server


@pytest.mark.studio
def test_start_finds_the_server_of_the_workspace_and_says_that_its_port_is_another(
    make_workspace: Callable[..., Workspace], studio_server: Server, studio_data: Path
) -> None:
    ws = make_workspace(f'[workspace]\nstore = "{studio_data / "store"}"\n')
    (ws.data / "label-studio").symlink_to(studio_server.folder)
    found = lifecycle.start(ws, port=1)
    assert found.url == studio_server.url
    assert found.email == "me@collect.local"
    assert found.warnings == (f"it was running already, on port {studio_server.port}",)
    assert Path(found.passwords).stat().st_mode & 0o077 == 0


def test_stop_without_a_server_stops_nothing(ws: Workspace) -> None:
    assert not lifecycle.stop(ws).stopped


def test_a_store_that_is_no_folder_is_refused(make_workspace: Callable[..., Workspace]) -> None:
    ws = make_workspace('[workspace]\nstore = "memory://store"\n')
    with pytest.raises(UsageError, match="from a folder"):
        lifecycle.start(ws)
