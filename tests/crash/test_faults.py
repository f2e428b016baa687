"""Disks that are full, or that fail: a typed error in one sentence, nothing broken, and the same command completes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.crash import harness
from tests.crash.harness import Point

pytestmark = pytest.mark.slow


def chosen(points: list[Point], call: str) -> list[Point]:
    """Every call, but of SQLite's many writes one in eight; never the lines that the driver itself acknowledges."""
    found = [point for point in points if point.call.startswith(call) and "/acks>" not in point.line]
    return found[:: 8 if call == "pwrite64" else 1]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("write", "ENOSPC"),
        ("pwrite64", "ENOSPC"),
        ("rename", "ENOSPC"),
        ("mkdir", "ENOSPC"),
        ("fsync", "EIO"),
        ("fdatasync", "EIO"),
        ("syncfs", "EIO"),
    ],
)
def test_a_failing_call_ends_in_one_sentence_and_the_next_run_completes(
    workers: ProcessPoolExecutor,
    points: list[Point],
    pictures: Path,
    expected: object,
    tmp_path: Path,
    call: str,
    error: str,
    report: Callable[[str], None],
) -> None:
    runs = {
        point: workers.submit(harness.fail_and_repeat, point, error, tmp_path / f"{call}-{point.n}", pictures)
        for point in chosen(points, call)
    }
    kinds: set[str] = set()
    for point, run in runs.items():
        failed, found, content = run.result()
        assert found == [], point
        assert content == expected, point
        if failed.status == 0:
            continue  # the call did not matter: a lock's text, or SQLite's own tidying up at the end
        sentence, hint = failed.error.split("\n")
        kinds.add(sentence.split(":")[0])
        assert failed.status == 1, (point, failed.error)
        assert hint
    report(f"{call}={error}: {len(runs)} points, {kinds}")
    assert ("DiskFull" if error == "ENOSPC" else "CollectError") in kinds
    assert kinds <= {"DiskFull", "CollectError"}  # SQLite says "disk I/O error" for some, and the disk is not full


@pytest.mark.parametrize("options", ["size=300k", "size=480k", "nr_inodes=20"])
def test_a_full_disk_stops_the_import_and_a_larger_one_completes_it(
    pictures: Path, expected: object, tmp_path: Path, options: str
) -> None:
    enter = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*enter, "true"], capture_output=True).returncode != 0:
        pytest.skip("this account may not mount a small disk of its own (unshare --mount)")
    arguments = [sys.executable, "-m", "tests.crash.disk_full", str(tmp_path), str(pictures), options]
    done = subprocess.run([*enter, *arguments], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["error"] == "DiskFull"
    assert said["faults"] == []
    assert said["content"] == json.loads(json.dumps(expected))
