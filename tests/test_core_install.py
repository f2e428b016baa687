"""The core alone, installed from the wheel into an empty environment: no torch, no ray, and it crawls and labels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.demo.drawings import gallery
from pipelines.demo.entries import Picture
from pipelines.demo.site import Site
from tests.conftest import REPOSITORY

UV = [sys.executable, "-m", "uv"]


def run(command: list[str | Path], folder: Path, **environ: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        command, cwd=folder, env=clean | environ, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-1000:]} {done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def core() -> Iterator[Path]:
    """The `collect` of an environment that holds the wheel and what it requires, nothing else.

    It lies on a disk, where uv links the files of its cache instead of copying them.
    """
    with tempfile.TemporaryDirectory(prefix="collect-core-") as name:
        folder = Path(name)
        run(["uv", "build", "--wheel", "--out-dir", folder, REPOSITORY], folder)
        run(["uv", "venv", "--python", sys.executable, folder / "venv"], folder)
        wheel = next(folder.glob("*.whl"))
        run(["uv", "pip", "install", "--python", folder / "venv" / "bin" / "python", wheel], folder)
        yield folder / "venv" / "bin" / "collect"


@pytest.mark.slow
def test_the_core_installs_light(core: Path) -> None:
    python = core.with_name("python")
    modules = "collector.spiders.runner, labeling.pull, labeling.push, pipelines.cli.main"
    run([python, "-c", f"import {modules}"], core.parent)
    for heavy in ("torch", "ray", "sklearn", "playwright"):
        code = f"import importlib.util; assert importlib.util.find_spec('{heavy}') is None"
        run([python, "-c", code], core.parent)
    assert "negatives" in run([core, "--help"], core.parent)


@pytest.mark.slow
@pytest.mark.studio
def test_the_core_crawls_dedups_and_pushes(core: Path, tmp_path: Path) -> None:
    def collect(*arguments: str, **environ: str) -> dict[str, Any]:
        found = json.loads(run([core, *arguments, "--json"], tmp_path, **environ))
        assert isinstance(found, dict)
        return found

    run([core, "init"], tmp_path)
    pictures = [Picture(str(n), each.title, each.jpeg, ("horse",)) for n, each in enumerate(gallery(["horse"] * 12))]
    with Site(pictures) as site:
        told = {f"COLLECT__SOURCES__{name}__BASE_URL": site.url for name in ("OPENVERSE", "WIKIMEDIA")}
        told["COLLECT__CRAWL__ALLOW_PRIVATE_HOSTS"] = '["127.0.0.1"]'
        asked = ("--source", "openverse", "--source", "wikimedia")
        assert collect("crawl", "horse", "--limit", "8", *asked, **told)["kept"] == 8
    assert collect("dedup")["images"] == 8
    try:
        collect("label", "start", "--detach", "--port", "8397")
        assert collect("label", "push")["tasks"] > 0
    finally:
        assert collect("label", "stop")["stopped"]


@pytest.mark.slow
def test_training_without_its_extra_names_the_extra(core: Path, tmp_path: Path) -> None:
    run([core, "init"], tmp_path)
    done = subprocess.run([core, "doctor", "--json"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "collect-dataset[train]" in done.stdout
    done = subprocess.run([core, "demo"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "hint: pip install 'collect-dataset[train]'" in done.stderr
