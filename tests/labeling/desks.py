"""Workspaces at the real Label Studio, and people who answer there."""

from __future__ import annotations

from collector.catalog import labels, models
from collector.catalog.labels import Task
from collector.catalog.models import ModelRun, Prediction
from collector.intake import take_in
from collector.records import License, Sighting
from collector.splits import draw
from collector.workspace import Workspace
from labeling.server import Server
from tests.conftest import jpeg

PEOPLE = ("ann", "ben", "cyd")


def add(ws: Workspace, concept: str, seeds: range) -> None:
    ws.concept(concept, create=True)
    for seed in seeds:
        seen = Sighting("test", str(seed), f"http://localhost/{seed}", License("cc0"), concept=concept, label=concept)
        take_in(ws, jpeg(seed, (120, 96)), seen)


def tasks_of(ws: Workspace, concept: str, round_: str) -> list[Task]:
    number = labels.rounds(ws.catalog, concept)[round_].id
    return [task for task in labels.tasks(ws.catalog, concept) if task.round == number]


def answer(server: Server, task: Task, label: str | None, seconds: float = 2.0) -> None:
    with server.connect(task.annotator) as studio:
        item = studio.items(task.project)[task.image]
        studio.submit(task.project, item, label, seconds=seconds, skip=label is None)


def model(ws: Workspace, concept: str, name: str, label: str, score: float) -> None:
    models.put_model_run(ws.catalog, ModelRun(name, None, "test", "0", "0"))
    images = sorted(draw(ws, ws.concept(concept)))
    said = {concept: score, f"not-{concept}": 1 - score}
    models.add_predictions(ws.catalog, name, concept, [Prediction(image, label, score, said) for image in images])
