"""Forget pictures: take their bytes, previews, vectors and descriptions away, and let them never come back.

What is removed is gone for good, so without `yes` the step only says what would go. The order makes a kill harmless:
first tombstones and marks in one transaction, so that nothing comes back; then bytes; then the rows that describe them.
An image whose rows are still there is taken up again by the next `forget`, whatever it was asked for.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from collector.catalog import comparisons, concepts, forgotten, models
from collector.catalog.forgotten import NEAR, Kind, Remains, mark
from collector.config import WorkspaceConfig
from collector.errors import UsageError
from collector.records import Summary
from collector.registry import did_you_mean
from collector.workspace import Workspace
from pipelines import parquet

SHA = re.compile(r"[0-9a-f]{6,64}")
WAIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetSummary(Summary):
    """What goes, or would go where `done` is false: `kind` is url, sha256 or creator; allowed: a look-alike comes in.

    `images` were asked for, `copies` look like one of them, `again` of both were forgotten before; `sources` counts
    sightings by source. `bytes` are those of originals and previews, `vectors` rows of features, `pages` files of
    reports and lists that may show them. `tasks` is project of Label Studio -> tasks that still name one. `snapshots`
    and `runs` learned from them, with the number of images.
    """

    kind: str
    done: bool
    images: int = 0
    copies: int = 0
    again: int = 0
    concepts: tuple[str, ...] = ()
    sources: dict[str, int]
    bytes: int = 0
    vectors: int = 0
    pages: int = 0
    tasks: dict[int, int]
    snapshots: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()


def forget(
    ws: Workspace, what: str = "", *, creator: str | None = None, why: str = "", yes: bool = False
) -> ForgetSummary:
    """Remove every image that was seen at an address, was made by a creator or has a sha256, and all their copies.

    Args:
        ws: the workspace.
        what: an address of a picture, page or creator; a sha256 or its beginning; or the name of a creator.
        creator: the name of a creator, where `what` would be taken for something else.
        why: kept with the record of it.
        yes: do it; else it is only said what would go.

    Raises:
        UsageError: the beginning of a sha256 fits no image, or several.
        Busy: pictures are being taken in.
    """
    kind, value = _asked(ws, what, creator)
    with ws.lock("forget", wait_s=WAIT_S), ws.lock("intake", wait_s=WAIT_S):
        asked = forgotten.matching(ws.catalog, kind, value)
        before = forgotten.among(ws.catalog, asked)
        copies = _copies(ws, asked) - asked
        known = forgotten.is_known(ws.catalog, mark(kind, value)) or bool(before)
        fresh = (asked | copies) - before
        if yes:
            seen = {
                url for *_, url in forgotten.addresses(ws.catalog, fresh) if url.startswith(("http://", "https://"))
            }
            named = {value} if kind == "sha256" else set()  # an image that is not here may be named, too
            forgotten.bury(ws.catalog, fresh | named, {mark(kind, value), *(mark("url", url) for url in seen)}, why)
        left = {each.image: each for each in forgotten.unfinished(ws.catalog)}
        going = fresh | left.keys()
        places = forgotten.addresses(ws.catalog, going)
        about = sorted({concept for _, concept, *_ in places})
        snapshots, runs = _learned(ws, asked | copies)
        found = ForgetSummary(
            kind=kind,
            done=yes,
            images=len(asked),
            copies=len(copies),
            again=len(before),
            concepts=tuple(about),
            sources=dict(sorted(Counter(source for _, _, source in {place[:3] for place in places}).items())),
            bytes=forgotten.sizes(ws.catalog, going),
            vectors=_vectors(ws, going, erase=False),
            pages=len(_pages(ws, about)),
            tasks=forgotten.tasks(ws.catalog, asked | copies),
            snapshots=snapshots,
            runs=runs,
        )
        if yes:
            _erase(ws, list(left.values()), about)
    return replace(found, next=_next(found, kind, value), warnings=_warnings(ws, found, kind, value, known))


def allow(ws: Workspace, image: str, *, why: str = "") -> ForgetSummary:
    """Let one picture in that intake took for a copy of a forgotten one; `image` is its sha256, as the refusal says it.

    Raises:
        UsageError: it is no sha256, or that very picture was forgotten.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", image):
        raise UsageError(f"`{image}` is not a sha256", hint="the refusal prints all of its 64 digits")
    if forgotten.among(ws.catalog, [image]):
        raise UsageError(f"image {image[:12]} itself was forgotten, and its bytes are gone", hint="that is for good")
    forgotten.allow(ws.catalog, image, why)
    return ForgetSummary(kind="allowed", done=True, sources={}, tasks={}, next="collect import")


def _asked(ws: Workspace, what: str, creator: str | None) -> tuple[Kind, str]:
    if bool(what.strip()) == bool(creator and creator.strip()):
        raise UsageError("forget what?", hint="an address, a sha256 or its beginning, or --creator NAME: one of them")
    if creator:
        return "creator", creator
    if "://" in what:
        return "url", what
    if not SHA.fullmatch(what):
        return "creator", what
    fits = comparisons.named(ws.catalog, what)
    if len(fits) > 1:
        raise UsageError(f"{len(fits)} or more images begin with `{what}`", hint="give more digits of the sha256")
    if not fits and len(what) < 64:
        raise UsageError(
            f"no image begins with `{what}`", hint="a name that looks like a sha256 is said by --creator NAME"
        )
    return "sha256", fits[0] if fits else what


