"""How long it takes to compile a dataset of a million images: issue 6, item 1.

    uv run python benchmarks/compile.py [--images 1000000 --rounds 3] [--postgres URL] [--out FILE]

A world is drawn like the one of the anchor (training.md, section 5): every image with a sighting, a place in the pool
and a split; three annotators answer a fifth of them, 9 % of the answers are revised. The clock runs from the open
catalog to a manifest on the disk: the query, caps, checks of the splits, the digest, the durable Parquet file. DuckDB
reads Parquet files of the same tables. All engines must give the same digest. What `collect snapshot` does besides (the
gates on agreement, leaks and shortcuts) is no part of it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from collector.catalog import Catalog, now, tables
from collector.catalog import compile as record
from collector.licenses import PRESETS
from collector.quality import Thresholds, keys_of_checks
from collector.splits import place
from pipelines import parquet
from pipelines.compile import Rules, compiled
from pipelines.manifest import UNIQUE, Manifest

CONCEPT, RULE = "horse", "sha256(0:horse:image), validation 0.2, test 0.1, calibration 0.1"
PEOPLE = ("ann", "bob", "cyd")
LICENSES = (("by", "4.0"), ("by-sa", "4.0"), ("cc0", "1.0"), ("by", "2.0"))
LABELS = (CONCEPT, "not-horse")
RULES = Rules(
    concept=CONCEPT,
    labels=LABELS,
    min_confidence=0.5,
    min_annotators=2,
    accepted=PRESETS["open"],
    flags={flag: (keys_of_checks()[flag], limit) for flag, limit in Thresholds().model_dump().items()},
    everywhere=20,
)
TARGET_S = 5.0
Rows = Iterator[dict[str, Any]]


def fill(catalog: Catalog, images: int, answered: int) -> dict[str, int]:
    """Write the world; table -> rows."""
    names = [hashlib.sha256(b"%d" % n).hexdigest() for n in range(images)]
    asked = random.Random(1).sample(range(images), answered)
    at = now()
    with catalog.write() as connection:
        connection.execute(
            sa.insert(tables.concept),
            {"name": CONCEPT, "labels": [CONCEPT, "not-horse"], "queries": {}, "synsets": {}, "exclude": [],
             "added_at": at},
        )  # fmt: skip
        connection.execute(sa.insert(tables.annotator), [{"name": n, "email": "", "added_at": at} for n in PEOPLE])
    parts: dict[sa.Table, Callable[[], Rows]] = {
        tables.image: lambda: _images(names, at),
        tables.sighting: lambda: _sightings(names, at),
        tables.pool: lambda: _pool(names, at),
        tables.split: lambda: _splits(names, at),
        tables.annotation: lambda: _annotations(names, asked, at),
        tables.consensus: lambda: _consensus(names, asked, at),
        tables.quality: lambda: _quality(names),
    }
    return {table.name: _insert(catalog, table, rows()) for table, rows in parts.items()}


def _insert(catalog: Catalog, table: sa.Table, rows: Rows) -> int:
    done, some = 0, []
    with catalog.write() as connection:
        for row in rows:
            some.append(row)
            if len(some) == 10_000:
                connection.execute(sa.insert(table), some)
                done, some = done + len(some), []
        if some:
            connection.execute(sa.insert(table), some)
    return done + len(some)


def _images(names: list[str], at: str) -> Rows:
    for n, name in enumerate(names):
        size = {"bytes": 40_000 + n % 90_000, "width": 640 + n % 900, "height": 480 + n % 700, "format": "JPEG"}
        yield {"id": name, **size, "mode": "RGB", "frames": 1, "orientation": 1, "added_at": at}


def _sightings(names: list[str], at: str) -> Rows:
    for n, name in enumerate(names):
        code, version = LICENSES[n % len(LICENSES)]
        yield {
            "image": name, "concept": CONCEPT, "label": CONCEPT if n % 2 else "not-horse", "source": f"site{n % 3}",
            "source_id": str(n), "url": f"https://images.example/{n}.jpg", "page": f"https://images.example/page/{n}",
            "title": f"Picture number {n}", "creator": f"somebody {n % 5000}", "creator_url": "", "license": code,
            "license_version": version, "license_url": f"https://creativecommons.org/licenses/{code}/{version}/",
            "license_jurisdiction": "", "license_evidence": f"license={code}", "query": "horse", "seen_at": at,
            "final_url": "", "facts": {}, "revision": 0, "state": "live", "checked_at": "",
        }  # fmt: skip


def _pool(names: list[str], at: str) -> Rows:
    for n, name in enumerate(names):
        kind = ("horse", "positive", "positive") if n % 2 else ("not-horse", "negative", "far")
        label, role, tier = kind
        yield {
            "concept": CONCEPT, "image": name, "label": label, "role": role, "tier": tier, "reason": "", "checks": {},
            "added_at": at,
        }  # fmt: skip


def _splits(names: list[str], at: str) -> Rows:
    for name in names:
        yield {"concept": CONCEPT, "image": name, "name": place(RULE, name), "rule": RULE, "frozen_at": at}


def _votes(n: int) -> list[str]:
    truth, other = ("horse", "not-horse") if n % 2 else ("not-horse", "horse")
    return [truth, truth, other if n % 5 == 0 else truth]


def _annotations(names: list[str], asked: list[int], at: str) -> Rows:
    number = 0
    for n in asked:
        for who, label in zip(PEOPLE, _votes(n), strict=True):
            number += 1
            given = {
                "concept": CONCEPT, "image": names[n], "annotator": who, "note": "", "seen_at": at, "state": "answered",
                "id": number, "task": None, "seconds": 2.5, "proposal": None, "proposal_kept": None,
                "studio_annotation": number, "studio_updated_at": at, "studio_updated_by": who, "guideline": None,
                "origin": None,
            }  # fmt: skip
            if number % 10:
                yield {**given, "label": label, "content": f"{number}", "supersedes": None}
            else:  # revised: two events
                yield {**given, "label": "horse", "content": f"{number}", "supersedes": None}
                number += 1
                yield {**given, "id": number, "label": label, "content": f"{number}", "supersedes": number - 1}


def _consensus(names: list[str], asked: list[int], at: str) -> Rows:
    for n in asked:
        said = _votes(n)
        votes = {label: said.count(label) for label in sorted(set(said))}
        label = max(votes, key=lambda each: votes[each])
        yield {
            "concept": CONCEPT, "image": names[n], "label": label, "confidence": votes[label] / 3,
            "method": "majority", "votes": votes, "settled_at": at,
        }  # fmt: skip


def _quality(names: list[str]) -> Rows:
    for n, name in enumerate(names):
        yield {"image": name, "check": "dark/1", "score": (n % 100) / 100, "details": {}}


def compile_once(reading: Callable[[], Any], folder: Path) -> tuple[str, int, tuple[float, float]]:
    """Digest, rows, seconds and seconds of all processors of one compile, to a file on the disk."""
    start, used = time.perf_counter(), time.process_time()
    with reading() as read:
        table, _ = compiled(read, RULES)
    manifest = Manifest(CONCEPT, LABELS, {}, table)
    digest = manifest.digest()
    parquet.save(folder / f"{digest[:16]}.parquet", table, unique=UNIQUE)  # as `write_manifest` does
    return digest, table.num_rows, (time.perf_counter() - start, time.process_time() - used)


def engines(
    catalog: Catalog, folder: Path, postgres: str | None, size: tuple[int, int]
) -> dict[str, Callable[[], Any]]:
    """Name -> how to read the same world."""
    found: dict[str, Callable[[], Any]] = {"SQLite": lambda: record.reading(catalog)}
    if find_spec("duckdb"):
        record.write_parquet(catalog, folder / "tables")
        found["DuckDB over Parquet"] = lambda: record.reading_parquet(folder / "tables")
    if postgres:
        server = Catalog.open(postgres)
        fill(server, *size)
        with server.write() as connection:
            connection.exec_driver_sql("analyze")
        found["PostgreSQL"] = lambda: record.reading(server)
    return found


def main() -> None:
    """Fill, compile, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--catalog", type=Path, help="a world that was made before, or where to keep this one")
    parser.add_argument("--postgres", help="URL of an empty database")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    size = given.images, given.images // 5
    with tempfile.TemporaryDirectory(prefix="collect-compile-") as name:
        folder = Path(name)
        path = given.catalog or folder / "catalog.sqlite"
        there = path.exists()
        catalog = Catalog.open(f"sqlite:///{path.resolve()}")
        if not there:
            print(f"filling {path}", file=sys.stderr)
            fill(catalog, *size)
        readers = engines(catalog, folder, given.postgres, size)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
        digests: set[tuple[str, int]] = set()
        for _ in range(given.rounds):  # in turns
            for name, reading in readers.items():
                digest, rows, seconds = compile_once(reading, folder)
                times[name].append(seconds)
                digests.add((digest, rows))
        catalog.close()
    text = report(size, times, digests)
    print(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")


def report(size: tuple[int, int], times: dict[str, list[tuple[float, float]]], digests: set[tuple[str, int]]) -> str:
    """The table."""
    events = sum(1 for _ in _annotations([""] * size[0], list(range(size[1])), ""))
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, Arrow {version('pyarrow')}"
    lines = [
        "# Compile a data set",
        "",
        f"{size[0]:,} images, {size[1]:,} of them labeled, {events:,} annotation events. From the open catalog to a",
        "durable manifest. The gates on agreement, leaks and shortcuts are no part of it.",
        "",
        "| engine | best s | all rounds, s (of all processors, s) | target |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {min(found)[0]:.2f} | {', '.join(f'{each:.2f} ({used:.2f})' for each, used in found)} | "
            + (f"{TARGET_S:g}: {'met' if min(found)[0] <= TARGET_S else 'missed'} |" if name == "SQLite" else "- |")
            for name, found in times.items()
        ),
        "",
        f"Rows: {next(iter(digests))[1]:,}. Digests: {'equal' if len(digests) == 1 else 'DIFFERENT'}.",
        "",
        f"{os.cpu_count()} cores ({platform.machine()}), load {os.getloadavg()[0]:.1f} at the end; {versions}.",
        "Command: `uv run python benchmarks/compile.py`.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
