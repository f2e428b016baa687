"""A workspace with a run on a tiny network, for the tests that carry models away."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from collector.workspace import Workspace
from pipelines.train import train_baseline
from tests.pipelines.finetuned import prepare


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """Labeled pictures, and a head on the features of `tiny`."""
    folder = tmp_path_factory.mktemp("carried")
    (folder / "config.toml").write_text("[finetune]\nepochs = 1\nfreeze_epochs = 0\n", encoding="utf-8")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for each other cost more than the tiny network
    with Workspace.open(folder / "config.toml", environ={}) as ws:
        prepare(ws)
        train(ws)
        yield ws
    torch.set_num_threads(threads)


def train(ws: Workspace, *, finetune: bool = False) -> str:
    """A finished run on `tiny`; its id."""
    weights = ws.root / "tiny.safetensors"
    return train_baseline(ws, "horse", backbone="tiny", weights=weights, finetune=finetune, device="cpu").run


@contextmanager
def copied(home: Workspace, to: Path) -> Iterator[Workspace]:
    """A copy of a workspace that may be changed; its weights file is where it was."""
    shutil.copytree(home.root, to)
    with Workspace.open(to / "config.toml", environ={}) as ws:
        yield ws
