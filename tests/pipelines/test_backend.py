"""The live backend: its protocol over real HTTP, and real Label Studio that asks it."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest

from collector.catalog import labels as rows
from collector.catalog import models
from collector.catalog import rounds as book
from collector.catalog.labels import Planned, Task
from collector.catalog.models import Prediction
from collector.catalog.rounds import Sentinel
from collector.errors import CollectError, UsageError
from collector.workspace import Workspace
from labeling.backend import LARGEST, USER, listening
from labeling.interface import image_url, interface
from labeling.projects import DISPUTED, HOLDOUT, POOL
from pipelines.backend import Live, serving
from pipelines.predict import load_model, model_run
from pipelines.snapshot import snapshot
from pipelines.train import train_baseline
from tests.labeling.conftest import backend_port as backend_port
from tests.labeling.conftest import free_port as free_port
from tests.labeling.conftest import studio_data as studio_data
from tests.labeling.conftest import studio_server as studio_server
from tests.pipelines.labeled import collect, label_all
from tests.pipelines.test_zero_shot import network as network

Make = Callable[..., Workspace]
PASSWORD = "a secret of this test"
PAGE = interface(("horse", "not-horse"))


def half_trained(ws: Workspace) -> dict[str, tuple[str, str]]:
    """Train on half of the train split; every picture, image -> (label, split)."""
    found = collect(ws)
    train = [image for image, (_, split) in found.items() if split == "train"]
    label_all(ws, {image: place for image, place in found.items() if image not in train[::2]})
    train_baseline(ws, snapshot(ws, "horse"), backbone="classic")
    return found


def tasks_of(ws: Workspace, purpose: str, images: list[str], project: int) -> list[Task]:
    """A round with one task for each image, as if Label Studio had them in `project`."""
    values: dict[str, Any] = {"purpose": purpose, "labels": ["horse", "not-horse"], "guideline": "", "overlap": 1}
    values |= {"guideline_hash": "", "blind": True, "proposals": False}
    rows.add_annotators(ws.catalog, {"ann": "ann@example.org"})
    round_ = rows.open_round(ws.catalog, "horse", f"{purpose} {project}", values)
    rows.plan(ws.catalog, round_.id, [Planned(image, "ann") for image in images])
    mine = [task for task in rows.tasks(ws.catalog, "horse") if task.round == round_.id]
    rows.place(ws.catalog, project, {task.id: 100 * project + n for n, task in enumerate(mine)})
    return [task for task in rows.tasks(ws.catalog, "horse") if task.round == round_.id]


def asked(task: Task, url: str | None = None) -> dict[str, Any]:
    return {"id": task.studio_task, "project": task.project, "data": {"image": url or image_url(task.image)}}


@contextmanager
def answering(ws: Workspace, port: int) -> Iterator[httpx.Client]:
    """The backend of the newest run, without Label Studio; a client that knows the password."""
    with ExitStack() as stack:
        service = Live(ws, ws.concept("horse"), load_model(ws, "horse"), stack, lambda version: None)
        url = stack.enter_context(listening(service, port, PASSWORD))
        yield stack.enter_context(httpx.Client(base_url=url, auth=(USER, PASSWORD), trust_env=False, timeout=60))


def predict(http: httpx.Client, project: int, tasks: list[dict[str, Any]], page: str = PAGE) -> list[Any]:
    body = {"tasks": tasks, "project": f"{project}.1763752000", "label_config": page, "params": {}}
    found = http.post("/predict", json=body).raise_for_status().json()["results"]
    assert isinstance(found, list)
    return found


def declared(http: httpx.Client, length: str) -> int:
    """The status of a request that declares its length and sends nothing."""
    raw = HTTPConnection(str(http.base_url.netloc, "ascii"), timeout=10)
    raw.putrequest("POST", "/predict")
    raw.putheader("Content-Length", length)
    raw.endheaders()
    status = raw.getresponse().status
    raw.close()
    return status


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[str, str]]]:
    """The folder of a workspace in which a run is finished, and its pictures."""
    root = tmp_path_factory.mktemp("finished")
    (root / "config.toml").write_text("[label]\nno_proposal_share = 0.0\n", encoding="utf-8")
    with Workspace.open(root / "config.toml", environ={}) as ws:
        return root, half_trained(ws)


@pytest.fixture
def trained(
    finished: tuple[Path, dict[str, tuple[str, str]]], make_workspace: Make, tmp_path: Path
) -> tuple[Workspace, dict[str, tuple[str, str]]]:
    """A copy of it."""
    shutil.copytree(finished[0], tmp_path / "ws")
    return make_workspace("[label]\nno_proposal_share = 0.0\n"), finished[1]


Trained = tuple[Workspace, dict[str, tuple[str, str]]]


def test_only_who_knows_the_password_is_answered(
    trained: Trained, free_port: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with answering(trained[0], free_port()) as http:
        for method, path in (("GET", "/health"), ("POST", "/setup"), ("POST", "/predict"), ("POST", "/webhook")):
            for auth in (None, (USER, "wrong"), ("", "")):
                with httpx.Client(base_url=http.base_url, auth=auth, trust_env=False) as stranger:
                    assert stranger.request(method, path).status_code == 401
        assert http.get("/health").json()["status"] == "UP"
        setup = {"project": "9.1", "schema": PAGE, "hostname": "", "access_token": "tok-3n", "extra_params": None}
        assert http.post("/setup", json=setup).json()["model_version"].startswith("classic-")
        assert "tok-3n" not in caplog.text


def test_what_is_not_the_protocol_is_refused_and_the_backend_goes_on(
    trained: Trained, free_port: Callable[[], int]
) -> None:
    with answering(trained[0], free_port()) as http:
        assert http.post("/predict", content=b"{").status_code == 400
        assert http.post("/predict", json={"tasks": 3}).status_code == 400
        assert http.post("/predict", json=[]).status_code == 400
        assert http.get("/etc/passwd").status_code == 404
        assert http.post("/delete", json={}).status_code == 404
        assert declared(http, str(LARGEST + 1)) == declared(http, "many") == declared(http, "-1") == 413
        answer = http.post("/setup", json={"schema": interface(("rose", "not-rose"))})
        assert (answer.status_code, answer.reason_phrase) == (400, "the page does not ask for the labels of this model")
        assert http.get("/health").status_code == 200


def test_pool_tasks_get_proposals_that_are_rows_before_anybody_sees_them(
    trained: Trained, free_port: Callable[[], int]
) -> None:
    ws, found = trained
    tasks = tasks_of(ws, POOL, [image for image, (_, split) in found.items() if split == "train"], 7)
    with answering(ws, free_port()) as http:
        said = predict(http, 7, [asked(task) for task in tasks])
        assert predict(http, 7, [asked(task) for task in tasks]) == said
    with answering(ws, free_port()) as http:  # another process answers from the rows
        assert predict(http, 7, [asked(task) for task in tasks]) == said
    for task, each in zip(rows.tasks(ws.catalog, "horse"), said, strict=True):
        assert each["result"][0]["value"]["choices"] == [task.proposal] == [found[task.image][0]]
        assert (each["score"], each["model_version"]) == (task.score, task.model_run)
    [row] = ws.catalog.frame("model_run").to_dict("records")
    assert row["experiment"].startswith(row["id"].removeprefix("classic-"))


def test_held_out_disputed_planted_and_strange_tasks_get_nothing(
    trained: Trained, free_port: Callable[[], int]
) -> None:
    ws, found = trained
    train = [image for image, (_, split) in found.items() if split == "train"]
    held = [image for image, (_, split) in found.items() if split != "train"]
    pool = tasks_of(ws, POOL, [*train[:4], *held], 7)  # even if a held-out one came into the pool
    elsewhere = tasks_of(ws, HOLDOUT, held, 8) + tasks_of(ws, DISPUTED, train[:4], 9)
    book.plant(ws.catalog, pool[0].round, [Sentinel(pool[0].image, "horse", None, "known")])
    with answering(ws, free_port()) as http:
        said = predict(http, 7, [asked(task) for task in pool])
        assert [bool(each) for each in said] == [False, True, True, True, *[False] * len(held)]
        for task in elsewhere:
            assert predict(http, task.project, [asked(task)]) == [[]]
            assert predict(http, 7, [asked(task)]) == [[]]
        good = pool[1]
        for url in (
            image_url(pool[2].image),
            "/data/local-files/?d=objects/../../catalog.sqlite",
            f"http://127.0.0.1:1/{good.image}",
            f"file://{ws.store.path(good.image)}",
            image_url(good.image) + "&x=1",
        ):
            assert predict(http, 7, [asked(good, url)]) == [[]]
        assert predict(http, 7, [asked(good) | {"data": {}}]) == [[]]
        assert predict(http, 7, [asked(good)], page=interface(("rose", "not-rose"))) == [[]]
        assert predict(http, 7, [asked(good)], page="<View") == [[]]
    assert set(ws.catalog.frame("predictions")["image"]) == {task.image for task in pool[1:4]}


def test_a_wrong_sentinel_keeps_its_wrong_proposal(trained: Trained, free_port: Callable[[], int]) -> None:
    ws, found = trained
    right, other = (
        next(i for i, place in found.items() if place == (name, "train")) for name in ("horse", "not-horse")
    )
    [task] = tasks_of(ws, POOL, [right], 7)
    book.plant(ws.catalog, task.round, [Sentinel(right, "horse", "not-horse", "known")])
    model = model_run(load_model(ws, "horse"))
    models.put_model_run(ws.catalog, model)
    models.add_predictions(ws.catalog, model.id, "horse", [Prediction(other, "not-horse", 0.75, {})])
    [lent] = models.prediction_ids(ws.catalog, model.id, "horse", [other]).values()
    rows.show(ws.catalog, {task.id: lent})
    with answering(ws, free_port()) as http:
        [said] = predict(http, 7, [asked(task)])
    assert (said["result"][0]["value"]["choices"], said["score"]) == (["not-horse"], 0.75)
    assert said["model_version"] == model.id


def test_a_share_stays_without_proposals(trained: Trained, make_workspace: Make, free_port: Callable[[], int]) -> None:
    found = trained[1]
    ws = make_workspace("[label]\nno_proposal_share = 1.0\n")
    tasks = tasks_of(ws, POOL, [image for image, (_, split) in found.items() if split == "train"], 7)
    with answering(ws, free_port()) as http:
        assert predict(http, 7, [asked(task) for task in tasks]) == [[]] * len(tasks)


def test_missing_and_broken_pictures_go_without_and_a_thousand_tasks_come_in_order(
    trained: Trained, free_port: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    ws, found = trained
    tasks = tasks_of(ws, POOL, [image for image, (_, split) in found.items() if split == "train"][::2], 7)
    for place in (ws.data / "features").glob("*/*.parquet"):
        place.unlink()
    Path(ws.store.path(tasks[0].image)).unlink()
    Path(ws.store.path(tasks[1].image)).write_bytes(b"broken")
    with answering(ws, free_port()) as http:
        said = predict(http, 7, [asked(tasks[n % len(tasks)]) for n in range(1000)])
    assert len(said) == 1000
    for n, each in enumerate(said):
        k = n % len(tasks)
        assert each == [] if k < 2 else each["result"][0]["value"]["choices"] == [found[tasks[k].image][0]]
    assert tasks[0].image[:12] in caplog.text
    assert tasks[1].image[:12] in caplog.text


def test_two_backends_cannot_have_one_port(trained: Trained, free_port: Callable[[], int]) -> None:
    port = free_port()
    with answering(trained[0], port):
        with pytest.raises(CollectError, match=f"cannot use port {port}") as caught, answering(trained[0], port):
            pass
        assert "label.backend_port" in caught.value.hint


def test_a_training_that_fails_leaves_the_model_and_says_why(
    trained: Trained, free_port: Callable[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    with answering(trained[0], free_port()) as http:
        before = http.post("/setup", json={"schema": PAGE}).json()
        assert http.post("/webhook", json={"action": "ANNOTATION_CREATED"}).json() == {}
        http.post("/webhook", json={"action": "START_TRAINING"}).raise_for_status()
        until(lambda: "training failed" in caplog.text)
        assert "Label Studio is not running" in caplog.text
        assert http.post("/setup", json={"schema": PAGE}).json() == before


def test_a_run_and_a_guess_exclude_each_other(trained: Trained) -> None:
    with pytest.raises(UsageError, match="zero-shot"), serving(trained[0], "horse", run="abc", zero_shot=True):
        pass


def until(done: Callable[[], bool]) -> None:
    for _ in range(600):
        if done():
            return
        time.sleep(0.1)
    pytest.fail("it did not happen within a minute")
