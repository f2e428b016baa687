"""Pulling from the real Label Studio: nothing that a person answered is lost, whatever happens in between."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.catalog import labels as rows
from collector.catalog.labels import Task
from collector.errors import ServiceDown
from collector.intake import take_in
from collector.records import UNSURE, License, Sighting
from collector.workspace import Workspace
from labeling import server
from labeling.config import LabelConfig
from labeling.events import events
from labeling.interface import Item
from labeling.pull import pull
from labeling.push import push
from labeling.server import Server
from tests.conftest import REPOSITORY, jpeg

pytestmark = pytest.mark.studio
PEOPLE = ("ann", "ben", "cyd")


@pytest.fixture
def concept(request: pytest.FixtureRequest) -> str:
    """A concept of each test's own."""
    return f"p{hashlib.sha256(request.node.name.encode()).hexdigest()[:6]}"


@pytest.fixture
def desk(make_workspace: Callable[..., Workspace], studio_server: Server, studio_data: Path, concept: str) -> Workspace:
    """A workspace at the running server: six pictures, all in the pool, each for two of three annotators."""
    people = ", ".join(f'"{name}"' for name in PEOPLE)
    text = f'[workspace]\nstore = "{studio_data / "store"}"\n[label]\nannotators = [{people}]\n'
    ws = make_workspace(text)
    (ws.data / "label-studio").symlink_to(studio_server.folder)
    ws.concept(concept, create=True)
    for seed in range(6):
        place = Sighting("test", str(seed), f"http://localhost/{seed}", License("cc0"), concept=concept, label=concept)
        take_in(ws, jpeg(seed, (120, 96)), place)
    return ws


def answer(place: Server, task: Task, label: str | None, by: str = "") -> None:
    with place.connect(by or task.annotator) as studio:
        item = Item(task.image, id=task.studio_task)
        studio.submit(task.project, item, label, seconds=2.0, skip=label is None)


def history(ws: Workspace) -> dict[int, list[str]]:
    """Label Studio's id of every answer -> what was written down of it, in order."""
    found: dict[int, list[str]] = {}
    frame = ws.catalog.frame("annotations").sort_values("id")
    said = frame["label"].fillna(frame["state"])
    for number, text in zip(frame["studio_annotation"], said, strict=True):
        found.setdefault(int(number), []).append(str(text))
    return found


PULL = """
import os, signal, sys, time
from collector.workspace import Workspace
from labeling import reader
from labeling.pull import pull
if sys.argv[3]:
    owner = reader.rows if hasattr(reader.rows, sys.argv[3]) else reader.Studio
    real = getattr(owner, sys.argv[3])
    def then_die(*args, **options):
        if sys.argv[4] == "slowly":
            print("here", flush=True)
            time.sleep(1)
            return real(*args, **options)
        if sys.argv[4] == "after":
            real(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, sys.argv[3], then_die)
print(pull(Workspace.open(sys.argv[1], environ={}), sys.argv[2]).new)
"""


def pulling(ws: Workspace, concept: str, die_at: str = "", when: str = "") -> subprocess.Popen[str]:
    """A pull in a process of its own, which kills itself before or after it calls `die_at`, or calls it slowly."""
    program = [sys.executable, "-c", PULL, str(ws.settings.path), concept, die_at, when]
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def kill(place: Server) -> None:
    """End the server as a power cut does."""
    running = server.status(place.folder)
    assert running is not None
    os.killpg(running.group, signal.SIGKILL)
    while server.status(place.folder) is not None:
        time.sleep(0.05)


def restart(place: Server, ws: Workspace, backend_port: int) -> None:
    """Start it again where it was."""
    config = LabelConfig(port=place.port, backend_port=backend_port)
    server.start(place.folder, Path(ws.store.root), config)


class People:
    """What people did, and everything of it that a pull could see: the truth to compare with."""

    def __init__(self, ws: Workspace, concept: str, place: Server) -> None:
        self.ws, self.concept, self.place = ws, concept, place
        self.dice = random.Random(5)
        self.stands: dict[int, str] = {}  # as it is in Label Studio
        self.seen: dict[int, list[str]] = {}  # as pulls that came to their end saw it
        self.labels = [concept, f"not-{concept}", UNSURE]

    @property
    def tasks(self) -> list[Task]:
        return [task for task in rows.tasks(self.ws.catalog, self.concept) if task.studio_task > 0]

    def answers(self) -> None:
        task = self.dice.choice(self.tasks)
        with self.place.connect() as studio:
            before = {each.id for each in studio.answers(task.project)}
            label = self.dice.choice([*self.labels, None])
            answer(self.place, task, label)
            for each in studio.answers(task.project):
                if each.id not in before:
                    self.stands[each.id] = label or "skipped"

    def changes(self) -> None:
        if self.stands:
            number, label = self.dice.choice(sorted(self.stands)), self.dice.choice(self.labels)
            with self.place.connect(self.dice.choice(PEOPLE)) as studio:
                studio._call("PATCH", f"/api/annotations/{number}/", json={"was_cancelled": False})
                studio.change(number, label)
            self.stands[number] = label

    def withdraws(self) -> None:
        if self.stands:
            number = self.dice.choice(sorted(self.stands))
            with self.place.connect() as studio:
                studio.withdraw(number)
            del self.stands[number]

    def pulls(self) -> None:
        pull(self.ws, self.concept)
        for number in self.stands.keys() | self.seen.keys():
            said = self.stands.get(number, "deleted").replace(UNSURE, "unsure")
            known = self.seen.setdefault(number, [])
            if known[-1:] != [said]:
                known.append(said)

    def pulls_and_is_killed(self) -> None:
        moments = [("add_annotations", "before"), ("add_annotations", "after"), ("add_annotators", "after")]
        at, when = self.dice.choice(moments)
        with pulling(self.ws, self.concept, at, when) as process:
            process.wait()
        self.pulls()

    def pushes(self) -> None:
        push(self.ws, self.concept)


