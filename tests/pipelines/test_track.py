"""Trackers: what they write, by reading it back; and that none can stop a run, whatever it does."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from collector.errors import UsageError
from pipelines import track, trackers
from pipelines.track import tracking
from pipelines.trackers import Messages
from tests.conftest import REPOSITORY

CONFIG = {"backbone": "classic", "train": {"folds": 5, "balanced": False, "c_grid": [1, 2]}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "runs" / "abc"
    path.mkdir(parents=True)
    return path


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard's own reader finds."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(e.step, round(e.value, 5)) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_reads_the_curves_and_the_figures(folder: Path) -> None:
    with tracking(folder, run="abc", config=CONFIG) as tracked:
        for step in range(3):
            tracked.log(step, {"train/loss": 1 / (step + 1), "val/ap": np.float32(0.5)})  # type: ignore[dict-item]
        tracked.finish({"ap": 0.75, "ap_by_label": {"horse": 0.5}, "name": "x", "none": None})
    assert scalars(folder) == {
        "train/loss": [(0, 1.0), (1, 0.5), (2, 0.33333)],
        "val/ap": [(0, 0.5), (1, 0.5), (2, 0.5)],
        "ap": [(2, 0.75)],
        "ap_by_label/horse": [(2, 0.5)],
    }


def test_a_resumed_run_replaces_the_steps_that_it_repeats(folder: Path) -> None:
    for steps, value in ((range(4), 1.0), (range(2, 5), 2.0)):
        with tracking(folder, run="abc", config=CONFIG) as tracked:
            for step in steps:
                tracked.log(step, {"loss": value})
        time.sleep(1.1)  # the seconds in the files' names order them
    assert scalars(folder)["loss"] == [(0, 1.0), (1, 1.0), (2, 2.0), (3, 2.0), (4, 2.0)]


def test_a_tracker_that_raises_is_dropped_with_one_warning(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object, messages: Messages) -> None:
        next(messages)
        raise OSError("cannot write to https://me:word@host.example/x")

    monkeypatch.setattr(trackers, "tensorboard", broken)
    with tracking(folder, run="abc", config=CONFIG) as tracked:
        for step in range(50):
            tracked.log(step, {"loss": 1.0})
    assert len(caplog.records) == 1
    assert "https://***@host.example/x" in caplog.text
    assert "word" not in caplog.text


def test_a_tracker_that_hangs_costs_the_end_its_patience_and_the_run_nothing(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()
    monkeypatch.setattr(trackers, "tensorboard", lambda about, messages: free.wait(60))
    monkeypatch.setattr(track, "WAITING", 100)
    with tracking(folder, run="abc", config=CONFIG, patience_s=0.2) as tracked:
        for step in range(1000):
            tracked.log(step, {"loss": 1.0})
    free.set()
    assert [record.message.split(": ")[1] for record in caplog.records] == ["it is 100 messages behind"]


def test_an_unknown_tracker_and_one_that_is_not_installed_are_refused_before_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="did you mean `mlflow`"), tracking(folder, ["mlfow"], run="abc", config={}):
        pass
    monkeypatch.setattr(track, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed"), tracking(folder, ["wandb"], run="abc", config={}):
        pass
    with tracking(folder, run="abc", config={}) as tracked:
        tracked.log(1, {"loss": 1.0})
    assert not list(folder.iterdir()), "no TensorBoard, no file"


@pytest.mark.slow
def test_mlflow_keeps_the_run_in_its_own_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for last in (2, 4):  # the second one goes on with the run of the first
        with tracking(folder, ["mlflow"], run="abc", config=CONFIG, patience_s=120) as tracked:
            for step in range(last - 2, last):
                tracked.log(step, {"train/loss": 1 / (step + 1)})
            if last == 4:
                tracked.finish({"ap": 0.75, "ap_by_label": {"cañón (x)": 0.5}})
    with sqlite3.connect(folder.parents[1] / "mlflow.sqlite") as book:
        assert book.execute("select name, status from runs").fetchall() == [("abc", "FINISHED")]
        assert dict(book.execute("select key, value from params")) == {
            "backbone": "classic", "train/folds": "5", "train/balanced": "False"
        }  # fmt: skip
        rows = book.execute("select key, step, value from metrics order by key, step").fetchall()
    book.close()
    assert [(step, value) for key, step, value in rows if key == "train/loss"] == [(n, 1 / (n + 1)) for n in range(4)]
    assert ("ap", 3, 0.75) in rows


@pytest.mark.slow
def test_wandb_writes_files_and_asks_nobody(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb"))
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with tracking(folder, ["wandb"], run="abc", config=CONFIG, patience_s=120) as tracked:
        tracked.log(1, {"train/loss": 0.5})
        tracked.finish({"ap": 0.75})
    (record,) = (folder / "wandb").glob("offline-run-*/run-abc.wandb")
    assert b"train/loss" in record.read_bytes()


@pytest.fixture
def never() -> Iterator[int]:
    """The port of a server that takes a connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize("server", ["never", "closed"])
def test_an_mlflow_server_that_is_not_there_ends_no_run(
    folder: Path, server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, so that its exit is watched as well."""
    port = request.getfixturevalue(server)
    code = (
        "import logging, pathlib, sys; logging.basicConfig(); from pipelines.track import tracking\n"
        f"with tracking(pathlib.Path({str(folder)!r}), ['mlflow'], run='abc', config={{}}, patience_s=5) as tracked:\n"
        "    tracked.log(1, {'loss': 1.0}); tracked.finish({'ap': 0.5})\n"
        "print('the run ended')"
    )
    environ = os.environ | {"MLFLOW_TRACKING_URI": f"http://me:word@127.0.0.1:{port}"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "the run ended\n"
    assert done.stderr.count("goes on without the tracker `mlflow`") == 1
    assert "word" not in done.stderr
    assert scalars(folder) == {"loss": [(1, 1.0)], "ap": [(1, 0.5)]}, "the others are not touched"


def test_killing_a_tracker_kills_what_it_started(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B starts a program of its own."""
    pids = folder / "pids"
    script = folder / "hangs.py"
    script.write_text(
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pids)!r} + '.tmp', 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        f"os.rename({str(pids)!r} + '.tmp', {str(pids)!r})\n"
        "time.sleep(600)\n"
    )
    monkeypatch.setattr(trackers, "__file__", str(script))
    with tracking(folder, ["wandb"], run="abc", config={}, patience_s=0.1) as tracked:
        while not pids.exists():
            time.sleep(0.01)
        tracked.finish({})
    deadline = time.monotonic() + 30
    while any(alive(int(pid)) for pid in pids.read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] not in "ZX"
    except FileNotFoundError:
        return False
