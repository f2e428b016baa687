"""`benchmarks/copies.py --pool N`: the real `dedup` step over a catalog of N images, with known copies among them.

Sources and copies are pictures, taken in as a crawl does; the rest are rows with random fingerprints and no bytes. The
step runs in a process of its own: wall time, processor time and peak memory are those of reading the catalog,
searching, finding points, verifying, grouping and writing. A second run, with nothing new, is measured too. Recall is
the share of copies that end in the group of their source; a false pair is an image set aside for another's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from collector.catalog import images, pools
from collector.catalog.images import Arrival
from collector.dedup import dedup
from collector.fingerprints import DCT, PHASH, PIXELS, Fingerprint
from collector.intake import taking_in
from collector.records import Kept, License, Sighting
from collector.workspace import Workspace

LICENSE = License("by", "4.0")
EVERY = 5  # of the transforms one in so many is planted
ROWS = 5000  # written at once
RECORD = {
    "bytes": 1000, "width": 500, "height": 375, "format": "JPEG", "mode": "RGB", "frames": 1, "orientation": 1,
    "preview_pack": None, "preview_offset": None, "preview_bytes": None,
}  # fmt: skip


def plant(root: Path, pictures: Path, transforms: Sequence[str], number: int) -> dict[str, tuple[int, str]]:
    """Fill a new workspace; returns image -> (source, transform) of what is a picture."""
    (root / "config.toml").write_text("[intake]\nmin_side = 16\n", encoding="utf-8")
    truth: dict[str, tuple[int, str]] = {}
    with Workspace.open(root / "config.toml") as ws:
        ws.concept("horse", create=True)
        waiting = []
        with taking_in(ws) as intake:
            for i, name, path in _files(pictures, transforms):
                seen = Sighting("test", f"{i}-{name}", f"https://x/{i}/{len(waiting)}", LICENSE, "horse", "horse")
                waiting.append((i, name, intake.take(path.read_bytes(), seen)))
        for i, name, outcome in waiting:
            kept = outcome.result()
            assert isinstance(kept, Kept), kept
            truth.setdefault(kept.image, (i, name))
        strangers(ws, number - len(truth))
    return truth


def _files(pictures: Path, transforms: Sequence[str]) -> Iterator[tuple[int, str, Path]]:
    """(source, transform, file) of what is planted."""
    for source in sorted((pictures / "sources").iterdir()):
        i = int(source.stem)
        yield i, "source", source
        for t in range(i % EVERY, len(transforms), EVERY):
            yield i, transforms[t], pictures / "copies" / f"{i:03d}-{t:02d}.jpg"


def strangers(ws: Workspace, number: int) -> None:
    """So many rows with random fingerprints."""
    rng = np.random.default_rng(0)
    for start in range(0, number, ROWS):
        arrivals = []
        for k in range(start, min(number, start + ROWS)):
            image = rng.bytes(32).hex()
            prints = [
                Fingerprint(PIXELS, image, 1.0),
                Fingerprint(PHASH, rng.bytes(8).hex(), 1.0),
                Fingerprint(DCT, rng.bytes(32).hex(), 1.0),
            ]
            seen = Sighting("test", f"s{k}", f"https://y/{k}", LICENSE, "horse", "horse")
            arrivals.append(Arrival(seen, image, RECORD, prints))
        images.write(ws.catalog, arrivals)


def work(root: Path) -> None:
    """Run the step here; the figures go to stdout as JSON."""
    wall, cpu = time.perf_counter(), time.process_time()
    with Workspace.open(root / "config.toml") as ws:
        found = dedup(ws)
    figures = {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak": int(Path("/proc/self/status").read_text(encoding="ascii").partition("VmHWM:")[2].split()[0]) / 1024,
        "checked": found.checked,
        "thresholds": [found.threshold, found.threshold_dct],
    }
    print(json.dumps(figures))


def measure(pictures: Path, transforms: Sequence[str], number: int) -> list[str]:
    """Plant, run twice, and say what came of it."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        truth = plant(root, pictures, transforms, number)
        runs = []
        for _ in range(2):
            command = [sys.executable, __file__, str(root)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
            runs.append(json.loads(done.stdout.splitlines()[-1]))
        with Workspace.open(root / "config.toml") as ws:
            aside = {image: row.keeper for image, row in pools.duplicates(ws.catalog).items()}
    return [*_figures(number, len(truth), runs), *_recall(truth, aside)]


def _figures(number: int, planted: int, runs: Sequence[dict[str, float]]) -> list[str]:
    rows = [
        f"## Planted pool of {number:,}\n",
        f"{planted:,} pictures, {number - planted:,} random rows; thresholds {runs[0]['thresholds']} bits of 64 and "
        f"256; {runs[0]['checked']:.0f} pairs verified by geometry.\n",
        "| run | wall s | CPU s | peak MB |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, r in zip(("first", "again, nothing new"), runs, strict=True):
        rows.append(f"| {name} | {r['wall']:.1f} | {r['cpu']:.1f} | {r['peak']:,.0f} |")
    return rows


def _recall(truth: dict[str, tuple[int, str]], aside: dict[str, str]) -> list[str]:
    group = {image: aside.get(image, image) for image in truth}
    home = {i: group[image] for image, (i, name) in truth.items() if name == "source"}
    copies = {image: about for image, about in truth.items() if about[1] != "source"}
    found = {image for image, (i, _) in copies.items() if group[image] == home[i]}
    false = [image for image, keeper in aside.items() if truth.get(image, (-1,))[0] != truth.get(keeper, (-2,))[0]]
    missed = Counter(name for image, (_, name) in copies.items() if image not in found)
    return [
        "",
        f"Recall {len(found) / len(copies):.1%} ({len(found):,} of {len(copies):,} copies in their source's group), "
        f"{len(false)} false pairs.",
        "Missed: " + (", ".join(f"{name} ({n})" for name, n in missed.most_common()) or "none") + ".",
    ]


if __name__ == "__main__":
    work(Path(sys.argv[1]))
