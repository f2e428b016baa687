"""Exact search for near hashes, beside faiss, imagededup and imagehash: the targets of issue 4.

    uv run python benchmarks/dedup.py [--rounds 3] [--number 10000 100000] [--million] [--out FILE]

All pairs of hashes within a radius. Every tool runs alone in a process with one thread, with its index built in the
measured time; hashes are read before it. CPU seconds, because other programs stretch wall time. The pairs of every tool
are compared with ours. What would take hours is run for some hashes only, and multiplied: such rows say so.

    planted    even random bits; a fifth are copies of others with 0 to radius bits changed
    crowded    neighboring bits alike, a fifth of 50 kinds that share 24 bits of each word; then a fifth are copies

`--million` adds n = 1,000,000, and the wide radius at 100,000.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from peers import python_with

REPOSITORY = Path(__file__).resolve().parents[1]
PEERS = {"faiss-cpu": "1.15.1", "imagededup": "0.3.3.post2", "imagehash": "4.3.2"}
CASES = ((64, 10, "planted"), (256, 31, "planted"), (64, 10, "crowded"), (256, 31, "crowded"), (256, 75, "planted"))
TARGETS = {(64, 10, 100_000): "1.0 s", (64, 10, 1_000_000): "40 s, 1.5 GB", (256, 31, 100_000): "2 s"}
Hashes = NDArray[np.uint64]
Keys = NDArray[np.int64]  # first * n + second, sorted


# -- the tools, each in its own process -------------------------------------------------------------------------------


def ours(hashes: Hashes, radius: int, _asked: int) -> Keys:
    """`collector.dedup.hamming.near_pairs`."""
    from collector.dedup.hamming import near_pairs

    pairs = near_pairs(hashes, radius)
    return pairs.first * len(hashes) + pairs.second


def flat(hashes: Hashes, radius: int, asked: int) -> Keys:
    """faiss IndexBinaryFlat."""
    import faiss

    return _faiss(faiss.IndexBinaryFlat(64 * hashes.shape[1]), hashes, radius, asked)


def multihash(hashes: Hashes, radius: int, asked: int) -> Keys:
    """faiss IndexBinaryMultiHash with 16-bit chunks, flipping as many bits as exactness needs."""
    import faiss

    chunks = 4 * hashes.shape[1]
    index = faiss.IndexBinaryMultiHash(64 * hashes.shape[1], chunks, 16)
    index.nflip = radius // chunks
    return _faiss(index, hashes, radius, asked)


def _faiss(index: object, hashes: Hashes, radius: int, asked: int) -> Keys:
    data = hashes.view(np.uint8)
    index.add(data)  # type: ignore[attr-defined]
    found: list[Keys] = [np.empty(0, np.int64)]
    for begin in range(0, asked, 20_000):
        queries = data[begin : min(begin + 20_000, asked)]
        limits, _, near = index.range_search(queries, radius + 1)  # type: ignore[attr-defined]
        found.append(
            _keys(begin + np.repeat(np.arange(len(queries)), np.diff(limits.astype(np.int64))), near, len(data))
        )
    return np.sort(np.concatenate(found))


def cython(hashes: Hashes, radius: int, asked: int) -> Keys:
    """imagededup's default search."""
    from imagededup.handlers.search.brute_force_cython import BruteForceCython

    return _imagededup(BruteForceCython, hashes, radius, asked)


def bktree(hashes: Hashes, radius: int, asked: int) -> Keys:
    """imagededup's BKTree."""
    from imagededup.handlers.search.bktree import BKTree

    return _imagededup(BKTree, hashes, radius, asked)


def _imagededup(kind: Callable[..., object], hashes: Hashes, radius: int, asked: int) -> Keys:
    from imagededup.methods import PHash

    encoded = {str(i): f"{value:016x}" for i, value in enumerate(hashes[:, 0].tolist())}
    tree = kind(encoded, PHash.hamming_distance)
    found = [[int(name) for name, _ in tree.search(encoded[str(i)], radius)] for i in range(asked)]  # type: ignore[attr-defined]
    first = np.repeat(np.arange(asked), np.array([len(each) for each in found], dtype=np.int64))
    return np.sort(_keys(first, np.array([j for each in found for j in each], dtype=np.int64), len(hashes)))


def objects(hashes: Hashes, radius: int, asked: int) -> Keys:
    """imagehash: its own objects, each against each."""
    from imagehash import ImageHash

    bits = np.unpackbits(hashes.view(np.uint8), axis=1).astype(bool)
    made = [ImageHash(row.reshape(8, -1)) for row in bits]
    keys = [i * len(made) + j for i in range(asked) for j in range(i + 1, len(made)) if made[i] - made[j] <= radius]
    return np.array(keys, dtype=np.int64)