def test_nothing_that_a_person_answered_is_lost(
    desk: Workspace, concept: str, studio_server: Server, backend_port: int
) -> None:
    push(desk, concept, limit=2)
    people = People(desk, concept, studio_server)
    walk = [people.answers] * 6 + [people.changes] * 4 + [people.withdraws] + [people.pulls] * 3
    for step in range(20):
        people.dice.choice(walk)()
        if step == 8:
            with pulling(desk, concept, "answered", "slowly") as process:
                assert process.stdout is not None
                assert process.stdout.readline() == "here\n"
                kill(studio_server)  # it goes while somebody pulls
                assert process.wait() == 1
            with pytest.raises(ServiceDown):
                pull(desk, concept)
            restart(studio_server, desk, backend_port)
        if step in (4, 16):
            people.pulls_and_is_killed()
        if step in (10, 18):
            people.pushes()
    people.pulls()
    assert len(people.seen) > 5
    assert {number: _without_repeats(said) for number, said in history(desk).items()} == people.seen
    standing = {row.studio_annotation for row in rows.current(desk.catalog, concept)}
    assert standing == set(people.stands)


def _without_repeats(said: list[str]) -> list[str]:
    """The same answer submitted again is a row of its own, and nothing new."""
    return [each for at, each in enumerate(said) if at == 0 or said[at - 1] != each]


def test_two_pulls_at_once_write_each_answer_once(desk: Workspace, concept: str, studio_server: Server) -> None:
    push(desk, concept, limit=0)
    tasks = rows.tasks(desk.catalog, concept)
    for task in tasks[:4]:
        answer(studio_server, task, concept)
    both = [pulling(desk, concept) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(said) == ["0\n", "4\n"]
    assert len(desk.catalog.frame("annotations")) == 4


def test_what_hands_do_in_label_studio_is_seen(desk: Workspace, concept: str, studio_server: Server) -> None:
    push(desk, concept, limit=0)
    first, second, *_ = [task for task in rows.tasks(desk.catalog, concept) if task.annotator == "ann"]
    with studio_server.connect() as studio:
        mine = next(number for number, email in studio.users().items() if email.startswith("ann@"))
        body = {"result": [_choice(concept)], "completed_by": mine, "project": first.project}
        studio._call("POST", f"/api/tasks/{first.studio_task}/annotations/", json=body)  # in ann's name
        copy = studio._call("GET", f"/api/tasks/{second.studio_task}/")["data"]
        studio._call("POST", f"/api/projects/{first.project}/import", json=[{"data": copy}])
        doubled = max(row["id"] for row in studio._tasks(first.project, "id"))
        studio._call("PATCH", f"/api/projects/{first.project}/", json={"title": "renamed by hand"})
    with studio_server.connect("ann") as studio:
        studio.submit(first.project, Item(second.image, id=doubled), f"not-{concept}", seconds=1)
    with studio_server.connect("ben") as studio:
        studio.submit(first.project, Item(second.image, id=second.studio_task), concept, seconds=1)
    summary = pull(desk, concept)
    assert summary.annotators == {"ann": 2, "ben": 1}
    assert set(summary.warnings) == {
        "answers in the name of ann, given by me@collect.local: 1",
        "ben answered in the project of ann, which counts as ben's: 1",
    }
    assert {event.kind for event in events(desk, concept)} == {"in another's name", "in another's project"}
    guideline = rows.rounds(desk.catalog, concept)["holdout"].guideline_hash
    assert {row.guideline for row in rows.current(desk.catalog, concept)} == {guideline}


def _choice(label: str) -> dict[str, Any]:
    return {"from_name": "label", "to_name": "image", "type": "choices", "value": {"choices": [label]}}


@pytest.fixture
def watching(desk: Workspace, concept: str) -> Iterator[subprocess.Popen[str]]:
    """`collect label pull --watch`, as a person runs it."""
    push(desk, concept, limit=2)
    command = [sys.executable, "-m", "pipelines.cli", "label", "pull", concept, "--watch", "--every", "0.1", "--json"]
    environ = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, cwd=desk.root, env=environ, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_watching_goes_on_when_the_server_was_away(
    desk: Workspace, concept: str, studio_server: Server, backend_port: int, watching: subprocess.Popen[str]
) -> None:
    tasks = rows.tasks(desk.catalog, concept)
    for number in range(2):
        answer(studio_server, tasks[number], concept)
        _until(watching, desk, concept, number + 1)
    kill(studio_server)
    restart(studio_server, desk, backend_port)
    answer(studio_server, tasks[2], concept)
    _until(watching, desk, concept, 3)
    watching.send_signal(signal.SIGINT)
    said = json.loads(watching.communicate()[0])
    assert watching.returncode == 0
    assert (said["annotations"], said["answered"], said["new"]) == (3, 3, 3)
    assert said["tasks"] == len(tasks)


def _until(watching: subprocess.Popen[str], ws: Workspace, concept: str, answers: int) -> None:
    while len(rows.current(ws.catalog, concept)) < answers:
        assert watching.poll() is None
        time.sleep(0.1)
