"""How fast a snapshot is exported and verified here, and what memory it takes.

    uv run python benchmarks/export.py [--pictures DIR --number 1000 --rounds 3] [--rows 20000] [--out FILE]

Real pictures (default: ../shared/data/imagen, else scikit-image's) are put into a store, and a manifest of them is
exported in each format: as it is, and with its shorter side at 256 pixels. Beside it: a loop of Pillow that does the
same resize in one thread, and `sha256sum` over the same originals for `collect verify`. Rounds take turns, the best
counts. `--rows` exports so many and ten times as many tiny pictures in processes of their own, for the memory.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
from PIL import Image

from collector.catalog import models, now
from collector.catalog.models import SnapshotRow
from collector.workspace import Workspace
from pipelines.export import FORMATS, export
from pipelines.export.records import Options
from pipelines.manifest import Manifest, ManifestRow, schema, write_manifest
from pipelines.verify import verify_export, verify_snapshot

REPOSITORY = Path(__file__).resolve().parents[1]
SIDE = 256


LIKE = ManifestRow(
    image="",
    split="",
    label="",
    confidence=1.0,
    method="majority",
    votes='{"horse": 2}',
    annotators=2,
    group="",
    role="positive",
    tier="positive",
    source="made",
    source_id="",
    url="https://x.example/picture.jpg",
    page="https://x.example/page",
    title="A picture",
    creator="Somebody",
    creator_url="https://x.example/who",
    license="by",
    license_version="4.0",
    license_url="https://creativecommons.org/licenses/by/4.0/",
    license_evidence="-",
)


def pictures(folder: Path | None, number: int) -> list[bytes]:
    """Bytes of pictures of a folder, or of scikit-image's own."""
    folder = folder or REPOSITORY.parent / "shared" / "data" / "imagen"
    if not folder.is_dir():
        import skimage

        folder = Path(skimage.__file__).parent / "data"
    paths = [each for each in sorted(folder.rglob("*")) if each.suffix.lower() in (".jpg", ".jpeg", ".png")]
    return [path.read_bytes() for path in paths[:number]]


def frozen(ws: Workspace, files: list[bytes]) -> None:
    """Put the files into the store, and a snapshot of them into the catalog."""
    ws.concept("horse", create=True)
    labels = ("horse", "not-horse")
    rows = []
    for data in files:
        image = sha256(data).hexdigest()
        split = ("train", "train", "train", "validation")[int(image[:2], 16) % 4]
        rows.append(LIKE._replace(image=image, group=image, split=split, label=labels[int(image[2:4], 16) % 2]))
    for start in range(0, len(files), 500):
        ws.store.put_all({sha256(data).hexdigest(): data for data in files[start : start + 500]})
    unique = sorted(set(rows))
    columns = {name: list(values) for name, values in zip(ManifestRow._fields, zip(*unique, strict=True), strict=True)}
    manifest = Manifest("horse", labels, {}, pa.table(columns, schema=schema()))
    digest = manifest.digest()
    path = f"snapshots/{digest[:16]}.parquet"
    write_manifest(ws, manifest, path)
    models.put_snapshot(ws.catalog, SnapshotRow(digest, "horse", path, {}, manifest.counts(), now()))


def opened(folder: Path, files: list[bytes]) -> Workspace:
    """A workspace in `folder` with a snapshot of the files."""
    folder.mkdir()
    (folder / "config.toml").write_text("", encoding="utf-8")
    ws = Workspace.open(folder / "config.toml", environ={})
    frozen(ws, files)
    return ws


def by_pillow(files: list[bytes], folder: Path) -> None:
    """What a person writes: open, turn into RGB, resize, save."""
    folder.mkdir()
    for n, data in enumerate(files):
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        scale = SIDE / min(picture.size)
        if scale < 1:
            size = (round(picture.width * scale), round(picture.height * scale))
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        picture.save(folder / f"{n}.jpg", quality=95, subsampling=0)