def _keys(first: Keys, second: Keys, n: int) -> Keys:
    kept = first < second
    return np.asarray(first[kept] * n + second[kept])


class Tool(NamedTuple):
    """A search, the environment that it needs, and for how many hashes it is run before it is multiplied."""

    name: str
    search: Callable[[Hashes, int, int], Keys]
    packages: tuple[str, ...]
    words: tuple[int, ...] = (1, 4)
    asked: int = 10**9
    most: int = 10**9


TOOLS = {
    "ours": Tool("collect", ours, ()),
    "flat": Tool("faiss Flat", flat, ("faiss-cpu", "numpy"), most=100_000),
    "some": Tool("faiss Flat", flat, ("faiss-cpu", "numpy"), asked=20_000),
    "multihash": Tool("faiss MultiHash", multihash, ("faiss-cpu", "numpy"), most=100_000),
    "cython": Tool("imagededup BruteForceCython", cython, ("imagededup",), (1,), asked=40, most=100_000),
    "bktree": Tool("imagededup BKTree", bktree, ("imagededup",), (1,), asked=40, most=10_000),
    "objects": Tool("imagehash, each against each", objects, ("imagehash",), (1,), asked=2, most=100_000),
}


def work(tool: str, data: Path, radius: int, asked: int, answer: Path) -> None:
    """Search in this process; the figures go to stdout as JSON, the pairs to a file."""
    hashes = np.load(data)
    search = TOOLS[tool].search
    search(hashes[:64].copy(), radius, min(asked, 2))  # imports and first calls are not the search
    fixed = timed(lambda: search(hashes, radius, 0)) if asked < len(hashes) else (0.0, 0.0)  # what no query repeats
    keys: Keys = np.empty(0, np.int64)

    def once() -> None:
        nonlocal keys
        keys = search(hashes, radius, asked)

    cpu, wall = timed(once)
    np.save(answer, keys)
    status = Path("/proc/self/status").read_text(encoding="ascii")  # ru_maxrss would hold that of the parent as well
    peak = int(status.partition("VmHWM:")[2].split()[0])
    part = asked / len(hashes)
    if tool == "objects":
        part = 1 - (1 - part) ** 2  # it compares a hash with those that follow only
    whole = [before + (all_ - before) / part for before, all_ in zip(fixed, (cpu, wall), strict=True)]
    print(json.dumps({"cpu": whole[0], "wall": whole[1], "peak": peak / 1024}))


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds of processor and of wall time."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


# -- the comparison ---------------------------------------------------------------------------------------------------


