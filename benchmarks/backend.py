"""How long one live proposal takes over HTTP, as Label Studio asks for it: a new connection each time, one picture.

    uv run python benchmarks/backend.py [--weights squeezenet1_1.pth] [--number 200] [--out FILE]

Cold: the picture was never looked at, so its preview is read and decoded, the network runs, and the prediction is
written to the catalog, durably, before the answer goes out. Known: it was predicted before. Another head: its vector is
known, as after Start Training. Whole question: /health, /setup and /predict one after another, as Label Studio asks
before it shows a picture. Torch computes on one core for a request; without weights the network is one that has learned
nothing, which takes as long.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import date
from http import HTTPStatus
from http.client import HTTPConnection
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image

from collector import splits
from collector.catalog import labels
from collector.catalog.labels import Planned
from collector.intake import take_in
from collector.records import License, Sighting
from collector.workspace import Workspace
from labeling.backend import USER, listening
from labeling.interface import image_url, interface
from pipelines.backend import Live
from pipelines.zero_shot import zero_shot

CONCEPT, LABELS, PROJECT = "horse", ("horse", "not-horse"), 1
TARGET_MS = 150


def photograph(seed: int) -> bytes:
    """A JPEG of 1,280 x 960 with as much detail as a photograph."""
    noise = np.random.default_rng(seed).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((1280, 960), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def fill(ws: Workspace, number: int) -> list[dict[str, Any]]:
    """Pictures of the train part of the pool, a task for each, as Label Studio would send it."""
    about = ws.concept(CONCEPT, create=True)
    rule = splits.rule_of(ws, about)
    drawn = (photograph(n) for n in count())
    train = (data for data in drawn if splits.place(rule, hashlib.sha256(data).hexdigest()) == "train")
    for n, data in enumerate(islice(train, number)):
        take_in(ws, data, Sighting("drawn", str(n), f"http://localhost/{n}", License("cc0"), CONCEPT, CONCEPT))
    images = [image for image, home in splits.draw(ws, about).items() if home == "train"]
    values = {"purpose": "pool", "labels": LABELS, "guideline": "", "guideline_hash": "", "overlap": 1}
    labels.add_annotators(ws.catalog, {"ann": "ann@example.org"})
    round_ = labels.open_round(ws.catalog, CONCEPT, "pool", values | {"blind": True, "proposals": False})
    labels.plan(ws.catalog, round_.id, [Planned(image, "ann") for image in images])
    tasks = labels.tasks(ws.catalog, CONCEPT)
    labels.place(ws.catalog, PROJECT, {task.id: task.id for task in tasks})
    return [{"id": task.id, "project": PROJECT, "data": {"image": image_url(task.image)}} for task in tasks]


def timings(work: Callable[[dict[str, Any]], None], tasks: list[dict[str, Any]]) -> str:
    """The cells of a row: p50, p95 and the longest, in milliseconds."""
    found = []
    for task in tasks:
        begun = time.perf_counter()
        work(task)
        found.append(1000 * (time.perf_counter() - begun))
    p50, p95 = np.percentile(found, [50, 95])
    return f"{p50:.0f} ms | {p95:.0f} ms | {max(found):.0f} ms |"


def measure(ws: Workspace, number: int) -> list[str]:
    """The lines of the table."""
    tasks = fill(ws, number)
    page, password = interface(LABELS), "benchmark"
    concept = ws.concept(CONCEPT)
    with ExitStack() as stack:
        model = zero_shot(ws, concept)
        service = Live(ws, concept, model, stack, lambda version: None)
        url = stack.enter_context(listening(service, 0, password))

        def post(path: str, body: dict[str, Any] | None) -> Any:
            proof = {"Authorization": "Basic " + b64encode(f"{USER}:{password}".encode()).decode()}
            with closing(HTTPConnection(url.removeprefix("http://"), timeout=120)) as http:
                http.request("POST" if body else "GET", path, body and json.dumps(body), proof)
                answer = http.getresponse()
                if answer.status != HTTPStatus.OK:
                    raise SystemExit(f"{path}: {answer.status} {answer.reason}")
                return json.loads(answer.read())

        def ask(task: dict[str, Any]) -> None:
            body = {"tasks": [task], "project": f"{PROJECT}.1", "label_config": page, "params": {}}
            if not post("/predict", body)["results"][0]:
                raise SystemExit("no proposal came")

        def whole(task: dict[str, Any]) -> None:
            post("/health", None)
            post("/setup", {"schema": page, "project": "1.1"})
            ask(task)

        def batch() -> str:
            body = {"tasks": tasks, "project": f"{PROJECT}.1", "label_config": page, "params": {}}
            begun = time.perf_counter()
            post("/predict", body)
            return f"{time.perf_counter() - begun:.2f} s"

        ask(tasks[0])
        third = len(tasks) // 3
        cold = timings(ask, tasks[1:third])
        known = timings(ask, tasks[1:third])
        question = timings(whole, tasks[third : 2 * third])
        rest = batch()
        other = replace(model, owner=np.roll(model.owner, 1))  # another version, the same network
        service._served = service._prepared(other, service._served)
        another = timings(ask, tasks[1:third])
    return [
        "| one picture | p50 | p95 | longest |",
        "| --- | --- | --- | --- |",
        f"| cold | {cold}",
        f"| known | {known}",
        f"| another head, vector known | {another}",
        f"| whole question, cold | {question}",
        "",
        f"Target: p95 under {TARGET_MS} ms, cold. {len(tasks)} tasks in one request, a third of them cold: {rest}.",
    ]


def main() -> None:
    """Measure in a scratch folder, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--number", type=int, default=300)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        weights = chosen.weights
        if weights is None:
            weights = Path(scratch, "squeezenet1_1.pth")
            torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), weights)
        config = Path(scratch, "config.toml")
        train = f'[train]\nbackbone = "squeezenet1_1"\nweights = {json.dumps(str(weights.resolve()))}\n'
        config.write_text(f"{train}[label]\nno_proposal_share = 0.0\n", encoding="utf-8")
        with Workspace.open(config, environ={}) as ws:
            lines = measure(ws, chosen.number)
    where = (
        f"{date.today()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {platform.machine()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, SqueezeNet 1.1, catalog on SQLite"
    )
    given = f" --number {chosen.number}" + (f" --weights {chosen.weights.name}" if chosen.weights else "")
    head = ["# Live proposals", "", where, "", f"Command: `uv run python benchmarks/backend.py{given}`", ""]
    table = "\n".join([*head, *lines]) + "\n"
    print(table)
    if chosen.out:
        chosen.out.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
