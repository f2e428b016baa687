"""The single door into a workspace: bytes and where they were seen become an image, or a rejection with its reason.

The order on disk is object, preview, row (collector/store.py); a picture is acknowledged when its row is committed.
Pictures are decoded by threads; one thread then writes down all that are ready as one group, so the waits for the disk
are shared. Whatever a stranger's file does to the decoder, the result is one row, never an exception.
"""

from __future__ import annotations

import hashlib
import os
import queue
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from collector import durable
from collector.catalog import images
from collector.catalog.forgotten import CLEAR, NEAR, marks_of
from collector.catalog.forgotten import REASON as FORGOTTEN
from collector.catalog.images import Arrival, Held
from collector.config import IntakeConfig, WorkspaceConfig
from collector.decoding import Decoded, decode
from collector.errors import Busy, CollectError
from collector.fingerprints import DCT, Fingerprint, Thumb, algorithms, dihedral, fingerprints, pack
from collector.records import Outcome, Rejected, Sighting
from collector.store import Preview
from collector.workspace import Workspace

GROUP = 64  # pictures written down together, at most
LINGER_S = 0.03  # how long a picture waits for others to be written down with
SWITCH_S = 0.0005  # decoding threads ask for Python's lock many times; its own 5 ms cost a fifth of the speed
WAITING_BYTES = 8_000_000  # of pictures not yet written down; `take` makes its caller wait beyond that

Check = Callable[[Decoded], Rejected | None]


@contextmanager
def taking_in(ws: Workspace) -> Iterator[Intake]:
    """Wrap a step that takes images in: several may run at once, and the first sweeps what a killed one left."""
    with suppress(Busy), ws.lock("intake"):  # busy: another intake runs, and its fresh objects have no row yet
        _sweep(ws)
    with ws.lock("intake", shared=True, wait_s=60), _marked(ws), warnings.catch_warnings():
        # Pillow's warnings about odd metadata are not ours to print. Set here, once: filters belong to all threads.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        intake = Intake(ws)
        try:
            yield intake
        finally:
            intake.close()
            sys.setswitchinterval(interval)


@contextmanager
def _marked(ws: Workspace) -> Iterator[None]:
    """A file that stays behind when this intake is killed."""
    mark = ws.data / "intakes" / uuid.uuid4().hex
    durable.save(mark, b"")
    yield
    mark.unlink(missing_ok=True)


def _sweep(ws: Workspace) -> None:
    """Remove what a killed intake left in the store; looking for it takes a walk through all of it."""
    killed = list((ws.data / "intakes").glob("*"))
    # A store that the settings put elsewhere may serve other workspaces too: what we do not know may be theirs.
    if killed and not ws.section(WorkspaceConfig).store:
        known = images.previews(ws.catalog)
        ws.store.sweep(set(known), {preview.pack for preview in known.values() if preview})
    for mark in killed:
        mark.unlink(missing_ok=True)


@dataclass(slots=True)
class Picture:
    """A candidate on its way through intake: what will be written down of it, and who waits for its outcome."""

    found: Sighting
    data: bytes = b""
    image: str = ""
    record: dict[str, Any] | None = None
    thumb: Thumb | None = None
    preview: bytes | None = None
    why: Rejected | None = None
    done: Future[Outcome] = field(default_factory=Future)


