"""Peak memory of `collect prelabel` over many images: issue 6, "memory flat in the number of images".

    uv run python benchmarks/prelabel_memory.py [--rows 1000000] [--out FILE]

The images are rows of a catalog and their features are cached, so nothing is decoded; it ends where Label Studio would
be told. Linux only: the peak is read from /proc.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from collector.catalog import models
from collector.catalog.models import Experiment, SnapshotRow
from collector.errors import ServiceDown
from collector.workspace import Workspace
from pipelines import features
from pipelines.backbones import load_backbone
from pipelines.predict import HEAD, Head
from pipelines.prelabel import prelabel

NETWORK = "squeezenet1_1"


def main() -> None:
    """Make the images, predict in a process that has not imported PyTorch, print two lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--measured", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measured:
        print(json.dumps(measured(asked.measured)))
        return
    with tempfile.TemporaryDirectory(prefix="collect-prelabel-") as name:
        lines = memory(Path(name), asked.rows)
    print("\n".join(lines))
    if asked.out:
        asked.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def memory(scene: Path, rows: int) -> list[str]:
    """Peak memory of `collect prelabel` over `rows` images whose features are cached, in a fresh process."""
    import torch
    import torchvision
    from pyarrow import FixedSizeListArray, array, table
    from pyarrow import parquet as pq

    torch.manual_seed(0)
    network = NETWORK
    weights = scene / f"{network}.pth"
    torch.save(torchvision.models.get_model(network, weights=None).state_dict(), weights)
    (scene / "ws").mkdir()
    (scene / "ws" / "config.toml").touch()
    backbone = load_backbone(network, weights)
    rng = np.random.default_rng(0)
    with Workspace.open(scene / "ws" / "config.toml", environ={}) as ws:
        ws.concept("things", create=True)
        folder = features.folder_of(ws, backbone)
        folder.mkdir(parents=True)
        for start in range(0, rows, 8192):
            names = [hashlib.sha256(str(k).encode()).hexdigest() for k in range(start, min(start + 8192, rows))]
            insert(ws, names)
            vectors = rng.random((len(names), backbone.dimension), dtype=np.float32).astype(np.float16)
            column = FixedSizeListArray.from_arrays(array(vectors.ravel()), backbone.dimension)
            pq.write_table(
                table({"image": names, "vector": column}), folder / f"{start:08}.parquet", compression="zstd"
            )
        models.put_snapshot(ws.catalog, SnapshotRow("0" * 64, "things", "", {}, {}, ""))
        config = {"backbone": network, "weights": str(weights), "weights_digest": backbone.weights_digest}
        run_ = Experiment("0123456789abcdef", "things", "0" * 64, "running", config, None, "runs/made", "", None)
        models.start_experiment(ws.catalog, run_)
        models.finish_experiment(ws.catalog, run_.run, {})
        Head(
            ("things", "not-things"), rng.normal(size=(2, 512)) / 9, np.zeros(2), np.full(512, 0.5), np.ones(512)
        ).save(ws.data / "runs" / "made" / HEAD)
    command = [sys.executable, __file__, "--measured", str(scene / "ws")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    verdict = "met" if found["peak_gb"] < 2 else "missed"
    return [
        f"{found['rows']} rows from cached features of {backbone.dimension} values in {found['seconds']:.0f} s: "
        f"peak memory {found['peak_gb']:.2f} GB (target 2 GB: {verdict}),",
        f"of which {found['start_gb']:.2f} GB before it began; "
        f"PyTorch was {'imported' if found['torch'] else 'not needed'}.",
    ]


def insert(ws: Workspace, names: list[str]) -> None:
    """Images of the train part of a pool, as the earlier steps would have written them."""
    import sqlalchemy as sa

    from collector.catalog.tables import image, pool, split

    plain = {"bytes": 1, "width": 1, "height": 1, "format": "JPEG", "mode": "RGB", "frames": 1, "orientation": 1}
    pooled = {"concept": "things", "label": "things", "role": "positive", "tier": "given", "reason": "made"}
    with ws.catalog.write() as connection:
        connection.execute(sa.insert(image), [{"id": name, **plain, "added_at": ""} for name in names])
        connection.execute(sa.insert(pool), [{"image": name, **pooled, "checks": {}, "added_at": ""} for name in names])
        frozen = {"concept": "things", "name": "train", "rule": "made", "frozen_at": ""}
        connection.execute(sa.insert(split), [{"image": name, **frozen} for name in names])


def measured(folder: Path) -> dict[str, float]:
    """`prelabel` up to where Label Studio would be told: rows, seconds, GB before and at the peak."""
    with Workspace.open(folder / "config.toml", environ={}) as ws:
        before, started = peak(), time.perf_counter()
        with suppress(ServiceDown):
            prelabel(ws, "things")
        found = {"seconds": time.perf_counter() - started, "peak_gb": peak(), "start_gb": before}
        rows = sum(1 for _ in models.said(ws.catalog, f"{NETWORK}-01234567", "things"))
    return {**found, "rows": rows, "torch": "torch" in sys.modules}


def peak() -> float:
    """The largest memory of this process so far, GB; `ru_maxrss` is inherited from the one that started it."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1e6


if __name__ == "__main__":
    main()
