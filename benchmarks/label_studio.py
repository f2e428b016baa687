"""`collect label push` and `pull` beside the bare API of Label Studio, on the same real server, in one run.

    uv run python benchmarks/label_studio.py [--number 10000] [--plan 200000] [--port 8399] [--out FILE]

Push: a round of tasks with proposals, everything that `push` does, against one httpx loop that imports the same tasks
in batches of 1,000. Pull: three people's answers to all of them (imported as annotations, into a blind round's three
projects), against Label Studio's own JSON export of the same projects, the best route that its API has. Plan: who gets
which of many images, catalog only.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import sqlalchemy as sa
from PIL import Image

from collector.catalog import labels, models, pools
from collector.catalog.labels import Planned, Task
from collector.catalog.models import ModelRun, Prediction
from collector.catalog.pools import PoolRow
from collector.catalog.tables import image as image_table
from collector.catalog.tables import round_, task
from collector.workspace import Workspace
from labeling import lifecycle
from labeling.annotators import enroll
from labeling.interface import Item, Proposal, choice, interface, prediction, task_data
from labeling.projects import title
from labeling.pull import pull
from labeling.push import Campaign, push
from labeling.rounds import Desk, Rules
from labeling.studio import BATCH, Studio

CONCEPT, PEOPLE, MODEL = "horse", ("ann", "ben", "cyd"), "m1"
LABELS = (CONCEPT, f"not-{CONCEPT}")
CONFIG = """[workspace]
data = "data"
[splits]
validation = 0
test = 0
[label]
port = {port}
annotators = ["ann", "ben", "cyd"]
"""


def add_images(ws: Workspace, number: int) -> list[str]:
    """Tiny different pictures in the store and in the pool; written straight into the catalog."""
    ws.concept(CONCEPT, create=True)
    fields = dict(bytes=70, width=1, height=1, format="PNG", mode="RGB", frames=1, orientation=1, added_at="2026")
    names = []
    for start in range(0, number, 5000):
        files = [_png(n) for n in range(start, min(start + 5000, number))]
        ws.store.put_all({_name(file): file for file in files})
        names += [_name(file) for file in files]
    with ws.catalog.write() as connection:
        connection.execute(sa.insert(image_table), [{"id": name, **fields} for name in names])
    pools.add(ws.catalog, CONCEPT, [PoolRow(name, CONCEPT, "positive", "positive", "drawn", {}) for name in names])
    return names


def _name(file: bytes) -> str:
    return hashlib.sha256(file).hexdigest()


def _png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1), (number & 255, number >> 8 & 255, number >> 16)).save(buffer, "PNG")
    return buffer.getvalue()


def predict(ws: Workspace, names: Sequence[str]) -> None:
    """A model's opinion of every picture."""
    models.put_model_run(ws.catalog, ModelRun(MODEL, None, "none", "0", "0"))
    said = {LABELS[0]: 0.8, LABELS[1]: 0.2}
    models.add_predictions(ws.catalog, MODEL, CONCEPT, [Prediction(name, LABELS[0], 0.8, said) for name in names])


def bare_push(http: httpx.Client, names: Sequence[str], called: str) -> int:
    """What a person would write: one project, and the tasks with their proposals in batches of 1,000."""
    proposal = Proposal(LABELS[0], 0.8, MODEL)
    fields = {"title": called, "label_config": interface(LABELS)}
    project = int(http.post("/api/projects/", json=fields).raise_for_status().json()["id"])
    for start in range(0, len(names), BATCH):
        tasks = [
            {"data": task_data(Item(name)), "predictions": [prediction(proposal)]}
            for name in names[start : start + BATCH]
        ]
        http.post(f"/api/projects/{project}/import", json=tasks).raise_for_status()
    return project


def our_push(ws: Workspace, name: str, number: int) -> None:
    """Everything that the command does, for one annotator's share of a round with proposals."""
    rules = Rules(proposals=True, people=("ann",))
    made = push(ws, CONCEPT, overlap=1, campaign=Campaign(name=name, rules=rules, no_proposal_share=0.0))
    if made.images[name] != number:
        raise SystemExit(f"{made.images[name]} tasks and not {number}")


def answered(ws: Workspace, studio: Studio, names: Sequence[str]) -> list[int]:
    """A blind round that three people have answered; answers are imported, for one at a time they take half an hour."""
    shares = dict.fromkeys(PEOPLE, 1.0)
    desk = Desk(ws, ws.concept(CONCEPT), studio, shares)
    opened = desk.open("answered", "pool", 3, Rules())
    labels.plan(ws.catalog, opened.id, [Planned(name, who) for who in PEOPLE for name in names])
    users = {email: number for number, email in studio.users().items()}
    emails = {name: email for email, name in labels.annotators(ws.catalog).items()}
    projects = {}
    for who in PEOPLE:
        projects[who] = studio.create_project(title(CONCEPT, "answered", who), interface(LABELS), "")
        mine = [row for row in labels.tasks(ws.catalog, CONCEPT) if (row.round, row.annotator) == (opened.id, who)]
        for start in range(0, len(mine), BATCH):
            _answer(ws, studio, projects[who], mine[start : start + BATCH], users[emails[who]])
    labels.set_projects(ws.catalog, opened.id, projects)
    return list(projects.values())


