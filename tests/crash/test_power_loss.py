"""Power cuts, replayed from the record of one run: every prefix, six ways to lose what was not synced."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.crash import harness
from tests.crash.driver import MISTAKES

pytestmark = pytest.mark.slow


def power_cuts(
    workers: ProcessPoolExecutor, pictures: Path, scene: Path, *, mistake: str = "", step: int = 2
) -> tuple[int, int, Counter[str]]:
    operations = workers.submit(harness.recorded, scene, pictures, mistake).result()
    halves = [
        workers.submit(harness.power_cuts, operations, (n * step // 2, step), scene / f"cut{n}") for n in range(2)
    ]
    states, distinct, faults = 0, 0, Counter[str]()
    for half in halves:
        seen, different, found = half.result()
        states, distinct = states + seen, distinct + different
        faults.update(fault.split(":")[0] for fault in found)
    print(f"{mistake or 'as it is'}: {states} states, {distinct} distinct, {dict(faults)}")
    return states, distinct, faults


def test_no_power_cut_loses_an_acknowledged_picture_or_leaves_a_row_without_its_file(
    workers: ProcessPoolExecutor, pictures: Path, tmp_path: Path
) -> None:
    states, distinct, faults = power_cuts(workers, pictures, tmp_path)
    assert faults == {}
    assert states >= 400
    assert distinct >= 400


@pytest.mark.parametrize(
    ("mistake", "shows_as"),
    [
        ("no fsync of the file", "a row whose file lies"),
        ("no fsync of the folder", "a row without its file"),
        ("synchronous=OFF", "a lost acknowledgement"),
        ("synchronous=NORMAL", "a lost acknowledgement"),
        ("row before file", "a row without its file"),
    ],
)
def test_the_replay_finds_the_planted_mistake(
    workers: ProcessPoolExecutor, pictures: Path, tmp_path: Path, mistake: str, shows_as: str
) -> None:
    _, _, faults = power_cuts(workers, pictures, tmp_path, mistake=mistake, step=10)
    assert faults[shows_as] > 0


def test_every_planted_mistake_is_looked_for() -> None:
    assert len(MISTAKES) == 1 + 5
