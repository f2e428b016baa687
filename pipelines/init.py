"""`collect init`: a commented config.toml and an empty catalog."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from collector.errors import UsageError
from collector.records import Summary
from collector.workspace import Workspace
from pipelines import settings


@dataclass(frozen=True, slots=True, kw_only=True)
class InitSummary(Summary):
    """Where the new workspace is."""

    config: str
    data: str


def init(folder: Path, *, force: bool = False) -> InitSummary:
    """Make `folder` a workspace; an existing config.toml is overwritten only with `force`, images never."""
    path = folder.resolve() / "config.toml"
    if path.exists() and not force:
        raise UsageError(f"{path} exists", hint="use it as it is, or overwrite it with `--force`")
    path.parent.mkdir(parents=True, exist_ok=True)
    settings.write(path)
    with Workspace.open(path) as ws:
        return InitSummary(config=str(path), data=str(ws.data), next="collect crawl horse --limit 500")
