"""`collect label start` and `stop`: the Label Studio of a workspace."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from collector.errors import UsageError
from collector.records import Summary
from collector.workspace import Workspace
from labeling import accounts, server
from labeling.accounts import ADMIN
from labeling.config import LabelConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class StartSummary(Summary):
    """Where Label Studio answers, who administers it, and the private file with everybody's password."""

    url: str
    email: str
    passwords: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSummary(Summary):
    """Whether a server was running and is ended now."""

    stopped: bool


def folder_of(ws: Workspace) -> Path:
    """Where the Label Studio of a workspace keeps its data."""
    return (ws.data / "label-studio").absolute()


def images_of(ws: Workspace) -> Path:
    """The folder of the store, from which Label Studio shows pictures."""
    if not ws.store.local:
        raise UsageError(
            f"Label Studio shows pictures from a folder, and the store of this workspace is {ws.store.root}",
            hint="label in a workspace whose `workspace.store` is a folder",
        )
    return Path(ws.store.root)


def start(ws: Workspace, *, port: int | None = None) -> StartSummary:
    """Run Label Studio, or find it running; it stays when the calling process ends."""
    config = ws.section(LabelConfig)
    if port is not None:
        config = config.model_copy(update={"port": port})
    found = server.start(folder_of(ws), images_of(ws), config, ws.progress)
    warnings = () if port in (None, found.port) else (f"it was running already, on port {found.port}",)
    return StartSummary(
        url=found.url,
        email=accounts.load(found.folder)[ADMIN].email,
        passwords=str(found.folder / accounts.FILE),
        warnings=warnings,
        next="collect label push",
    )


def stop(ws: Workspace) -> StopSummary:
    """End the Label Studio of the workspace; what people answered stays in its data folder."""
    return StopSummary(stopped=server.stop(folder_of(ws)))


def wait(ws: Workspace) -> None:
    """Return when the server has ended; Ctrl-C ends it."""
    try:
        while server.status(folder_of(ws)) is not None:
            time.sleep(0.5)
    finally:
        server.stop(folder_of(ws))
