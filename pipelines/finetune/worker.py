"""Training by several processes, one for each device: `torchrun` starts them, on this machine and on others.

The parent writes down what is to be done in `job.json` of the run folder; each process opens the workspace for itself.
The first one tells how far they are, one JSON object on a line, and dies when nobody listens any more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from collector import durable, errors
from collector.errors import CollectError, UsageError
from collector.workspace import Workspace
from pipelines.backbones import TorchBackbone, load_backbone
from pipelines.config import FinetuneConfig
from pipelines.finetune import alarms, checkpoints, fit
from pipelines.finetune.plan import Job, Plan
from pipelines.manifest import find, read_manifest

FILE = "job.json"


def launch(plan: Plan, pieces: int) -> None:
    """Train with as many processes as the settings say, from the last checkpoint on, until they end.

    Raises:
        UsageError: several machines, and no place where they meet.
        CollectError: what stopped one of them.
        torch.OutOfMemoryError: the memory of one was too small.
    """
    config = plan.config
    if config.nodes > 1 and not config.rendezvous:
        raise UsageError(
            "several machines must know where to meet", hint='for example `finetune.rendezvous = "first-host:29400"`'
        )
    durable.save(plan.job.folder / FILE, json.dumps(_described(plan, pieces), indent=1).encode())
    command = _command(config, plan.job.folder)
    if config.nodes > 1:
        plan.ws.progress(f"waiting for {config.nodes - 1} more machines: on each, `{' '.join(command)}`", 0, None)
    cores = max(1, (os.cpu_count() or 1) // config.devices)
    environ = {"OMP_NUM_THREADS": str(cores), **os.environ}
    children = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)
    assert children.stdout is not None
    assert children.stderr is not None
    stopped: dict[str, Any] | None = None
    try:
        for line in children.stdout:
            said = _parsed(line)
            if "progress" in said:
                plan.ws.progress(*said["progress"])
            elif "log" in said:
                plan.job.track.log(*said["log"])
            elif "alarm" in said:
                alarms.LOG.warning("%s", said["alarm"])
            stopped = stopped or said.get("stopped")
        noise = children.stderr.read()
    finally:
        children.terminate()
        code = children.wait()
        children.stdout.close()
        children.stderr.close()
    if stopped is not None:
        if stopped["kind"] == "OutOfMemoryError":
            raise torch.OutOfMemoryError
        raise getattr(errors, stopped["kind"])(stopped["message"], hint=stopped["hint"])
    if code:
        last = next((line for line in reversed(noise.splitlines()) if "Error" in line), f"exit code {code}")
        raise CollectError(f"a training process failed: {last.strip()}", hint="run the same command again: it resumes")


def _command(config: FinetuneConfig, folder: Path) -> list[str]:
    many = ["--nnodes", str(config.nodes), "--rdzv-backend", "c10d", "--rdzv-endpoint", config.rendezvous]
    where = many if config.nodes > 1 else ["--standalone"]
    run = [sys.executable, "-m", "torch.distributed.run", *where, "--nproc-per-node", str(config.devices)]
    return [*run, "-m", "pipelines.finetune.worker", str(folder)]


def _described(plan: Plan, pieces: int) -> dict[str, Any]:
    job, backbone = plan.job, plan.backbone
    return {
        "settings": str(plan.ws.settings.path),
        "concept": plan.manifest.concept,
        "snapshot": plan.manifest.digest(),
        "backbone": backbone.name,
        "weights": str(Path(backbone.weights or "").resolve()),
        "config": plan.config.model_dump(mode="json"),
        "device": plan.device,
        "pieces": pieces,
        **{key: getattr(job, key) for key in ("seed", "soft", "balanced")},
    }


def _parsed(line: str) -> dict[str, Any]:
    """What a line says; what is none of ours says nothing."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


class _Pipe:
    """Tells the parent, if this is the first process."""

    def __init__(self) -> None:
        self.first = os.environ["RANK"] == "0"

    def say(self, **what: Any) -> None:
        print(json.dumps(what), flush=True)  # noqa: T201  # read by `launch`

    def progress(self, text: str, done: int, total: int | None) -> None:
        if self.first:
            self.say(progress=[text, done, total])

    def log(self, step: int, figures: dict[str, float]) -> None:
        if self.first:
            self.say(log=[step, figures])


def main(folder: Path) -> int:
    """One of the processes; its number is in the environment, as torchrun sets it."""
    told = json.loads((folder / FILE).read_bytes())
    pipe = _Pipe()
    try:
        with Workspace.open(told["settings"], progress=pipe.progress) as ws:
            manifest = read_manifest(ws, find(ws, told["concept"], told["snapshot"]))
            backbone = load_backbone(told["backbone"], told["weights"])
            assert isinstance(backbone, TorchBackbone)
            job = Job(folder, told["seed"], told["device"], told["soft"], told["balanced"], pipe)
            plan = Plan(ws, manifest, backbone, FinetuneConfig(**told["config"]), job, told["device"])
            path, _ = checkpoints.newest(folder / checkpoints.FOLDER)
            with alarms.heard(lambda text: pipe.say(alarm=text), printed=False):  # the first process alone has any
                fit.go(plan, path, told["pieces"])
    except torch.OutOfMemoryError:
        pipe.say(stopped={"kind": "OutOfMemoryError"})
        return 1
    except CollectError as error:
        pipe.say(stopped={"kind": type(error).__name__, "message": error.message, "hint": error.hint})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
