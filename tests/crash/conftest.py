"""Five pictures to take in, the reference run, and two workers that fork, trace and verify."""

from __future__ import annotations

import multiprocessing
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pipelines.machine import STRACE
from tests.conftest import jpeg, need
from tests.crash import harness, verify


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Writes a figure into the log of the test run, whether or not the test passes."""
    capture: Any = request.config.pluginmanager.get_plugin("capturemanager")
    terminal: Any = request.config.pluginmanager.get_plugin("terminalreporter")

    def write(line: str) -> None:
        with capture.global_and_fixture_disabled():
            terminal.write_line(f"  {line}")

    return write


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pictures, three of them with previews; one file that is none; one that was there before."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed, size in enumerate([(480, 440), (200, 150), (440, 600), (300, 200), (433, 433)]):
        (folder / f"{seed}.jpg").write_bytes(jpeg(seed, size))
    (folder / "5.jpg").write_bytes(b"<html>gone</html>")
    (folder / "6.jpg").write_bytes((folder / "0.jpg").read_bytes())
    return folder


@pytest.fixture(scope="session")
def workers() -> Iterator[ProcessPoolExecutor]:
    """Two single-threaded processes with everything imported; skips where nothing can be traced."""
    need(STRACE)
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode != 0:
        pytest.skip("strace may not trace processes here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBLAS_NUM_THREADS", "1")  # a thread pool would not survive the fork
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield pool


@pytest.fixture(scope="session")
def points(
    workers: ProcessPoolExecutor, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[harness.Point]:
    """Every moment at which the import touches the disk."""
    return workers.submit(harness.points, tmp_path_factory.mktemp("points"), pictures).result()


@pytest.fixture(scope="session")
def expected(workers: ProcessPoolExecutor, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> object:
    """What the catalog holds after a run that nothing disturbs."""
    scene = tmp_path_factory.mktemp("reference")
    assert workers.submit(harness.run, scene, pictures).result().status == 0
    content = verify.content(scene / "ws")
    assert [len(content[table]) for table in ("images", "sightings", "rejections", "fingerprints")] == [5, 6, 1, 20]
    assert verify.leftovers(scene / "ws") == []
    return content
