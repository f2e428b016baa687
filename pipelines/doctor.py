"""`collect doctor`: checks, each with what to do when it fails."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collector.config import Settings, find, load
from collector.errors import CollectError, UsageError
from collector.records import Summary
from collector.workspace import Progress, Workspace, silent
from labeling import server
from labeling.config import LabelConfig
from labeling.studio import is_up
from pipelines import machine, settings

OK, WARN, FAIL = "ok", "warn", "fail"
EXTRAS = {
    "train": ("torch", "torchvision", "sklearn", "skimage"),
    "browser": ("playwright",),
    "scale": ("psycopg", "s3fs"),
    "track": ("tensorboard",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorSummary(Summary):
    """`checks` maps each check to its state (`ok`, `warn`, `fail`) and what was found."""

    checks: dict[str, str]
    problems: int

    def for_people(self) -> dict[str, Any]:
        """One line for each check."""
        return {**self.checks, "problems": self.problems}


def doctor(config: Path | None = None, *, fix: bool = False, progress: Progress = silent) -> DoctorSummary:
    """Look at the machine, the settings, the workspace and the services; with `fix`, install what is missing."""
    found = [*_python(), *_workspace(config), *_tools(fix, progress)]
    checks = {name: f"{state}, {said}" for name, state, said in found}
    return DoctorSummary(checks=checks, problems=sum(state == FAIL for _, state, _ in found))


def origins(config: Path | None = None) -> list[dict[str, Any]]:
    """Every setting with its value and origin, for `--config-origin`."""
    return settings.origins(load(config or find()))


def _python() -> Iterator[tuple[str, str, str]]:
    yield "python", OK, f"{platform.python_version()} at {sys.executable}"
    for package in ("collector", "labeling", "pipelines"):
        spec = importlib.util.find_spec(package)  # the names are common words: say whose code answers to them
        yield package, OK if spec else FAIL, str(Path(spec.origin).parent) if spec and spec.origin else "not importable"
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        said = f"without {', '.join(missing)}: pip install 'collect-dataset[{extra}]'" if missing else "installed"
        yield f"extra {extra}", WARN if missing else OK, said
    yield "processors", OK, f"{os.cpu_count()}"


def _workspace(config: Path | None) -> Iterator[tuple[str, str, str]]:
    try:
        chosen: Settings = load(config or find())
    except UsageError as error:
        yield "config.toml", WARN if config is None else FAIL, f"{error.message} ({error.hint})"
        return
    try:
        settings.check(chosen)
        changed = [row for row in settings.origins(chosen) if row["origin"] != "default"]
        yield "config.toml", OK, f"{chosen.path}, {len(changed)} settings set there or in the environment"
        with Workspace.open(chosen.path) as ws:
            images = len(ws.catalog.frame("images"))
            yield "catalog", OK, f"{ws.catalog.url}, schema {ws.catalog.revision()}, {images} images"
            yield ("label studio server", *_label_studio(ws))
    except CollectError as error:
        yield "workspace", FAIL, f"{error.message} ({error.hint})"


def _label_studio(ws: Workspace) -> tuple[str, str]:
    if elsewhere := ws.section(LabelConfig).url:
        return (OK, elsewhere) if is_up(elsewhere) else (FAIL, f"{elsewhere}, of `label.url`, does not answer")
    running = server.status(ws.data / "label-studio")
    return OK, running.url if running else "not running (`collect label start`)"


def _tools(fix: bool, progress: Progress) -> Iterator[tuple[str, str, str]]:
    for tool in machine.TOOLS:
        progress(f"looking for {tool.name}", 0, None)
        place = machine.ensure(tool) if fix else tool.find()
        yield tool.name, OK if place else WARN, place or f"not found, needed because {tool.why}: {tool.hint}"
