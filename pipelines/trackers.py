"""The trackers themselves: what each does with the figures of a run.

TensorBoard is written to by a thread of the run. MLflow and W&B are programs with threads, servers and waits at exit of
their own, so each gets a process that may be killed: `python trackers.py NAME` reads messages from its standard input.
This file imports nothing of ours, and that process starts without a path into the package.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

AT_ONCE = 1000  # metrics that MLflow takes in one request


class Message(NamedTuple):
    """Figures at one step, or in the end (`step` is None); `wall` is the time in seconds."""

    wall: float
    step: int | None
    figures: Mapping[str, float]


class About(NamedTuple):
    """The run that is tracked: its folder, its id and its settings, flat."""

    folder: str
    run: str
    config: Mapping[str, str | float | bool]


Messages = Iterator[list[Message]]
Recorder = Callable[[About, Messages], None]


def tensorboard(about: About, messages: Messages) -> None:
    """Event files in the run folder, with the settings for the HParams page.

    A run that goes on from a checkpoint repeats steps: a START event at the first of them lets TensorBoard drop what an
    earlier process wrote from there on.
    """
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(about.folder)
    try:
        writer.add_event(Event(wall_time=time.time(), summary=hparams_pb(dict(about.config), trial_id=about.run)))
        last: int | None = None
        for wall, step, figures in chain.from_iterable(messages):
            if step is not None and last is None:
                start = SessionLog(status=SessionLog.START)
                writer.add_event(Event(wall_time=wall, step=step, session_log=start))
            last = step if step is not None else last
            values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
            writer.add_event(Event(wall_time=wall, step=last or 0, summary=Summary(value=values)))
    finally:
        writer.close()


def mlflow(about: About, messages: Messages) -> None:
    """A run of the experiment `collect`, at MLFLOW_TRACKING_URI or in `mlflow.sqlite` of the data folder."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    }.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    data = Path(about.folder).resolve().parents[1]
    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{data / 'mlflow.sqlite'}")
    found = client.get_experiment_by_name("collect")
    experiment = found.experiment_id if found else client.create_experiment("collect")
    same = client.search_runs([experiment], f"tags.`collect.run` = '{about.run}'", max_results=1)
    # A run that is resumed goes on in its row.
    run = (
        same[0] if same else client.create_run(experiment, run_name=about.run, tags={"collect.run": about.run})
    ).info.run_id
    if not same:
        client.log_batch(run, params=[Param(_plain(name), str(value)[:500]) for name, value in about.config.items()])
    last, ended = 0, False
    for batch in messages:
        metrics = []
        for wall, step, figures in batch:
            last, ended = (last, True) if step is None else (step, ended)
            metrics += [Metric(_plain(name), value, int(1000 * wall), last) for name, value in figures.items()]
        for start in range(0, len(metrics), AT_ONCE):
            client.log_batch(run, metrics=metrics[start : start + AT_ONCE])
    client.set_terminated(run, "FINISHED" if ended else "KILLED")


def wandb(about: About, messages: Messages) -> None:
    """A run of the project `collect`, offline unless WANDB_MODE says else; `wandb sync` uploads it later."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    settings = wandb.Settings(
        console="off",
        silent=True,
        disable_git=True,
        save_code=False,
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
    )
    run = wandb.init(
        mode=os.environ.get("WANDB_MODE") or "offline",  # type: ignore[arg-type]  # W&B checks it
        dir=about.folder,
        project=os.environ.get("WANDB_PROJECT") or "collect",
        id=about.run,
        name=about.run,
        resume="allow",
        config=dict(about.config),
        settings=settings,
    )
    ended = False
    for _, step, figures in chain.from_iterable(messages):
        if step is None:
            run.summary.update(dict(figures))
            ended = True
        else:
            run.log(dict(figures), step=step)
    run.finish(exit_code=0 if ended else 1)


def _plain(name: str) -> str:
    """A name of the letters that MLflow takes."""
    return re.sub(r"[^\w\-./ ]", "_", name)[:250]


def _told() -> Messages:
    for line in sys.stdin:
        yield [Message(*each) for each in json.loads(line)]


if __name__ == "__main__":
    first: dict[str, Any] = json.loads(sys.stdin.readline())
    outside: dict[str, Recorder] = {"mlflow": mlflow, "wandb": wandb}
    outside[sys.argv[1]](About(**first), _told())