def timed(work: Callable[[Path], object], top: Path) -> float:
    """Seconds of `work` on a fresh folder."""
    folder = top / "timed"
    begin = time.perf_counter()
    work(folder)
    taken = time.perf_counter() - begin
    shutil.rmtree(folder, ignore_errors=True)
    return taken


def speed(ws: Workspace, files: list[bytes], top: Path, rounds: int) -> list[str]:
    """The lines of the table of times."""
    work: dict[str, Callable[[Path], object]] = {}
    for form in FORMATS:
        work[f"{form}, as it is"] = lambda to, form=form: export(ws, to, Options(form, ()))
        work[f"{form}, --resize {SIDE}"] = lambda to, form=form: export(ws, to, Options(form, (), resize=SIDE))
    work[f"a loop of Pillow, {SIDE} pixels"] = lambda to: by_pillow(files, to)
    kept = top / "kept"
    export(ws, kept, Options("imagefolder", ()))
    work["verify the snapshot"] = lambda to: verify_snapshot(ws)
    work["verify an export"] = lambda to: verify_export(kept)
    objects = [ws.store.path(sha256(data).hexdigest()) for data in files]
    work["sha256sum of the originals"] = lambda to: subprocess.run(["sha256sum", *objects], stdout=subprocess.DEVNULL)
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, each in work.items():
            best[name] = min(best.get(name, float("inf")), timed(each, top))
    size = sum(map(len, files)) / 1e6
    lines = ["| work | s | img/s | MB/s of originals |", "| --- | --- | --- | --- |"]
    return lines + [f"| {name} | {s:.2f} | {len(files) / s:.0f} | {size / s:.0f} |" for name, s in best.items()]


def tiny(n: int) -> bytes:
    """A picture of a few bytes; each is different."""
    buffer = io.BytesIO()
    Image.frombytes("RGB", (4, 4), n.to_bytes(48, "little")).save(buffer, "PNG")
    return buffer.getvalue()


def memory(rows: int, form: str) -> None:
    """Export `rows` tiny pictures in this process, and print what it held at most, before and after, in MB."""
    with tempfile.TemporaryDirectory(prefix="collect-export-") as name:
        with opened(Path(name) / "ws", [tiny(n) for n in range(rows)]):
            pass
        code = (
            "import sys; from pathlib import Path; from collector.workspace import Workspace;"
            "from pipelines.export import export; from pipelines.export.records import Options;"
            "peak = lambda: int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) / 1024;"
            "ws = Workspace.open(sys.argv[1], environ={}); before = peak();"
            "export(ws, sys.argv[2], Options(sys.argv[3], ())); print(before, peak())"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, f"{name}/ws/config.toml", f"{name}/out", form],
            cwd=REPOSITORY, capture_output=True, text=True, check=True,
        )  # fmt: skip
        print(json.dumps([float(each) for each in done.stdout.split()]))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.memory:
        memory(given.memory, "webdataset")
        return
    files = pictures(given.pictures, given.number)
    load = os.getloadavg()[0]
    lines = [
        "# Exports\n",
        f"Machine: {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; load {load:.1f} at"
        " the beginning (other work ran beside).\n",
        f"{len(files)} pictures, {sum(map(len, files)) / 1e6:.0f} MB; best of {given.rounds} rounds.\n",
    ]
    with tempfile.TemporaryDirectory(prefix="collect-export-") as name, opened(Path(name) / "ws", files) as ws:
        lines += speed(ws, files, Path(name), given.rounds)
    if given.rows:
        lines += ["\n| tiny pictures | MB before | MB at most |", "| --- | --- | --- |"]
        for rows in (given.rows, 10 * given.rows):
            command = [sys.executable, __file__, "--memory", str(rows)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            before, most = json.loads(done.stdout)
            lines.append(f"| {rows} | {before:.0f} | {most:.0f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
