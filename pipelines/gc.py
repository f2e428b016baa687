"""Remove from the disk what nothing needs any more; never what a row of the catalog, a snapshot or a run names.

Always: temporary files of killed processes, objects and packs that never got their row, and the room that forgotten
previews leave in packs. On demand: features of backbones that no run uses, checkpoints of finished runs, and exports
that were never finished. Without `yes` it is only said how much that is.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from collector import durable
from collector.catalog import concepts, images, models
from collector.catalog.models import Experiment
from collector.config import WorkspaceConfig
from collector.records import Summary
from collector.store import Preview
from collector.workspace import Workspace

DRAFT = re.compile(r"\.[0-9a-f]{8}\.tmp$|\.[0-9]+\.tmp$")  # as durable and the cache of searches name them
DEAD = 0.2  # share of a pack that must be unused before its previews move to another
AT_ONCE = 64_000_000  # bytes of previews in memory
LOCKS = ("gc", "forget", "intake", "dedup", "label")


@dataclass(frozen=True, slots=True, kw_only=True)
class GcSummary(Summary):
    """Bytes that were freed, or would be where `done` is false: `bytes` in all, `kinds` of each kind, `files` of each.

    Kinds: temporary, orphans, packs; and where asked for features, checkpoints, exports.
    """

    done: bool
    bytes: int
    kinds: dict[str, int]
    files: dict[str, int]


def gc(
    ws: Workspace, *, features: bool = False, checkpoints: bool = False, exports: bool = False, yes: bool = False
) -> GcSummary:
    """Remove what nothing needs; with `yes` only while no other step runs in this workspace.

    Args:
        ws: the workspace.
        features: also of backbones that no run and no prediction used; they can be computed again.
        checkpoints: also of finished runs; their weights and figures stay.
        exports: also unfinished ones beside config.toml, which the same export would go on with.
        yes: do it; else it is only said how much it is.

    Raises:
        Busy: another step runs; the message says which.
    """
    wishes: dict[str, tuple[bool, Callable[[Workspace], list[Path]]]] = {
        "temporary": (True, _temporary),
        "features": (features, _features),
        "checkpoints": (checkpoints, _checkpoints),
        "exports": (exports, _exports),
    }
    asked = {kind: find for kind, (wanted, find) in wishes.items() if wanted}
    sizes: dict[str, list[int]] = {}
    with alone(ws) if yes else ExitStack():
        for kind, find in asked.items():
            ws.progress(f"looking for {kind}", 0, None)
            paths = find(ws)
            sizes[kind] = [_bytes(path) for path in paths]
            for path in paths if yes else ():
                _remove(path)
        if not ws.section(WorkspaceConfig).store:  # what we do not know in a shared store may be another workspace's
            sizes["orphans"] = _orphans(ws, yes=yes)
            sizes["packs"] = _packs(ws, yes=yes)
    total = sum(map(sum, sizes.values()))
    options = "".join(f" --{kind}" for kind in list(asked)[1:])
    return GcSummary(
        done=yes,
        bytes=total,
        kinds={kind: sum(found) for kind, found in sizes.items()},
        files={kind: len(found) for kind, found in sizes.items()},
        next=f"collect gc{options} --yes" if total and not yes else "",
        warnings=() if yes or not total else ("nothing was removed yet",),
    )


@contextmanager
def alone(ws: Workspace) -> Iterator[None]:
    """Hold every lock of the workspace that there is; raises `Busy` when another process holds one."""
    names = {path.stem for path in (ws.data / "locks").glob("*.lock")} - {"migrate"}
    with ExitStack() as held:
        for name in sorted(names.union(LOCKS)):
            held.enter_context(ws.lock(name))
        yield


def _temporary(ws: Workspace) -> list[Path]:
    """Drafts of files and of report folders, but not in Label Studio's own folders."""
    found = []
    for folder, inner, names in os.walk(ws.data):
        inner[:] = [name for name in inner if not name.startswith("label-studio") and name not in ("objects", "shown")]
        found += [Path(folder, name) for name in names if DRAFT.search(name)]
        drafts = [name for name in inner if name.startswith(".draft-")]
        found += [Path(folder, name) for name in drafts]
        inner[:] = [name for name in inner if name not in drafts]
    return found


def _features(ws: Workspace) -> list[Path]:
    """Folders of vectors whose weights and transform no run and no model that predicted has."""
    rows = ws.catalog.frame("model_run")
    used = set(zip(rows["weights_digest"], rows["transform_digest"], strict=True))
    used |= {(run.config.get("weights_digest", ""), run.config.get("transform_digest", "")) for run in _runs(ws)}
    names = {f"{weights[:16]}-{transform[:16]}" for weights, transform in used}
    return [path for path in sorted((ws.data / "features").glob("*")) if path.is_dir() and path.name not in names]


def _checkpoints(ws: Workspace) -> list[Path]:
    """The checkpoints of finished runs."""
    folders = [ws.data / run.path / "checkpoints" for run in _runs(ws) if run.state == "finished"]
    return [folder for folder in folders if folder.is_dir()]


def _exports(ws: Workspace) -> list[Path]:
    """Exports that stopped, in the folder of config.toml or one below; elsewhere nobody knows of them."""
    from pipelines.export.step import PLAN

    found = [path for pattern in ("*.unfinished", "*/*.unfinished") for path in ws.root.glob(pattern)]
    return sorted(path for path in found if (path / PLAN).is_file())


def _runs(ws: Workspace) -> list[Experiment]:
    return [run for each in concepts.all_concepts(ws.catalog) for run in models.experiments(ws.catalog, each.name)]


def _orphans(ws: Workspace, *, yes: bool) -> list[int]:
    """Sizes of the files of the store that no row names."""
    known = images.previews(ws.catalog)
    paths = ws.store.unnamed(set(known), {preview.pack for preview in known.values() if preview})
    sizes = [ws.store.fs.size(path) or 0 for path in paths]
    for path in paths if yes else ():
        ws.store.fs.rm_file(path)
    return sizes


def _packs(ws: Workspace, *, yes: bool) -> list[int]:
    """Unused bytes of each pack that is worth writing anew: previews are copied, their rows change, then it goes."""
    living: defaultdict[str, dict[str, Preview]] = defaultdict(dict)
    for image, place in images.previews(ws.catalog).items():
        if place is not None:
            living[place.pack][image] = place
    freed = []
    ws.store.end_pack()  # this process may have filled one of those that go
    for pack, mine in sorted(living.items()):
        path = ws.store.pack_path(pack)
        size = ws.store.fs.size(path) if ws.store.fs.exists(path) else 0
        dead = size - sum(place.size for place in mine.values())
        if dead <= 0 or dead < DEAD * size:
            continue
        freed.append(dead)
        if yes:
            for some in _groups(mine):
                moved = ws.store.put_previews([ws.store.get_preview(place) for place in some.values()])
                images.move_previews(ws.catalog, dict(zip(some, moved, strict=True)))
            ws.store.fs.rm_file(path)
        ws.progress("looking at packs", len(freed), None)
    return freed


def _groups(places: dict[str, Preview]) -> Iterator[dict[str, Preview]]:
    group: dict[str, Preview] = {}
    size = 0
    for image, place in places.items():
        if group and size + place.size > AT_ONCE:
            yield group
            group, size = {}, 0
        group[image] = place
        size += place.size
    if group:
        yield group


def _bytes(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(Path(folder, name).stat().st_size for folder, _, names in os.walk(path) for name in names)


def _remove(path: Path) -> None:
    with durable.explained(path):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
