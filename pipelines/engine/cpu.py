"""The fastest engine for a network on this processor: measured once for a workspace, and kept."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector import durable
from collector.errors import CollectError
from pipelines.engine import exported
from pipelines.engine.base import BATCH, GATE, PAYS, Forward, Runtime, cores, distance, pictures

MEASURED_S = 2.0  # seconds that the choice of an engine may take, once every engine has had its turn

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Engine:
    """What an engine needs, in which file a network lies for it, and how it gets there and back."""

    needs: tuple[str, ...]
    suffix: str
    export: Callable[[Any, int], bytes]
    open: Callable[[bytes], Forward]


CPU_ENGINES = {
    "onnxruntime": Engine(("onnx", "onnxruntime"), "onnx", exported.export, exported.onnxruntime),
    "openvino": Engine(("onnx", "openvino"), "onnx", exported.export, exported.openvino),
    "ncnn": Engine(("ncnn", "pnnx"), "ncnn", exported.export_ncnn, exported.ncnn),
}


def on_cpu(module: Any, side: int, runtime: Runtime, name: str, plain: Forward) -> Forward:
    """The engine that was asked for, or the fastest; `plain`, which is PyTorch, where that does not agree with it."""
    here = [engine for engine, each in CPU_ENGINES.items() if all(map(find_spec, each.needs))]
    if runtime.engine != "auto" and runtime.engine not in here:
        raise CollectError(f"{runtime.engine} is not installed", hint="pip install 'collect-dataset[engines]'")
    probe = pictures(BATCH, side)

    def agreeing(engine: str) -> Forward | None:
        forward = _exported(engine, module, side, runtime, name)
        if forward is None:
            return None
        if (apart := distance(forward(probe), plain(probe))) <= GATE:
            return forward
        log.warning("%s is left alone: its vectors are %.1e apart from PyTorch's", engine, apart)
        return None

    if runtime.engine != "auto":
        return agreeing(runtime.engine) or plain
    kept = runtime.folder / f"{name}.json" if runtime.folder else None
    chosen = _chosen(kept)
    if chosen == "torch":
        return plain
    if chosen in here and (forward := agreeing(chosen)):
        return forward
    if runtime.images < PAYS:
        return plain
    contestants = {"torch": plain} | {engine: forward for engine in here if (forward := agreeing(engine))}
    rates = measured(contestants, probe)
    best = max(rates, key=lambda engine: rates[engine])
    log.info("images/s on %d cores: %s", cores(), ", ".join(f"{each} {rate:.0f}" for each, rate in rates.items()))
    if kept is not None:
        durable.save(kept, json.dumps({"engine": best, "images_per_s": rates}, indent=1).encode())
    return contestants[best]


def measured(contestants: dict[str, Forward], probe: NDArray[np.uint8]) -> dict[str, float]:
    """Images per second of each, a thread on every core as in use: the best of at least two rounds, in turns."""
    best = dict.fromkeys(contestants, 0.0)
    count = cores()
    started = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        rounds = 0
        while rounds < 2 or (time.perf_counter() - started < MEASURED_S and len(contestants) > 1):
            for name, forward in contestants.items():
                before = time.perf_counter()
                list(pool.map(forward, [probe] * count))
                best[name] = max(best[name], round(count * len(probe) / (time.perf_counter() - before), 1))
            rounds += 1
    return best


def _chosen(kept: Path | None) -> str:
    try:
        return str(json.loads(kept.read_bytes())["engine"]) if kept else ""
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return ""


def _exported(engine: str, module: Any, side: int, runtime: Runtime, name: str) -> Forward | None:
    """The module in an engine; None where that cannot be done, or would take too long."""
    how = CPU_ENGINES[engine]
    path = runtime.folder / f"{name}.{how.suffix}" if runtime.folder else None
    try:
        if path is not None and path.is_file():
            try:
                return how.open(path.read_bytes())
            except Exception as error:  # each engine has its own, all derived from Exception alone
                log.warning("%s is damaged (%s): the network is exported again", path, type(error).__name__)
        elif runtime.images < PAYS:
            return None
        data = how.export(module, side)
        if path is not None:
            durable.save(path, data)
        return how.open(data)
    except CollectError:
        raise  # a full disk
    except Exception as error:  # an operator that the exporter or the engine does not know
        log.info("%s cannot run this network (%s: %s)", engine, type(error).__name__, str(error)[:200])
        return None