def _copies(ws: Workspace, images: Collection[str]) -> set[str]:
    """The images that intake would refuse as copies of these, if it met them after."""
    from collector.dedup import dihedral
    from collector.fingerprints import pack

    looks = forgotten.looks_of(ws.catalog, images)
    names, hashes = forgotten.prints(ws.catalog)
    if not looks or not names:
        return set()
    return {names[k] for near in dihedral.between(pack(looks), pack(hashes), NEAR) for k in near.second.tolist()}


def _erase(ws: Workspace, left: list[Remains], about: Collection[str]) -> None:
    """Everything on disk, then the rows. Each part may be done again."""
    from collector.dedup import keypoints
    from collector.spiders.resuming import discard

    names = [each.image for each in left]
    for done, each in enumerate(left):
        ws.progress("forgetting", done, len(left))
        ws.store.erase(each.image)
        if each.preview is not None:
            ws.store.erase_preview(each.preview)
    discard(ws.data / "partial", [url for each in left for url in each.urls])
    _vectors(ws, set(names), erase=True)
    keypoints.erase(ws, names)
    for page in _pages(ws, about) if left else ():
        page.unlink(missing_ok=True)
    if left:
        shutil.rmtree(ws.data / "cache", ignore_errors=True)  # what searches answered: titles, names, addresses
        forgotten.strip(ws.catalog, names)


def _vectors(ws: Workspace, images: Collection[str], *, erase: bool) -> int:
    """How many rows of features there are of these images, of whatever backbone; a shard is written anew without them.

    A file that cannot be read is removed: features are computed again, and it may hold what must go.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not images:
        return 0
    wanted = pa.array(sorted(images), pa.string())
    found = 0
    for path in sorted((ws.data / "features").glob("*/*.parquet")):
        try:
            mine = pc.is_in(pq.read_table(path, columns=["image"])["image"].cast(pa.string()), wanted)
            n = pc.sum(mine).as_py() or 0
            kept = pq.read_table(path).filter(pc.invert(mine)) if n and erase else None
        except (OSError, pa.ArrowInvalid, KeyError):
            n, kept = 0, None
            if erase:
                path.unlink()
        found += n
        if kept is not None and len(kept):
            parquet.save(path, kept)
        elif kept is not None:
            path.unlink()
    return found


def _pages(ws: Workspace, about: Collection[str]) -> list[Path]:
    """Files that commands write again when asked, and that show or name pictures of these concepts."""
    from pipelines.pages.files import folder_name

    found: set[Path] = set()
    for concept in about:
        name = folder_name(concept)
        for folder in (ws.data / "reports" / name, *(ws.data / "credits").glob("*")):
            if folder.name == name or folder.name.startswith(f"{name}-"):
                found |= {path for path in folder.rglob("*") if path.is_file()}
    for lists in ("leaks", "against"):
        found |= set((ws.data / lists).glob("*.csv"))
    return sorted(found) if about else []


def _learned(ws: Workspace, images: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which snapshots hold images, and which runs learned from those."""
    snapshots, runs = [], []
    for concept in concepts.all_concepts(ws.catalog) if images else ():
        touched = {}
        for row in models.snapshots(ws.catalog, concept.name):
            columns = parquet.columns(ws.data / row.path, ["image"])
            if columns is not None and (n := len(images & set(columns[0]))):
                touched[row.digest] = n
                snapshots.append(f"{concept.name} {row.digest[:16]}: {n} images")
        runs += [
            f"{concept.name} {each.run} ({each.config.get('backbone', '')}): {touched[each.snapshot]} images"
            for each in models.experiments(ws.catalog, concept.name)
            if each.snapshot in touched
        ]
    return tuple(snapshots), tuple(runs)


def _next(found: ForgetSummary, kind: str, value: str) -> str:
    if not found.done:
        given = f"--creator {shlex.quote(value)}" if kind == "creator" else shlex.quote(value)
        return f"collect forget {given} --yes"
    return "collect dedup" if found.images + found.copies > found.again else ""


def _warnings(ws: Workspace, found: ForgetSummary, kind: str, value: str, known: bool) -> tuple[str, ...]:
    said = []
    if not found.done:
        said.append("nothing was removed yet; what is removed is gone for good")
    if not found.images:
        near = did_you_mean(value, forgotten.creators(ws.catalog)) if kind == "creator" else ""
        was = "it was forgotten before" if known else f"no image here is known by that {kind}{near}"
        said.append(f"{was}; {'none' if found.done or known else 'with --yes none'} will be taken in")
    if found.tasks:
        said.append("tasks of Label Studio that name these images show none any more: skip them, or delete them there")
    if found.snapshots:
        said.append("snapshots name these images without their bytes: `collect snapshot` makes new ones to train on")
    if found.runs:
        said.append("the runs have learned from these images: train again on a new snapshot, and drop the old weights")
    if found.done and ws.section(WorkspaceConfig).store:
        said.append("another workspace that shares this store still has its rows: forget it there, too")
    if found.done and found.images > found.again:
        said.append("exports, reports and backups outside of the data folder are yours to delete")
    return tuple(said)