class Intake:
    """Takes pictures in; each method answers at once with a future, which is done when the row is durable.

    An error that is not one picture's (a full disk, say) is set on all futures that wait.
    """

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        self._config = ws.section(IntakeConfig)
        self._judges = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="intake")
        self._ready: queue.SimpleQueue[Picture | None] = queue.SimpleQueue()
        self._room = threading.Condition()
        self._bytes = 0  # of the pictures that are not written down yet
        self._count = 0
        self._writer = threading.Thread(target=self._write_all, name="intake-writer")
        self._writer.start()

    @property
    def full(self) -> bool:
        """Whether so many bytes are on their way that `take` makes its caller wait."""
        return self._bytes >= WAITING_BYTES

    def take(self, data: bytes, found: Sighting, check: Check | None = None, *, wait: bool = True) -> Future[Outcome]:
        """Judge the bytes and keep them; `check` may refuse a picture for its looks, and runs in another thread.

        Waits while too many bytes are on their way; who must not `wait` looks at `full` before it gets more.
        """
        picture = Picture(found, data)
        self._enter(picture, wait=wait)
        self._judges.submit(self._judge, picture, check)
        return picture.done

    def reject(self, found: Sighting, why: Rejected) -> Future[Outcome]:
        """Write down that a candidate was refused; the same refusal is written once."""
        return self._pass(Picture(found, why=why))

    def again(self, image: str, found: Sighting) -> Future[Outcome]:
        """Write down another place that shows a stored image."""
        return self._pass(Picture(found, image=image))

    def close(self) -> None:
        """Wait until everything that was given is written down."""
        self._judges.shutdown()
        self._ready.put(None)
        self._writer.join()

    def _pass(self, picture: Picture) -> Future[Outcome]:
        self._enter(picture)
        self._ready.put(picture)
        return picture.done

    def _enter(self, picture: Picture, *, wait: bool = False) -> None:
        picture.done.set_running_or_notify_cancel()  # whoever stops waiting for it does not stop it
        with self._room:
            if wait:
                self._room.wait_for(lambda: not self._bytes or self._bytes + len(picture.data) <= WAITING_BYTES)
            self._bytes += len(picture.data)
            self._count += 1

    def _leave(self, group: Sequence[Picture]) -> None:
        with self._room:
            self._bytes -= sum(len(picture.data) for picture in group)
            self._count -= len(group)
            self._room.notify_all()

    def _judge(self, picture: Picture, check: Check | None) -> None:
        try:
            judge(picture, self._config, check)
        except Exception as error:  # a mistake in `check`
            self._leave([picture])
            picture.done.set_exception(error)
        else:
            self._ready.put(picture)

    def _write_all(self) -> None:
        while group := self._group():
            self._settle(group)

    def _group(self) -> list[Picture]:
        """What is ready, and what becomes ready within a moment; empty at the end."""
        group: list[Picture] = []
        deadline = None
        while len(group) < GROUP and (not group or len(group) < self._count):
            try:
                picture = self._ready.get(timeout=deadline and max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if picture is None:
                if group:
                    self._ready.put(None)
                break
            group.append(picture)
            deadline = deadline or time.monotonic() + LINGER_S
        return group

    def _settle(self, group: Sequence[Picture]) -> None:
        outcomes: Sequence[Outcome | Exception]
        try:
            outcomes = commit(self._ws, group)
        except Exception as error:
            if len(group) > 1 and not isinstance(error, CollectError):
                for picture in group:  # what one picture does to the database is not the others' fault
                    self._settle([picture])
                return
            outcomes = [error] * len(group)
        self._leave(group)
        for picture, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Exception):
                picture.done.set_exception(outcome)
            else:
                picture.done.set_result(outcome)


def take_in(ws: Workspace, data: bytes, found: Sighting) -> Outcome:
    """Take one picture in, in this thread, within `taking_in`."""
    picture = Picture(found, data)
    judge(picture, ws.section(IntakeConfig))
    return commit(ws, [picture])[0]


def fill_fingerprints(ws: Workspace) -> None:
    """Compute the fingerprints of images that an older version took in, from their bytes."""
    missing = images.without(ws.catalog, algorithms())
    anything = IntakeConfig(min_side=1, max_pixels=2**40, max_bytes=2**40)  # it was good enough when it was taken in
    for start in range(0, len(missing), GROUP):
        thumbs = {}
        for image in missing[start : start + GROUP]:
            with suppress(CollectError):  # the store has lost it, and nothing can be compared with it
                decoded = decode(ws.store.get(image), anything)
                if isinstance(decoded, Decoded):
                    thumbs[image] = decoded.thumb
        prints = fingerprints(list(thumbs.values()))
        images.add_fingerprints(ws.catalog, dict(zip(thumbs, prints, strict=True)))
        ws.progress("computing fingerprints", min(start + GROUP, len(missing)), len(missing))


