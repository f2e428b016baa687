"""`kill -9` at the system calls by which the import touches the disk."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.crash import harness
from tests.crash.harness import Point

Report = Callable[[str], None]
pytestmark = pytest.mark.slow


@pytest.mark.timeout(900)
def test_an_import_killed_at_any_system_call_tells_no_lie_and_is_completed_by_the_next_run(
    workers: ProcessPoolExecutor, points: list[Point], pictures: Path, expected: object, tmp_path: Path, report: Report
) -> None:
    chosen = harness.telling(points)
    runs = {
        point: workers.submit(harness.kill_and_repeat, point, tmp_path / f"{point.call}-{point.n}", pictures)
        for point in chosen
    }
    for point, run in runs.items():
        found, content = run.result()
        assert found == [], point
        assert content == expected, point
    report(f"{len(chosen)} of {len(points)} points: {sorted({point.call for point in chosen})}")
    assert len(chosen) >= 100
    assert {point.call for point in chosen} >= {"write", "pwrite64", "fsync", "fdatasync", "syncfs", "ftruncate"}


def test_the_kills_find_a_row_that_is_written_before_its_file(
    workers: ProcessPoolExecutor, points: list[Point], pictures: Path, tmp_path: Path, report: Report
) -> None:
    chosen = [point for point in points if "/objects/" in point.line and point.call != "write"]
    runs = [
        workers.submit(harness.killed_at, point, tmp_path / f"{point.call}-{point.n}", pictures, "row before file")
        for point in chosen
    ]
    caught = [found for run in runs if (found := run.result())]
    report(f"{len(caught)} of {len(chosen)} points show the planted mistake")
    assert any("a row without its file" in fault for found in caught for fault in found)
