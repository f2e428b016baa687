"""Power cuts, replayed from the record of one run: every prefix, six ways to lose what was not synced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.crash import harness

pytestmark = pytest.mark.slow


PowerCuts = Callable[..., tuple[int, int, Counter[str]]]


@pytest.fixture
def power_cuts(
    workers: ProcessPoolExecutor, pictures: Path, tmp_path: Path, report: Callable[[str], None]
) -> PowerCuts:
    """(states, distinct states, faults by kind) of one recorded run."""

    def cut(mistake: str = "", step: int = 2) -> tuple[int, int, Counter[str]]:
        operations = workers.submit(harness.recorded, tmp_path, pictures, mistake).result()
        halves = [
            workers.submit(harness.power_cuts, operations, (n * step // 2, step), tmp_path / f"cut{n}")
            for n in range(2)
        ]
        states, distinct, faults = 0, 0, Counter[str]()
        for half in halves:
            seen, different, found = half.result()
            states, distinct = states + seen, distinct + different
            faults.update(fault.split(":")[0] for fault in found)
        report(f"{mistake or 'as it is'}: {states} states, {distinct} distinct, {dict(faults)}")
        return states, distinct, faults

    return cut


def test_no_power_cut_loses_an_acknowledged_picture_or_leaves_a_row_without_its_file(
    power_cuts: PowerCuts,
) -> None:
    states, distinct, faults = power_cuts()
    assert faults == {}
    assert states >= 400
    assert distinct >= 400


@pytest.mark.parametrize(
    ("mistake", "shows_as"),
    [
        ("no fsync of the file", "a row whose file lies"),
        ("no fsync of the folder", "a row without its file"),
        ("no syncfs", "a row without its file"),
        ("synchronous=OFF", "a lost acknowledgement"),
        ("synchronous=NORMAL", "a lost acknowledgement"),
        ("row before file", "a row without its file"),
    ],
)
def test_the_replay_finds_the_planted_mistake(power_cuts: PowerCuts, mistake: str, shows_as: str) -> None:
    _, _, faults = power_cuts(mistake, step=10)
    assert faults[shows_as] > 0
