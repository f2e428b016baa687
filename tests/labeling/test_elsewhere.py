"""The whole way through a Label Studio that somebody else runs, with a personal access token and `label.url`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from collector.catalog import labels
from collector.workspace import Workspace
from labeling import accounts, lifecycle
from labeling.pull import pull
from labeling.push import push
from labeling.server import Server
from tests.labeling.desks import add


@pytest.mark.studio
def test_push_and_pull_work_at_label_url_with_a_personal_token(
    make_workspace: Callable[..., Workspace],
    studio_server: Server,
    studio_data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ws = make_workspace(
        f'[workspace]\nstore = "{studio_data / "store"}"\n'
        f'[label]\nurl = "{studio_server.url}"\nannotators = ["me", "zoe"]\n'
    )
    add(ws, "elsewhere", range(6))
    admin = {"Authorization": f"Token {accounts.load(studio_server.folder)['me'].token}"}
    with httpx.Client(base_url=studio_server.url, headers=admin) as http:
        token = http.post("/api/token/").json()["token"]
        monkeypatch.setenv(lifecycle.TOKEN, token)
        summary = push(ws, "elsewhere", overlap=2)
        assert summary.url == studio_server.url
        assert set(summary.annotators) == {"me", "zoe"}
        server = lifecycle.running(ws)
        for task in labels.tasks(ws.catalog, "elsewhere"):
            with server.connect(task.annotator) as studio:
                items = studio.items(task.project)
                studio.submit(task.project, items[task.image], "elsewhere", seconds=1.0)
                studio.submit(task.project, items[task.image], "elsewhere", seconds=1.0)  # sent twice, counted once
        assert pull(ws, "elsewhere").annotations == summary.tasks
        http.post("/api/token/blacklist/", json={"refresh": token})
