"""How fast pictures are fetched, checked and stored here, beside img2dataset and icrawler: the targets of issue 3.

    uv run python benchmarks/crawl.py [--number 20000 --rounds 3] [--memory] [--faults] [--kill] [--first] [--all]
                                      [--folder DIR] [--out FILE]

A web server on loopback (loopback.py) serves distinct JPEGs of 20, 75 and 300 KB; each tool gets the same list of
addresses and an empty folder in memory, in turn, and is run as its users run it. A picture counts when its file lies
there at the end with the very bytes that were served. The peers run in environments of their own, made by `uv`.

    speed (the default)   without and with 50 ms of latency
    --memory              200,000 small pictures: resident memory while they come
    --faults              a server that misbehaves: what each tool stores of it, and what it should not have
    --kill                kill -9 in the middle, and the same command again: what is asked for twice
    --first               seconds from the start of the command to the first stored picture

Pictures, environments and lists stay in `--folder` for the next run; what the tools store does not.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from loopback import FAULTS, HOSTS, LATENCY_S, SIZES, ceiling, draw, fault_of, misbehaving, serving
from peers import python_with
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
PEERS = {"img2dataset": "1.47.0", "icrawler": "0.6.10"}
PAGE = os.sysconf("SC_PAGE_SIZE")
LONGEST_S = 1800
TINY = (96, 72)  # pixels of the small pictures of --memory
ICRAWLER = """
import logging, sys
from icrawler.builtin import UrlListCrawler
crawler = UrlListCrawler(
    downloader_threads=int(sys.argv[3]), storage={"root_dir": sys.argv[2]}, log_level=logging.CRITICAL
)
crawler.crawl(sys.argv[1], max_num=0, overwrite=True)
"""
CONFIG = """
[crawl]
concurrency = {at_once}
per_host = {per_host}
timeout = 10.0
allow_private_hosts = [{hosts}]
[sources.urls]
license = "cc0"
"""


# -- the tools ------------------------------------------------------------------------------------------------------


class Tool(NamedTuple):
    """One way to run one tool. `command` makes it from (list of addresses, empty folder, number of addresses)."""

    name: str
    how: str
    checks: str
    command: Callable[[Path, Path, int], list[str]]


def ours(processes: int, at_once: int = 64) -> Tool:
    """`collect crawl`, as a user calls it."""

    def command(urls: Path, out: Path, number: int) -> list[str]:
        out.mkdir(exist_ok=True)
        hosts = ", ".join(f'"{host}"' for host in HOSTS)
        config = CONFIG.format(at_once=at_once, per_host=at_once // len(HOSTS) * 2, hosts=hosts)
        (out / "config.toml").write_text(config, encoding="utf-8")
        crawl = [sys.executable, "-m", "pipelines.cli", "crawl", "pictures", "--source", "urls", "--urls", str(urls)]
        more = ["--limit", str(number), "--processes", str(processes), "--config", str(out / "config.toml"), "--json"]
        return crawl + more

    checks = "full decode, sha256, 4 fingerprints, preview, license row, robots.txt"
    return Tool("collect", f"{processes} processes, {at_once} at once", checks, command)


def img2dataset(python: Path, processes: int, threads: int, *, decode: bool = True) -> Tool:
    """img2dataset, with its full decode or without any look at the bytes."""
    checks = ["--skip_reencode", "True"] if decode else ["--disable_all_reencoding", "True"]

    def command(urls: Path, out: Path, number: int) -> list[str]:
        options = {
            "url_list": urls, "output_folder": out, "processes_count": processes, "thread_count": threads,
            "resize_mode": "no", "output_format": "files", "compute_hash": "sha256", "extract_exif": False,
            "enable_wandb": False, "timeout": 10, "retries": 2,
            "number_sample_per_shard": max(1, min(5000, number // (2 * processes))),
        }  # fmt: skip
        given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        return [str(python.with_name("img2dataset")), *given, *checks]

    what = "full decode, sha256" if decode else "sha256"
    return Tool(f"img2dataset {PEERS['img2dataset']}", f"{processes} processes, {threads} threads", what, command)


def icrawler(python: Path, threads: int) -> Tool:
    """icrawler's crawler of lists."""

    def command(urls: Path, out: Path, number: int) -> list[str]:
        return [str(python), "-c", ICRAWLER, str(urls), str(out), str(threads)]

    return Tool(f"icrawler {PEERS['icrawler']}", f"{threads} threads", "header", command)


