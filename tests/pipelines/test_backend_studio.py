"""The live backend and real Label Studio, which asks it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from collector.catalog import labels as rows
from collector.errors import CollectError, GateNotMet
from collector.workspace import Workspace
from labeling.backend import USER
from labeling.projects import HOLDOUT, POOL
from labeling.pull import pull
from labeling.push import push
from labeling.server import Server
from labeling.studio import Studio
from pipelines.backend import Live, serving
from tests.labeling.conftest import backend_port as backend_port
from tests.labeling.conftest import free_port as free_port
from tests.labeling.conftest import studio_data as studio_data
from tests.labeling.conftest import studio_server as studio_server
from tests.labeling.test_pull import kill, restart
from tests.pipelines.labeled import collect, label_all
from tests.pipelines.test_backend import until
from tests.pipelines.test_zero_shot import network as network

Make = Callable[..., Workspace]
CONFIG = """[workspace]
store = "{store}"
[train]
backbone = "squeezenet1_1"
weights = "{weights}"
[label]
annotators = ["ann", "bob"]
no_proposal_share = 0.0
backend_port = {port}
"""


@pytest.fixture
def team(
    make_workspace: Make, network: Path, studio_server: Server, studio_data: Path, backend_port: int
) -> Iterator[Workspace]:
    """A workspace at the running Label Studio, labeled but for half of its train split, which is open there."""
    ws = make_workspace(CONFIG.format(store=studio_data / "store", weights=network, port=backend_port))
    (ws.data / "label-studio").symlink_to(studio_server.folder)
    yield ws
    with studio_server.connect() as studio:
        for project in studio.projects().values():
            studio.delete_project(project)


def backends(studio: Studio, project: int) -> tuple[list[str], list[str]]:
    """Titles of the backends of a project, and addresses of its webhooks."""
    connected = studio._call("GET", "/api/ml/", params={"project": project})
    hooks = studio._call("GET", "/api/webhooks/", params={"project": project})
    return [each["title"] for each in connected], [each["url"] for each in hooks]


def shown(studio: Studio, project: int) -> str:
    """The model version whose proposals a project shows."""
    return str(studio._call("GET", f"/api/projects/{project}/")["model_version"])


@pytest.mark.studio
@pytest.mark.slow
def test_people_see_live_proposals_the_model_learns_and_takes_its_leave(
    team: Workspace, make_workspace: Make, network: Path, studio_server: Server, free_port: Callable[[], int]
) -> None:
    ws = team
    found = collect(ws)
    with pytest.raises(GateNotMet, match="no tasks that may show a proposal"), serving(ws, "horse"):
        pass
    train = [image for image, (_, split) in found.items() if split == "train"]
    label_all(ws, {image: place for image, place in found.items() if image not in train[::2]})
    push(ws, "horse", overlap=1)
    rounds = rows.rounds(ws.catalog, "horse")
    pool, held = rounds[POOL].projects["ann"], rounds[HOLDOUT].projects["ann"]
    with studio_server.connect("ann") as ann:
        assert (item := ann.next_item(pool))
        assert item.proposal is None
        other = make_workspace(CONFIG.format(store=ws.store.root, weights=network, port=free_port()), name="ws")
        with pytest.raises(CollectError, match="does not take the live backend") as caught, serving(other, "horse"):
            pass
        assert "collect label stop" in caught.value.hint
        with serving(ws, "horse") as live:
            assert (live.run, live.projects) == (None, 2)
            assert backends(ann, pool) == ([live.model_version], [])
            assert backends(ann, held) == ([], [])
            item = ann.next_item(pool)
            assert item
            assert item.proposal
            assert item.proposal.model_version == live.model_version
            ann.submit(pool, item, found[item.image][0], seconds=2.0)
            assert (blind := ann.next_item(held))
            assert blind.proposal is None

            backend = ann._call("GET", "/api/ml/", params={"project": pool})[0]["id"]
            ann._call("POST", f"/api/ml/{backend}/train", json={})
            until(lambda: shown(ann, pool) != live.model_version)
            learned = shown(ann, pool)
            assert backends(ann, pool) == ([learned], [])
            assert learned.startswith("squeezenet1_1-")
            later = ann.next_item(pool)
            assert later
            assert later.proposal
            assert later.proposal.model_version == learned
        assert backends(ann, pool) == ([], [])
        stays = ann.next_item(pool)
        assert stays
        assert stays.proposal == later.proposal
    pull(ws, "horse")
    [row] = [row for row in rows.current(ws.catalog, "horse") if row.task]
    assert (row.image, row.proposal) == (item.image, item.proposal.label)
    judged = ws.catalog.frame("predictions")
    assert set(judged["model_run"]) == {live.model_version, learned}
    assert set(judged["image"]) <= set(train)


@pytest.mark.studio
@pytest.mark.slow
def test_whoever_looks_at_the_list_of_backends_meanwhile_takes_no_new_model_away(
    team: Workspace, studio_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = team
    asked, changed = threading.Event(), threading.Event()
    suits = Live.suits

    def waiting(self: Live, page: str) -> bool:
        """The first question, that of who looks at the list, is answered when the model has changed."""
        if started and not asked.is_set():
            asked.set()
            changed.wait(10)
        return suits(self, page)

    started: list[str] = []
    monkeypatch.setattr(Live, "suits", waiting)
    monkeypatch.setattr("pipelines.backend.secrets.token_urlsafe", lambda _: "password")
    collect(ws, each=4)
    push(ws, "horse", overlap=1)
    pool = rows.rounds(ws.catalog, "horse")[POOL].projects["ann"]
    with serving(ws, "horse"), studio_server.connect() as studio, studio_server.connect("ann") as ann:
        [there] = studio._call("GET", "/api/ml/", params={"project": pool})
        with ThreadPoolExecutor(1) as person:
            started.append("the list")
            looking = person.submit(backends, ann, pool)
            try:
                assert asked.wait(30)
                studio.connect_backend(pool, there["url"], "another-model", (USER, "password"))
            finally:
                changed.set()
            looking.result()
        assert "another-model" in backends(ann, pool)[0]
        assert shown(ann, pool) == "another-model"
    with studio_server.connect() as studio:
        assert backends(studio, pool) == ([], [])


@contextmanager
def command(ws: Workspace) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`collect label backend --json` in a process of its own, and what it says once it serves."""
    order = [sys.executable, "-m", "pipelines.cli", "label", "backend", "--json", "--config"]
    process = subprocess.Popen([*order, str(ws.root / "config.toml")], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@pytest.mark.studio
@pytest.mark.slow
def test_a_killed_backend_stops_nobody_and_the_next_one_takes_its_place(
    team: Workspace, studio_server: Server, backend_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = team
    collect(ws, each=4)
    push(ws, "horse", overlap=1)
    pool = rows.rounds(ws.catalog, "horse")[POOL].projects["ann"]
    with studio_server.connect("ann") as ann:
        with monkeypatch.context() as killed:
            killed.setattr("pipelines.backend._leave", lambda *_: None)  # what `kill -9` leaves in Label Studio
            with serving(ws, "horse") as live:
                pass
        assert backends(ann, pool) == ([live.model_version], [])
        assert ann.next_item(pool)
        with command(ws) as (process, said):
            assert backends(ann, pool) == ([said["model_version"]], [])
            kill(studio_server)
            restart(studio_server, ws, backend_port)
            item = ann.next_item(pool)
            assert item
            assert item.proposal
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        assert backends(ann, pool) == ([], [])
