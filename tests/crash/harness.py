"""Runs the import under strace: killed at a chosen system call, told of an error, or recorded to the last byte."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from tests.crash import driver, verify
from tests.crash.replay import Operation, States, parse

WRITING = ("write", "pwrite64", "fsync", "fdatasync", "syncfs", "rename", "unlink", "ftruncate", "mkdir")
# Other machines spell some of them differently; `?` makes strace pass over what a machine does not have.
SPELLINGS = {"rename": ("renameat", "renameat2"), "unlink": ("unlinkat",), "mkdir": ("mkdirat",)}
KILLED = -signal.SIGKILL
EDGE, STRIDE = 3, 7  # odd: SQLite writes a header and a page in turn


@dataclass(frozen=True)
class Run:
    """How a run ended: exit status (negative: killed by a signal), the acknowledged lines, the error as printed."""

    status: int
    acks: list[str]
    error: str


@dataclass(frozen=True)
class Point:
    """The n-th call of one name: a moment at which a run can be killed, or be told of an error."""

    call: str
    n: int
    line: str = field(compare=False)

    @property
    def kind(self) -> tuple[str, str]:
        """The call and the file or folder that it is about."""
        about = re.search(r"<(.*?)>|\"(.*?)\"", self.line)
        return self.call, about[0] if about else ""


def traced(filter_: Sequence[str] = WRITING) -> str:
    """The filter expression of strace, for this and other machines."""
    names = [*filter_, *(other for name in filter_ for other in SPELLINGS.get(name, ()))]
    return "trace=" + ",".join(f"?{name}" for name in names)


def run(scene: Path, pictures: Path, *, mistake: str = "", strace: Sequence[str] | None = None) -> Run:
    """One run of the import in the workspace `scene/ws`, under strace if arguments are given for it."""
    (scene / "ws").mkdir(parents=True, exist_ok=True)
    (scene / "ws" / "config.toml").touch()
    acks, error = scene / "acks", scene / "acks.error"
    acks.unlink(missing_ok=True)
    error.unlink(missing_ok=True)
    pid = driver.start(scene / "ws", pictures, acks, mistake)
    tracer = None if strace is None else _attached(pid, scene / "trace", strace)
    os.kill(pid, signal.SIGCONT)
    _, status = os.waitpid(pid, 0)
    if tracer is not None:
        tracer.wait(timeout=60)
    return Run(
        status=os.waitstatus_to_exitcode(status),
        acks=acks.read_text().splitlines() if acks.exists() else [],
        error=error.read_text() if error.exists() else "",
    )


def points(scene: Path, pictures: Path) -> list[Point]:
    """Every moment at which a run touches the disk, from a reference run."""
    run(scene, pictures, strace=["-y", "-e", traced()])
    seen: Counter[str] = Counter()
    found = []
    for line in (scene / "trace").read_text().splitlines():
        if name := re.match(r"\d+ +(\w+)\(", line):
            seen[name[1]] += 1
            found.append(Point(name[1], seen[name[1]], line[:300]))
    return found


def telling(points: Sequence[Point]) -> list[Point]:
    """All points but the inner ones of long runs of one call on one file, of which every seventh stays.

    Such runs are the pages of one transaction of SQLite, or of a checkpoint: hundreds, and nothing counts before the
    last. What a kill leaves at each of them is verified too, in test_power_loss.py ("everything reached the disk").
    """
    chosen: list[Point] = []
    for _, grouped in groupby(points, key=lambda point: point.kind):
        run = list(grouped)
        chosen += run[:EDGE] + run[EDGE:-EDGE:STRIDE] + run[max(EDGE, len(run) - EDGE) :]
    return chosen


def killed_at(point: Point, scene: Path, pictures: Path, mistake: str = "") -> list[str]:
    """Kill a run as it enters the call; returns the faults found on a copy of what is left."""
    arguments = ["-e", traced(), "-e", f"inject={point.call}:signal=KILL:when={point.n}"]
    killed = run(scene, pictures, mistake=mistake, strace=arguments)
    if killed.status != KILLED:
        return [f"the kill at {point} did not fire: exit {killed.status} {killed.error}"]
    shutil.copytree(scene / "ws", scene / "copy")
    return verify.faults(scene / "copy", killed.acks)


def kill_and_repeat(point: Point, scene: Path, pictures: Path) -> tuple[list[str], object]:
    """Kill, verify, run again to the end; returns all faults, and what the catalog holds in the end."""
    found = killed_at(point, scene, pictures)
    return _repeated(found, scene, pictures)


def fail_and_repeat(point: Point, error: str, scene: Path, pictures: Path) -> tuple[Run, list[str], object]:
    """Let one call answer with an error, verify, run again without; also returns how the failing run ended."""
    arguments = ["-e", traced(), "-e", f"inject={point.call}:error={error}:when={point.n}"]
    failed = run(scene, pictures, strace=arguments)
    found = [] if "(INJECTED)" in (scene / "trace").read_text() else [f"the error at {point} did not fire"]
    shutil.copytree(scene / "ws", scene / "copy")
    found += verify.faults(scene / "copy", failed.acks)
    return failed, *_repeated(found, scene, pictures)


def _repeated(found: list[str], scene: Path, pictures: Path) -> tuple[list[str], object]:
    again = run(scene, pictures)
    if again.status != 0:
        return [*found, f"the repeated run failed: {again.error}"], None
    found = [*found, *verify.faults(scene / "ws", again.acks)]
    found += [f"left over: {name}" for name in verify.leftovers(scene / "ws")]
    content = verify.content(scene / "ws")
    shutil.rmtree(scene)
    return found, content


def recorded(scene: Path, pictures: Path, mistake: str = "") -> list[Operation]:
    """Everything that one run did to its disk, byte for byte, and what it acknowledged in between."""
    filter_ = ["-y", "-xx", "-s", "8000000", "-e", traced(("openat", *WRITING))]
    done = run(scene, pictures, mistake=mistake, strace=filter_)
    assert done.status == 0, done.error
    return parse((scene / "trace").read_text(), scene / "ws", scene / "acks")


def power_cuts(operations: list[Operation], share: tuple[int, int], scene: Path) -> tuple[int, int, list[str]]:
    """(states, distinct states, faults) of every k-th prefix of a recording: `share` is (first, step)."""
    found: list[str] = []
    seen: set[str] = set()
    states = 0
    for state in States(operations).after_power_cuts(*share):
        states += 1
        if state.digest not in seen:
            seen.add(state.digest)
            state.write(scene / "ws")
            found += verify.faults(scene / "ws", state.acks)
            shutil.rmtree(scene / "ws")
    return states, len(seen), found


def _attached(pid: int, trace: Path, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", str(trace), *arguments, "-p", str(pid)])
    while "TracerPid:\t0" in Path(f"/proc/{pid}/status").read_text():
        if tracer.poll() is not None:
            os.kill(pid, signal.SIGKILL)
            raise RuntimeError("strace could not attach")
        time.sleep(0.001)
    return tracer
