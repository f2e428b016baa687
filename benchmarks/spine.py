"""How long the whole loop takes on this machine, and how much memory: the targets of issue 1.

    uv run python benchmarks/spine.py [--pictures DIR --negatives DIR --weights FILE] [--out FILE]

Runs `collect demo` from scratch, again in the same folder, and `collect --help`, as whole processes; prints a table
with the machine and the versions. Peak memory is the sum of resident sizes over the process and all its children
(Label Studio included), sampled five times a second; shared pages count once for each process, so it is an upper bound.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

COLLECT = [sys.executable, "-m", "pipelines.cli"]
PAGE = os.sysconf("SC_PAGE_SIZE")


class Measured(NamedTuple):
    """One process: wall time in seconds, peak resident memory in bytes, what it printed."""

    seconds: float
    peak: int
    stdout: str


def run(command: list[str]) -> Measured:
    """Run a command to its end; raises CalledProcessError when it fails."""
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.2):
            peak = max(peak, family(process.pid, os.getpid()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    stdout, _ = process.communicate()
    done.set()
    watcher.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Measured(time.monotonic() - begun, peak, stdout)


def family(root: int, me: int) -> int:
    """Resident bytes of `root`, its descendants, and of servers it has started in sessions of their own since."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    wanted, grew = {root}, True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in wanted} - wanted
        grew = bool(more)
        wanted |= more
    total = 0
    for pid in parents:
        try:
            detached = pid not in wanted and b"label-studio" in Path(f"/proc/{pid}/cmdline").read_bytes()
            if (pid in wanted or detached) and pid != me:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
        except OSError:
            continue
    return total


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("pictures", "negatives", "weights", "out"):
        parser.add_argument(f"--{name}", type=Path)
    chosen = parser.parse_args()
    given = {name: getattr(chosen, name) for name in ("pictures", "negatives", "weights")}
    real = [f"--{name}={path}" for name, path in given.items() if path]
    help_ = min(run([*COLLECT, "--help"]).seconds for _ in range(7))
    rows = [f"| `collect --help` | {help_:.2f} s (best of 7) | | target 0.3 s |"]
    with tempfile.TemporaryDirectory() as scratch:
        demo = [*COLLECT, "demo", "--json", "--folder", scratch, *real]
        for name, target in (("`collect demo` from scratch", "90 s, 3 GB"), ("the same again", "")):
            measured = run(demo)
            figures = json.loads(measured.stdout)
            trained = figures["train-baseline"]
            ap = f"AP {trained['ap']:.3f} ({trained['ap_low']:.3f} to {trained['ap_high']:.3f})"
            peak = f"{measured.peak / 1e9:.2f} GB"
            rows.append(f"| {name} | {measured.seconds:.1f} s | {peak} | {ap}; target {target or '-'} |")
    header = (
        f"Machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"{', '.join(f'{name} {version(name)}' for name in ('scrapy', 'torch', 'sqlalchemy', 'pillow'))}.\n\n"
        f"Command: `uv run python benchmarks/spine.py {' '.join(f'--{name} ...' for name in given if real)}`\n\n"
        "| what | wall time | peak memory, all processes | |\n| --- | --- | --- | --- |\n"
    )
    table = header + "\n".join(rows) + "\n"
    print(table)
    if chosen.out:
        chosen.out.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
