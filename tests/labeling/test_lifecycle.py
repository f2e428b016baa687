from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.errors import CollectError, ServiceDown, UsageError
from collector.workspace import Workspace
from labeling import accounts, lifecycle
from labeling.accounts import Account
from labeling.interface import Item, interface
from labeling.server import Server
from labeling.studio import VERSION


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


@pytest.mark.studio
def test_status_counts_what_is_in_the_running_server(
    make_workspace: Callable[..., Workspace], studio_server: Server
) -> None:
    ws = make_workspace()
    assert lifecycle.status(ws).health == "stopped"
    assert lifecycle.status(ws).next == "collect label start"
    (ws.data / "label-studio").symlink_to(studio_server.folder)
    before = lifecycle.status(ws)
    with studio_server.connect() as studio:
        project = studio.create_project("counted", interface(("horse", "not-horse")), "")
        studio.import_items(project, [Item("ab" * 32), Item("cd" * 32)])
        items = studio.items(project)
        studio.submit(project, items["ab" * 32], "horse", seconds=1.0)
        after = lifecycle.status(ws)
        studio.delete_project(project)
    assert (before.url, before.health, before.version) == (studio_server.url, "up", VERSION)
    assert before.started_by == "collect"
    assert before.users is not None
    assert before.users >= 1
    assert before.storage is not None
    assert before.storage > 1_000_000
    assert [after.projects, after.tasks, after.answered] == [
        (before.projects or 0) + 1,
        (before.tasks or 0) + 2,
        (before.answered or 0) + 1,
    ]


@pytest.mark.studio
def test_a_server_of_somebody_else_is_used_and_neither_started_nor_stopped(
    make_workspace: Callable[..., Workspace], studio_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = make_workspace(f'[label]\nurl = "{studio_server.url}/"\n')
    with pytest.raises(UsageError, match="no token") as caught:
        lifecycle.running(ws)
    assert lifecycle.TOKEN in caught.value.hint
    token = accounts.load(studio_server.folder)["me"].token
    monkeypatch.setenv(lifecycle.TOKEN, token)
    with lifecycle.running(ws).connect() as studio:
        assert studio.check() == "me@collect.local"
    private = lifecycle.folder_of(ws) / accounts.FILE
    assert private.parent != studio_server.folder
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    status = lifecycle.status(ws)
    assert (status.health, status.started_by, status.storage) == ("up", "somebody else", None)
    for verb in (lifecycle.start, lifecycle.stop):
        with pytest.raises(UsageError, match=f"does not {verb.__name__}"):
            verb(ws)
    monkeypatch.setenv(lifecycle.TOKEN, "0" * 40)
    with pytest.raises(CollectError, match="does not accept our token"):
        lifecycle.running(ws)


@pytest.mark.studio
def test_a_server_that_does_not_see_the_store_is_told_what_to_set(
    make_workspace: Callable[..., Workspace], studio_server: Server, studio_data: Path
) -> None:
    ws = make_workspace()
    elsewhere = Path(str(ws.store.root)) / "objects"
    elsewhere.mkdir(parents=True, exist_ok=True)
    below = studio_data / "store" / "deeper" / "objects"  # under its document root, and served under other names
    (below / "ab" / "cd").mkdir(parents=True)
    (below / "ab" / "cd" / ("abcd" * 16)).write_bytes(b"a picture")
    with studio_server.connect() as studio:
        project = studio.create_project("blind", interface(("horse", "not-horse")), "")
        for folder in (elsewhere, below):
            with pytest.raises(UsageError, match="cannot show the pictures") as caught:
                studio.serve_images(project, str(folder))
            assert f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={folder.parent}" in caught.value.hint
        studio.delete_project(project)


def test_nobody_at_label_url_is_said_clearly(
    make_workspace: Callable[..., Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(lifecycle.TOKEN, "0" * 40)
    ws = make_workspace('[label]\nurl = "http://127.0.0.1:9"\n')
    with pytest.raises(ServiceDown, match=r"127\.0\.0\.1:9"):
        lifecycle.running(ws)
    assert lifecycle.status(ws).health == "stopped"


def test_a_folder_that_cannot_be_written_is_said_before_anything_starts(
    ws: Workspace, free_port: Callable[[], int], tmp_path: Path
) -> None:
    (ws.data / "label-studio").write_text("in the way")
    with pytest.raises(CollectError, match="label-studio"):
        lifecycle.start(ws, port=free_port())
    (tmp_path / f"{accounts.FILE}.new" / "full").mkdir(parents=True)
    with pytest.raises(CollectError, match=str(tmp_path)):
        accounts.save(tmp_path, Account.new("ann"))
    (tmp_path / accounts.FILE).mkdir()
    with pytest.raises(CollectError, match=accounts.FILE):
        accounts.load(tmp_path)


@pytest.mark.parametrize("host", ["no.such.host.example", "192.0.2.99"])
def test_an_address_that_is_not_of_this_machine_is_named_with_the_way_out(ws: Workspace, host: str) -> None:
    with pytest.raises(CollectError, match=host) as caught:
        lifecycle.start(ws, host=host, password="long enough for this")
    assert "`label.host`" in caught.value.hint
    assert lifecycle.status(ws).health == "stopped"