def peer(name: str) -> Path:
    """The Python of an environment that holds a peer."""
    return python_with(name, f"{name}=={PEERS[name]}")


# -- one run --------------------------------------------------------------------------------------------------------


class Result(NamedTuple):
    """What one run did. Times in seconds, memory in bytes; `first` counts from the start of the command."""

    code: int
    wall: float
    first: float
    steady: float
    cpu: float
    peak: int
    stored: int
    valid: int
    duplicates: int
    memory: list[tuple[float, int]]


class Bench:
    """A folder to work in, the pictures, and who they are."""

    def __init__(self, folder: Path, root: Path, names: Sequence[str]) -> None:
        self.folder = folder
        self.root = root
        self.names = list(names)
        self.known = {_sha256(root / name) for name in names}

    def list_of(self, port: int, names: Iterable[str] | None = None) -> Path:
        """A file with the address of every picture, the hosts in turn."""
        path = self.folder / "urls.txt"
        chosen = self.names if names is None else list(names)
        addresses = (f"http://{HOSTS[n % len(HOSTS)]}:{port}/{name}" for n, name in enumerate(chosen))
        path.write_text("\n".join(addresses) + "\n", encoding="ascii")
        return path

    def run(self, tool: Tool, urls: Path, number: int, *, kill_at: int = 0, keep: bool = False) -> Result:
        """Run a tool to its end, or until it has stored `kill_at` files; `keep` leaves what it has stored."""
        out = self.folder / "out"
        environ = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1", "WANDB_MODE": "disabled"}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)  # nobody's Python compiles everything anew each time
        environ["PYTHONPYCACHEPREFIX"] = str(self.folder / "pycache")
        with (self.folder / "log.txt").open("wb") as log:
            began = time.time()
            process = subprocess.Popen(
                tool.command(urls, out, number), cwd=REPOSITORY, stdout=log, stderr=log, env=environ,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        memory = Sampler(process.pid)
        try:
            code, ended, cpu = self._wait(process, out, kill_at)
        finally:
            memory.stop()
            _end(process.pid)
        result = self._judge(out, code, began, ended, cpu, memory.samples)
        if not keep:
            shutil.rmtree(out, ignore_errors=True)
        return result

    def _wait(self, process: subprocess.Popen[bytes], out: Path, kill_at: int) -> tuple[int, float, float]:
        """(exit code, when it was over, seconds of processor that it and its children took)."""
        deadline = time.monotonic() + LONGEST_S
        while True:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                return process.returncode, time.time(), used.ru_utime + used.ru_stime
            if time.monotonic() > deadline or (kill_at and len(_stored(out)) >= kill_at):
                for each in family(process.pid):
                    with suppress(ProcessLookupError):
                        os.kill(each, signal.SIGKILL)
            time.sleep(0.02)

    def _judge(
        self, out: Path, code: int, began: float, ended: float, cpu: float, memory: list[tuple[float, int]]
    ) -> Result:
        files = _stored(out)
        times = sorted(file.stat().st_mtime for file in files)
        found = Counter(_sha256(file) for file in files)
        return Result(
            code=code,
            wall=ended - began,
            first=times[0] - began if times else float("nan"),
            steady=(len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0,
            cpu=cpu,
            peak=max((size for _, size in memory), default=0),
            stored=len(files),
            valid=sum(image in self.known for image in found),
            duplicates=sum(times - 1 for times in found.values()),
            memory=memory,
        )


class Sampler:
    """The resident memory of a process and all its descendants, five times a second."""

    def __init__(self, pid: int) -> None:
        self.samples: list[tuple[float, int]] = []
        self._began = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(pid,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._done.set()
        self._thread.join()

    def _watch(self, pid: int) -> None:
        while not self._done.wait(0.2):
            total = 0
            for each in family(pid):
                with suppress(OSError):
                    total += int(Path(f"/proc/{each}/statm").read_text().split()[1]) * PAGE
            self.samples.append((time.monotonic() - self._began, total))


def family(root: int) -> set[int]:
    """A process and its descendants, and whoever else is in their sessions."""
    parents: dict[int, tuple[int, int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError):
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(stat[1]), int(stat[3])
    wanted, sessions = {root}, {root}
    while True:
        more = {pid for pid, (parent, session) in parents.items() if parent in wanted or session in sessions} - wanted
        if not more:
            return wanted
        wanted |= more
        sessions |= {pid for pid in more if parents[pid][1] == pid}


def _end(pid: int) -> None:
    """Kill whatever of a family still lives."""
    for each in family(pid):
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def _stored(out: Path) -> list[Path]:
    """The pictures in a folder, whoever stored them."""
    objects = next(out.rglob("objects"), None) if (out / "config.toml").exists() else out
    if objects is None:
        return []
    return [
        file for file in objects.rglob("*")
        if file.is_file() and file.suffix in ("", ".jpg", ".jpeg") and not file.name.endswith(".tmp")
    ]  # fmt: skip


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# -- what is measured -----------------------------------------------------------------------------------------------


def speed(bench: Bench, rounds: int) -> str:
    """Rounds of all tools in turn, without and with latency; the peers in the best of their shapes."""
    number = len(bench.names)
    i2d, icr = peer("img2dataset"), peer("icrawler")
    kinds = {
        "collect": [ours(2), ours(1)],
        "full": [img2dataset(i2d, processes, threads) for processes in (1, 2) for threads in (16, 64)],
        "raw": [img2dataset(i2d, processes, threads, decode=False) for processes in (1, 2) for threads in (16, 64)],
        "icrawler": [icrawler(icr, threads) for threads in (16, 64)],
    }
    lines = []
    with serving(bench.root, bench.folder / "nginx") as served:
        for latency, port in ((0.0, served.fast), (LATENCY_S, served.slow)):
            bare = max(ceiling(port, bench.names[:6000], 64 if not latency else 512) for _ in range(2))
            tools = [*kinds["collect"], *(best(bench, kinds[kind], port) for kind in ("full", "raw", "icrawler"))]
            urls = bench.list_of(port)
            results: dict[Tool, list[Result]] = {tool: [] for tool in tools}
            for turn in range(rounds):
                for tool in tools if turn % 2 == 0 else reversed(tools):
                    results[tool].append(bench.run(tool, urls, number))
                    tell(tool, results[tool][-1])
            lines.append(f"{1000 * latency:.0f} ms of latency; one bare client gets {bare:,.0f} pictures a second.\n")
            lines.append(speed_table(results))
    return "\n".join(lines)


def best(bench: Bench, tools: Sequence[Tool], port: int) -> Tool:
    """The fastest of several shapes of a tool, by a run over a quarter of the pictures each."""
    names = bench.names[: max(300, len(bench.names) // 4)]
    urls = bench.list_of(port, names)
    results = {tool: bench.run(tool, urls, len(names)) for tool in tools}
    for tool, result in results.items():
        tell(tool, result, "tried: ")
    return max(tools, key=lambda tool: results[tool].steady)


def speed_table(results: dict[Tool, list[Result]]) -> str:
    """A row for each tool: median and range of its rounds."""
    rows = [
        "| tool | as | checks | steady img/s | wall s | CPU ms/img | first s | peak MB | stored | valid | exit |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for tool, runs in results.items():
        cells = [
            spread([run.steady for run in runs], "{:.0f}"),
            spread([run.wall for run in runs], "{:.1f}"),
            spread([1000 * run.cpu / max(1, run.valid) for run in runs], "{:.2f}"),
            spread([run.first for run in runs], "{:.1f}"),
            spread([run.peak / 1e6 for run in runs], "{:.0f}"),
            spread([run.stored for run in runs], "{:.0f}"),
            spread([run.valid for run in runs], "{:.0f}"),
            ", ".join(map(str, sorted({run.code for run in runs}))),
        ]
        rows.append(f"| {tool.name} | {tool.how} | {tool.checks} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def spread(values: Sequence[float], form: str) -> str:
    """Median and range."""
    low, middle, high = (form.format(value) for value in (min(values), statistics.median(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def first(bench: Bench, rounds: int) -> str:
    """How soon there is something to see."""
    names = bench.names[:200]
    rows = [
        "| tool | first of 200 pictures is stored after s | the command ends after s |",
        "| --- | ---: | ---: |",
    ]
    with serving(bench.root, bench.folder / "nginx") as served:
        for tool in (ours(1), ours(2)):
            runs = [bench.run(tool, bench.list_of(served.fast, names), len(names)) for _ in range(rounds)]
            times = spread([run.first for run in runs], "{:.2f}"), spread([run.wall for run in runs], "{:.2f}")
            rows.append(f"| {tool.name}, {tool.how} | {times[0]} | {times[1]} |")
    return "\n".join(rows) + "\n"


def memory(bench: Bench, number: int) -> str:
    """Resident memory of our processes while many small pictures come."""
    folder = bench.folder / "tiny"
    tiny = Bench(bench.folder, folder, draw_tiny(folder, number))
    with serving(folder, bench.folder / "nginx") as served:
        result = tiny.run(ours(2), tiny.list_of(served.fast), number)
    tell(ours(2), result)
    marks = [result.memory[min(len(result.memory) - 1, len(result.memory) * tenth // 10)] for tenth in range(1, 11)]
    rows = ["| after s | " + " | ".join(f"{at:.0f}" for at, _ in marks) + " |", "| --- |" + " ---: |" * len(marks)]
    rows.append("| MB, all processes | " + " | ".join(f"{size / 1e6:.0f}" for _, size in marks) + " |")
    told = f"{number:,} pictures of {TINY[0]} x {TINY[1]}: {result.valid:,} stored and valid, exit {result.code}, "
    return told + f"{result.steady:.0f} img/s, at most {result.peak / 1e6:.0f} MB.\n\n" + "\n".join(rows) + "\n"


def draw_tiny(folder: Path, number: int) -> list[str]:
    """Many small distinct pictures, 1,000 to a folder."""
    names = [f"{n // 1000:03}/{n:06}.jpg" for n in range(number)]
    for n, name in enumerate(names):
        path = folder / name
        if n % 1000 == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            noise = np.random.default_rng(n).integers(0, 256, (6, 8, 3), dtype=np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(noise).resize(TINY, Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=75)
            path.write_bytes(buffer.getvalue())
    return names


def faults(bench: Bench) -> str:
    """What each tool makes of a server that misbehaves."""
    names = bench.names[:2000]
    kinds = [fault_of(n) for n in range(len(names))]
    forbidden = {_sha256(bench.root / name) for name, kind in zip(names, kinds, strict=True) if kind == "opted-out"}
    expected = sum(kind in ("", "busy") for kind in kinds)
    rows = [
        f"| tool | stored | valid, of {expected} | stored twice | opted out, yet stored | broken | wall s | exit |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for tool in (
        ours(2), img2dataset(peer("img2dataset"), 2, 16), icrawler(peer("icrawler"), 16)
    ):  # fmt: skip
        with misbehaving(bench.root, bench.names) as port:
            result = bench.run(tool, bench.list_of(port, names), len(names), keep=True)
        found = [_sha256(file) for file in _stored(bench.folder / "out")]
        shutil.rmtree(bench.folder / "out", ignore_errors=True)
        wrong, broken = len(forbidden & set(found)), sum(image not in bench.known for image in found)
        rows.append(
            f"| {tool.name} | {result.stored} | {result.valid - wrong} | {result.duplicates} | {wrong} | {broken} "
            f"| {result.wall:.0f} | {result.code} |"
        )
    told = ", ".join(f"{share} % {kind}" for kind, share in FAULTS.items())
    return f"{len(names)} addresses: {told}.\n\n" + "\n".join(rows) + "\n"


def kill(bench: Bench) -> str:
    """kill -9 when half is stored, and the same command again."""
    names = bench.names[: min(len(bench.names), 4000)]
    half = len(names) // 2
    rows = [
        "| tool | stored at the kill | then asked for | of these stored before | stored in the end | valid |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for tool in (
        ours(2), img2dataset(peer("img2dataset"), 2, 16), icrawler(peer("icrawler"), 16)
    ):  # fmt: skip
        with serving(bench.root, bench.folder / "nginx", log=True) as served:
            urls = bench.list_of(served.fast, names)
            bench.run(tool, urls, len(names), kill_at=half, keep=True)
            there = {_sha256(file) for file in _stored(bench.folder / "out")}
            stored = {f"/{name}" for name in names if _sha256(bench.root / name) in there}
            served.log.write_text("")
            result = bench.run(tool, urls, len(names))
            asked = [line.split()[2] for line in served.log.read_text().splitlines()]
        pictures = [path for path in asked if path.endswith(".jpg")]
        twice = sum(path in stored for path in pictures)
        ended = f"{result.stored} | {result.valid} of {len(names)}"
        rows.append(f"| {tool.name} | {len(stored)} | {len(pictures)} | {twice} | {ended} |")
    return "\n".join(rows) + "\n"


def tell(tool: Tool, result: Result, before: str = "") -> None:
    """One line on stderr as it goes."""
    print(
        f"{before}{tool.name}, {tool.how}, {tool.checks.partition(',')[0]}: {result.steady:.0f} img/s, "
        f"{result.wall:.1f} s, first {result.first:.1f} s, {1000 * result.cpu / max(1, result.valid):.2f} ms/img, "
        f"{result.peak / 1e6:.0f} MB, {result.valid} valid of {result.stored}, exit {result.code}",
        file=sys.stderr, flush=True,
    )  # fmt: skip


def main() -> None:
    """Measure what was asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=20_000)
    parser.add_argument("--many", type=int, default=200_000, help="pictures of --memory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=roomy())
    parser.add_argument("--out", type=Path)
    for mode in ("speed", "memory", "faults", "kill", "first", "all"):
        parser.add_argument(f"--{mode}", action="store_true")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    wanted = [mode for mode in ("speed", "first", "memory", "faults", "kill") if getattr(chosen, mode) or chosen.all]
    folder: Path = chosen.folder
    bench = Bench(folder, folder / "pictures", draw(folder / "pictures", chosen.number))
    shutil.rmtree(folder / "out", ignore_errors=True)
    parts = [header()]
    for mode in wanted or ["speed"]:
        parts.append(f"## {mode.capitalize()}\n")
        if mode == "speed":
            parts.append(speed(bench, chosen.rounds))
        elif mode == "first":
            parts.append(first(bench, max(3, chosen.rounds)))
        elif mode == "memory":
            parts.append(memory(bench, chosen.many))
        elif mode == "faults":
            parts.append(faults(bench))
        else:
            parts.append(kill(bench))
    text = "\n".join(parts)
    print(text)
    if chosen.out:
        chosen.out.write_text(text, encoding="utf-8")


def roomy() -> Path:
    """A folder in memory, where the disk is nobody's bottleneck, if there is room for all pictures twice."""
    shared = Path("/dev/shm")
    room = shared.is_dir() and shutil.disk_usage(shared).free > 8e9
    return (shared if room else Path(tempfile.gettempdir())) / "collect-benchmark"


def header() -> str:
    """The machine, the versions, the command, and what the pictures are."""
    ours = ", ".join(f"{name} {version(name)}" for name in ("scrapy", "aiohttp", "pillow", "sqlalchemy"))
    sizes = ", ".join(f"{size // 1000} KB ({width} x {height})" for width, height, size in SIZES)
    return (
        "# The crawl beside its peers\n\n"
        f"Machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {ours}; "
        f"{', '.join(f'{name} {wanted}' for name, wanted in PEERS.items())} on Python 3.11. "
        "The server, nginx, runs on the same cores.\n\n"
        f"Pictures: distinct JPEGs of {sizes}, a third each, on {len(HOSTS)} hosts of loopback. Valid: stored with the "
        "bytes that were served. Steady: from the first to the last stored file. CPU and memory are those of all "
        "processes of the tool; shared pages count once for each process.\n\n"
        f"Command: `uv run python benchmarks/crawl.py {' '.join(sys.argv[1:])}`\n"
    )


if __name__ == "__main__":
    main()