def _answer(ws: Workspace, studio: Studio, project: int, tasks: Sequence[Task], user: int) -> None:
    given = {"result": [choice(LABELS[0])], "completed_by": user, "lead_time": 2.5}
    rows = [{"data": task_data(Item(task.image)), "annotations": [given]} for task in tasks]
    path = f"/api/projects/{project}/import"
    said: Any = studio._call("POST", path, json=rows, params={"return_task_ids": "true"}, timeout=600)
    labels.place(ws.catalog, project, dict(zip((task.id for task in tasks), said["task_ids"], strict=True)))


def timed(work: Callable[[], object]) -> float:
    """Seconds that it took."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def planning(ws: Workspace, number: int) -> tuple[float, float]:
    """Seconds to assign images to two of three people each, and to write the plan down; no Label Studio."""
    desk = Desk(ws, ws.concept("plan", create=True), None, dict.fromkeys(PEOPLE, 1.0))  # type: ignore[arg-type]
    names = [f"{n:064x}" for n in range(number)]
    fields = dict(bytes=70, width=1, height=1, format="PNG", mode="RGB", frames=1, orientation=1, added_at="2026")
    with ws.catalog.write() as connection:
        connection.execute(sa.insert(image_table), [{"id": name, **fields} for name in names])
    opened = desk.open("plan", "pool", 2, Rules())
    planned: list[Planned] = []
    assigning = timed(lambda: planned.extend(desk._assign(opened, dict.fromkeys(names, 2), [])))
    return assigning, timed(lambda: labels.plan(ws.catalog, opened.id, planned))


def measure(ws: Workspace, chosen: argparse.Namespace) -> list[str]:
    """The lines of the table."""
    number = chosen.number
    names = add_images(ws, number)
    predict(ws, names)
    server = lifecycle.running(ws)
    with server.connect() as studio:
        enroll(server, studio, {name: f"{name}@collect.local" for name in PEOPLE})
        labels.add_annotators(ws.catalog, {name: f"{name}@collect.local" for name in PEOPLE})
        http = httpx.Client(base_url=server.url, auth=studio._http.auth, timeout=600, trust_env=False)
        bare, ours = [], []
        for repeat in range(chosen.repeat):  # either is first in turns: an import is slower where more was imported
            if repeat % 2 == 0:
                bare.append(timed(lambda repeat=repeat: bare_push(http, names, f"bare {repeat}")))  # type: ignore[misc]
            ours.append(timed(lambda: our_push(ws, "timed", number)))
            again = timed(lambda: our_push(ws, "timed", number))
            _forget(ws)
            if repeat % 2:
                bare.append(timed(lambda repeat=repeat: bare_push(http, names, f"bare {repeat}")))  # type: ignore[misc]
        projects = answered(ws, studio, names)
        exporting, pulling, repeating = [], [], []
        query = {"exportType": "JSON", "download_all_tasks": "true"}
        for project in projects:
            path = f"/api/projects/{project}/export"
            exporting.append(timed(lambda path=path: http.get(path, params=query).raise_for_status().json()))  # type: ignore[misc]
        pulling.append(timed(lambda: pull(ws, CONCEPT)))
        repeating.append(timed(lambda: pull(ws, CONCEPT)))
        http.close()
    assigning, writing = planning(ws, chosen.plan)
    return [
        "| what | bare API | collect | ratio |",
        "| --- | --- | --- | --- |",
        f"| push {number:,} tasks with proposals | {median(bare):.1f} s | {median(ours):.1f} s | "
        f"{median(ours) / median(bare):.2f} |",
        f"| push them again: nothing new | - | {again:.1f} s | |",
        f"| pull {number:,} tasks x 3 answers, all new (bare: JSON export) | {sum(exporting):.1f} s | "
        f"{sum(pulling):.1f} s | {sum(pulling) / sum(exporting):.2f} |",
        f"| pull again: nothing new | - | {sum(repeating):.1f} s | {sum(repeating) / sum(exporting):.2f} |",
        f"| assign {chosen.plan:,} images to two of three people | - | {assigning:.1f} s | |",
        f"| write that plan down, {2 * chosen.plan:,} tasks | - | {writing:.1f} s | |",
    ]


def _forget(ws: Workspace) -> None:
    """Take the timed round out of catalog and server, so that the next repeat begins as the first did."""
    found = labels.rounds(ws.catalog, CONCEPT)["timed"]
    with lifecycle.running(ws).connect() as studio:
        for project in found.projects.values():
            studio.delete_project(project)
    with ws.catalog.write() as connection:
        connection.execute(sa.delete(task).where(task.c.round == found.id))
        connection.execute(sa.update(round_).where(round_.c.id == found.id).values(name=f"old {found.id}", projects={}))


def main() -> None:
    """Start Label Studio in a scratch folder, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--plan", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--port", type=int, default=8399)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch, "config.toml")
        config.write_text(CONFIG.format(port=chosen.port), encoding="utf-8")
        with Workspace.open(config, environ={}) as ws:
            lifecycle.start(ws)
            try:
                lines = measure(ws, chosen)
            finally:
                lifecycle.stop(ws)
    where = f"{date.today()}, {platform.machine()}, Python {platform.python_version()}, Label Studio 1.23.2 on SQLite"
    head = ["# Label Studio: push and pull", "", where, "", "Command: `uv run python benchmarks/label_studio.py`", ""]
    table = "\n".join([*head, *lines]) + "\n"
    print(table)
    if chosen.out:
        chosen.out.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