def draw(n: int, bits: int, radius: int, kind: str) -> Hashes:
    """(n, words) hashes; see the head of this file."""
    rng = np.random.default_rng(n + bits)
    hashes = rng.integers(0, 2**64, (n, bits // 64), dtype=np.uint64)
    if kind == "crowded":
        alike = rng.random((n, bits)) < 0.62  # each bit is likely that of its neighbor
        flips = np.bitwise_xor.accumulate(~alike, axis=1)
        hashes = np.packbits(flips, axis=1).view(np.uint64)
        members = rng.permutation(n)[: n // 5]
        kinds = rng.integers(0, 2**24, (50, bits // 64), dtype=np.uint64)
        hashes[members] = (hashes[members] & ~np.uint64(2**24 - 1)) | kinds[rng.integers(0, 50, len(members))]
    copies = np.arange(n - n // 5, n)
    hashes[copies] = hashes[rng.integers(0, n - n // 5, len(copies))]
    changes = rng.integers(0, radius + 1, len(copies))
    for change in range(radius):
        some = copies[changes > change]
        bit = rng.integers(0, bits, len(some))
        hashes[some, bit // 64] ^= np.uint64(1) << (bit % 64).astype(np.uint64)
    return np.ascontiguousarray(hashes[rng.permutation(n)])


class Row(NamedTuple):
    """What one tool needed for one set; seconds and MB, the seconds multiplied up where not all hashes were asked."""

    tool: Tool
    cpu: list[float]
    wall: list[float]
    peak: float
    pairs: int
    asked: int
    equal: bool


def compare(n: int, case: tuple[int, int, str], names: Iterable[str], rounds: int, folder: Path) -> list[Row]:
    """All tools on one set, ours first."""
    bits, radius, kind = case
    data = folder / "hashes.npy"
    np.save(data, draw(n, bits, radius, kind))
    rows: list[Row] = []
    truth: Keys = np.empty(0, np.int64)
    for name in names:
        tool = TOOLS[name]
        if n > tool.most or bits // 64 not in tool.words:
            continue
        asked = min(tool.asked, n)
        runs = [run(name, data, radius, asked, folder / "answer.npy") for _ in range(rounds if asked == n else 1)]
        keys = np.load(folder / "answer.npy")
        truth = keys if name == "ours" else truth
        rows.append(
            Row(
                tool=tool,
                cpu=[each["cpu"] for each in runs],
                wall=[each["wall"] for each in runs],
                peak=max(each["peak"] for each in runs),
                pairs=len(keys),
                asked=asked,
                equal=np.array_equal(keys, truth[truth // n < asked]),
            )
        )
        print(line(n, case, rows[-1]), file=sys.stderr, flush=True)
    return rows


def run(name: str, data: Path, radius: int, asked: int, answer: Path) -> dict[str, float]:
    """One search in a process of its own, with one thread."""
    packages = TOOLS[name].packages
    python, environ = Path(sys.executable), {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    if packages:
        wanted = [f"{package}=={PEERS[package]}" if package in PEERS else package for package in packages]
        python, environ = python_with(packages[0], *wanted), dict(os.environ)
    environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [str(python), __file__, "--work", name, str(data), str(radius), str(asked), str(answer)]
    done = subprocess.run(command, env=environ, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def line(n: int, case: tuple[int, int, str], row: Row) -> str:
    """A row of the table."""
    bits, radius, kind = case
    cells = [
        f"{bits} within {radius}", kind, f"{n:,}", row.tool.name, spread(row.cpu), spread(row.wall), f"{row.peak:,.0f}",
        f"{row.pairs:,}" if row.asked == n else f"{row.pairs:,} of {row.asked:,} hashes, time multiplied",
        "yes" if row.equal else "NO",
        TARGETS.get((bits, radius, n), "") if row.tool.name == "collect" else "",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def spread(values: list[float]) -> str:
    """Median, and the range if there is one, with three digits."""
    low, middle, high = (f"{value:.3g}" if value < 1000 else f"{value:,.0f}" for value in (
        min(values), statistics.median(values), max(values)
    ))  # fmt: skip
    return middle if low == high else f"{middle} ({low} to {high})"


def growth(times: dict[tuple[int, int, str], dict[int, float]]) -> str:
    """How our time grows with n, by case."""
    rows = ["| bits, radius | hashes | from n | to n | time grows as n to the |", "| --- | --- | ---: | ---: | ---: |"]
    for (bits, radius, kind), by_n in times.items():
        sizes = sorted(by_n)
        for small, large in pairwise(sizes):
            power = math.log(by_n[large] / by_n[small]) / math.log(large / small)
            rows.append(f"| {bits} within {radius} | {kind} | {small:,} | {large:,} | {power:.2f} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        tool, data, radius, asked, answer = chosen.work
        work(tool, Path(data), int(radius), int(asked), Path(answer))
        return
    rows = [
        "| bits, radius | hashes | n | tool | CPU s | wall s | peak MB | pairs | same as ours | target |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    times: dict[tuple[int, int, str], dict[int, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for case in CASES:
            wide, crowded = case[1] > 31, case[2] == "crowded"
            for n in [*chosen.number, *([1_000_000] if chosen.million else [])]:
                if wide and n > (100_000 if chosen.million else 10_000):
                    continue
                names = ["ours", "flat"] if wide or crowded else [name for name in TOOLS if name != "some"]
                names = ["ours", "some"] if n > 100_000 else names
                found = compare(n, case, names, chosen.rounds if n <= 100_000 else 1, Path(scratch))
                times.setdefault(case, {})[n] = statistics.median(found[0].cpu)
                rows += [line(n, case, row) for row in found]
    text = "\n".join([header(), *rows, "", "## Growth of our time", "", growth(times)])
    print(text)
    if chosen.out:
        chosen.out.write_text(text, encoding="utf-8")


def header() -> str:
    """The machine, the versions, the command."""
    busy = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return (
        "# Exact search for near hashes, beside its peers\n\n"
        f"Machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, numpy "
        f"{version('numpy')}; {', '.join(f'{name} {wanted}' for name, wanted in PEERS.items())} on Python 3.11. One "
        f"thread each. Load at the end: {busy}.\n\n"
        f"Command: `uv run python benchmarks/dedup.py {' '.join(sys.argv[1:])}`\n\n"
        "Peak memory is that of the whole process, with Python, its libraries and the hashes.\n"
    )


if __name__ == "__main__":
    main()