def judge(picture: Picture, config: IntakeConfig, check: Check | None = None) -> None:
    """Decode a picture, and find what there is to write down of it, or why it is refused."""
    decoded = decode(picture.data, config)
    if isinstance(decoded, Rejected):
        picture.why = decoded
        return
    picture.why = check(decoded) if check else None
    picture.image = hashlib.sha256(picture.data).hexdigest()
    picture.thumb, picture.preview = decoded.thumb, decoded.preview
    picture.record = {
        "bytes": len(picture.data),
        "width": decoded.width,
        "height": decoded.height,
        "format": decoded.format,
        "mode": decoded.mode,
        "frames": decoded.frames,
        "orientation": decoded.orientation,
    }


def commit(ws: Workspace, group: Sequence[Picture]) -> list[Outcome]:
    """Write pictures down: objects, then previews, then all rows in one transaction; one outcome for each."""
    held = images.held(
        ws.catalog, {each.image for each in group if each.image}, {m for each in group for m in marks_of(each.found)}
    )
    for each in group:
        if each.why is None and (reason := held.buried.get(each.image)):
            each.why = Rejected(reason, f"image {each.image[:12]} is not wanted anywhere")
        if not held.marks.isdisjoint(marks_of(each.found)):
            each.why = Rejected(FORGOTTEN, "its address or its creator was forgotten")
    fresh = {each.image: each.thumb for each in group if each.thumb and not each.why and each.image not in held.stored}
    prints = dict(zip(fresh, fingerprints(list(fresh.values())), strict=True))
    copies = _copies_of_forgotten(prints, held)
    for each in group:
        if each.why is None and each.image in copies:
            each.why = Rejected(FORGOTTEN, copies[each.image])
    kept = {each.image: each for each in group if each.record and each.why is None}
    # Also of known images: that heals a store which has lost one.
    ws.store.put_all({name: each.data for name, each in kept.items()})
    small = {name: each.preview for name, each in kept.items() if each.preview and name not in held.stored}
    previews = dict(zip(small, ws.store.put_previews(list(small.values())), strict=True))
    return images.write(
        ws.catalog, [_arrival(each, previews.get(each.image), prints.get(each.image, ())) for each in group]
    )


def _copies_of_forgotten(prints: Mapping[str, Sequence[Fingerprint]], held: Held) -> dict[str, str]:
    """Image -> why it is taken for a copy of a forgotten one, mirrored and turned copies too."""
    hashes = {
        name: each.value
        for name, found in prints.items()
        for each in found
        if each.algorithm == DCT and each.quality >= CLEAR and name not in held.allowed
    }
    if not hashes or not held.looks:
        return {}
    forms = dihedral(pack(held.looks)).reshape(-1, 1, 4)
    bits = np.bitwise_count(forms ^ pack(list(hashes.values()))[None]).sum(axis=2, dtype=np.int64).min(axis=0)
    return {
        name: f"{n} of 256 bits from a forgotten picture; if it is another one: `collect forget --allow {name}`"
        for name, n in zip(hashes, bits.tolist(), strict=True)
        if n <= NEAR
    }


def _arrival(picture: Picture, preview: Preview | None, prints: Sequence[Fingerprint]) -> Arrival:
    if picture.record is None or picture.why is not None:
        return Arrival(picture.found, picture.image, why=picture.why)
    where = {
        "preview_pack": preview.pack if preview else None,
        "preview_offset": preview.offset if preview else None,
        "preview_bytes": preview.size if preview else None,
    }
    return Arrival(picture.found, picture.image, picture.record | where, prints)
