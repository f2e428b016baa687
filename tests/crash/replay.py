"""Power cuts, replayed: from the system calls of one run to every disk that a cut could have left behind.

The model is a small ALICE (OSDI '14). Data of a file is durable after its fsync; a name after the fsync of its folder,
and the name under which a file is fsynced stays with it, as on ext4. After `syncfs` everything is durable. Of the
operations that are not durable yet, a *policy* says which reached the disk all the same.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

LINE = re.compile(rb"^\d+ +(\w+)\((.*)\) += (-?\d+)")
TEXT = re.compile(rb'"((?:\\x[0-9a-f]{2})*)"')
HANDLE = re.compile(rb"^(\d+)<((?:\\x[0-9a-f]{2})*)>")
SHARED_MEMORY = "-shm"  # SQLite never reads it back after a restart


@dataclass(frozen=True)
class Operation:
    """One change: `write` and `truncate` touch the data of an inode, `link` and `unlink` a name in a folder.

    `sync` makes durable what happened to its inode, `syncfs` all that happened, `ack` tells the outside world a line.
    """

    kind: str
    inode: int = 0  # the file; for `link` and `unlink` the folder
    name: str = ""
    target: int = 0  # the inode that `link` gives a name to
    offset: int = 0
    data: bytes = b""


def parse(trace: str, workspace: Path, acks: Path) -> list[Operation]:
    """The operations on `workspace` in a trace of `strace -y -xx`."""
    disk = _Recorder(workspace, acks)
    for line in trace.encode().splitlines():
        if (matched := LINE.match(line)) and int(matched[3]) >= 0:
            disk.record(matched[1].decode(), matched[2], int(matched[3]))
    return disk.operations


class _Recorder:
    """Follows names and inodes through a run, and writes down what happens to them. Inode 1 is the workspace."""

    def __init__(self, workspace: Path, acks: Path) -> None:
        self.root, self.acks = str(workspace), str(acks)
        self.inodes = {self.root: 1, f"{self.root}/config.toml": 2}
        self.sizes: dict[int, int] = {}
        self.positions: dict[int, int] = {}
        self.appending: set[int] = set()
        self.operations: list[Operation] = []

    def record(self, call: str, arguments: bytes, answer: int) -> None:
        texts = [_bytes(text) for text in TEXT.findall(arguments)]
        handle = HANDLE.match(arguments)
        if handle is None:
            paths = [text.decode() for text in texts]
            if all(path.startswith(f"{self.root}/") and not path.endswith(SHARED_MEMORY) for path in paths):
                self._of_names(call, paths, arguments, answer)
            return
        path = _bytes(handle[2]).decode()
        if path == self.acks:
            self.operations.append(Operation("ack", data=texts[0]))
        elif path in self.inodes:
            self._of_data(call, int(handle[1]), self.inodes[path], (texts, arguments))

    def _of_names(self, call: str, paths: list[str], arguments: bytes, answer: int) -> None:
        if call == "openat":
            self._open(paths[0], arguments, answer)
        elif call in ("mkdir", "mkdirat"):
            self._link(paths[0], len(self.inodes) + 1000)
        elif call in ("unlink", "unlinkat"):
            self._unlink(paths[0])
        elif call.startswith("rename"):
            inode = self.inodes[paths[0]]
            self._unlink(paths[0])
            self._link(paths[1], inode)

    def _open(self, path: str, arguments: bytes, handle: int) -> None:
        if path not in self.inodes:
            if b"O_CREAT" not in arguments:
                return
            self._link(path, len(self.operations) + 100_000)
        inode = self.inodes[path]
        if b"O_TRUNC" in arguments:
            self._truncate(inode, 0)
        self.positions[handle] = 0
        self.appending.discard(handle)
        if b"O_APPEND" in arguments:
            self.appending.add(handle)

    def _of_data(self, call: str, handle: int, inode: int, said: tuple[list[bytes], bytes]) -> None:
        texts, arguments = said
        if call == "syncfs":
            self.operations.append(Operation("syncfs"))
        elif call in ("fsync", "fdatasync"):
            self.operations.append(Operation("sync", inode))
        elif call == "ftruncate":
            self._truncate(inode, int(arguments.rsplit(b",", 1)[1]))
        elif call == "pwrite64":
            self._write(inode, int(arguments.rsplit(b",", 1)[1]), texts[0])
        elif call == "write":
            at_end = handle in self.appending
            offset = self.sizes.get(inode, 0) if at_end else self.positions[handle]
            self._write(inode, offset, texts[0])
            self.positions[handle] = offset + len(texts[0])

    def _write(self, inode: int, offset: int, data: bytes) -> None:
        self.sizes[inode] = max(self.sizes.get(inode, 0), offset + len(data))
        self.operations.append(Operation("write", inode, offset=offset, data=data))

    def _truncate(self, inode: int, size: int) -> None:
        self.sizes[inode] = size
        self.operations.append(Operation("truncate", inode, offset=size))

    def _link(self, path: str, inode: int) -> None:
        folder, name = path.rsplit("/", 1)
        self.inodes[path] = inode
        self.operations.append(Operation("link", self.inodes[folder], name, inode))

    def _unlink(self, path: str) -> None:
        folder, name = path.rsplit("/", 1)
        del self.inodes[path]
        self.operations.append(Operation("unlink", self.inodes[folder], name))


@dataclass
class State:
    """What is on the disk after a power cut, and what the outside world had been told by then."""

    acks: list[str]
    files: dict[int, bytearray] = field(default_factory=dict)
    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {1: {"config.toml": 2}})

    @property
    def digest(self) -> str:
        """Equal for equal trees and acknowledgements."""
        whole = hashlib.sha256("\n".join(self.acks).encode())
        for path, data in self._tree(1, ""):
            whole.update(f"\0{path}\0".encode() + hashlib.sha256(data).digest())
        return whole.hexdigest()

    def write(self, workspace: Path) -> None:
        """Write the tree out."""
        workspace.mkdir(parents=True)
        for path, data in self._tree(1, ""):
            (workspace / path).parent.mkdir(parents=True, exist_ok=True)
            (workspace / path).write_bytes(data)

    def apply(self, operation: Operation) -> None:
        """Let one operation reach the disk."""
        match operation.kind:
            case "link":
                self.folders.setdefault(operation.inode, {})[operation.name] = operation.target
            case "unlink":
                self.folders.setdefault(operation.inode, {}).pop(operation.name, None)
            case "truncate":
                _resize(self.files.setdefault(operation.inode, bytearray()), operation.offset)
            case "write":
                data, end = self.files.setdefault(operation.inode, bytearray()), operation.offset + len(operation.data)
                _resize(data, max(len(data), end))
                data[operation.offset : end] = operation.data

    def _tree(self, folder: int, path: str) -> Iterator[tuple[str, bytes]]:
        for name, inode in sorted(self.folders.get(folder, {}).items()):
            if inode in self.folders:
                yield from self._tree(inode, f"{path}{name}/")
            else:
                yield path + name, bytes(self.files.get(inode, b""))


class States:
    """Every disk that a power cut could leave, for one recorded run."""

    def __init__(self, operations: list[Operation]) -> None:
        self.operations = operations

    def after_power_cuts(self, first: int = 0, step: int = 1) -> Iterator[State]:
        """Six states for every prefix of the run: nothing unsynced, everything, names only, three random halves."""
        for end in range(first, len(self.operations) + 1, step):
            durable = self._durable(end)
            for policy in POLICIES:
                reached = policy(end)
                state = State([op.data.decode().rstrip("\n") for op in self.operations[:end] if op.kind == "ack"])
                for place, operation in enumerate(self.operations[:end]):
                    if place in durable or reached(operation):
                        state.apply(operation)
                yield state

    def _durable(self, end: int) -> set[int]:
        synced: set[int] = set()
        durable: set[int] = set()
        for place in range(end - 1, -1, -1):
            operation = self.operations[place]
            if operation.kind == "syncfs":
                return durable | set(range(place))
            if operation.kind == "sync":
                synced.add(operation.inode)
            elif operation.inode in synced or self._kept_with_its_file(operation, synced):
                durable.add(place)
        return durable

    def _kept_with_its_file(self, operation: Operation, synced: set[int]) -> bool:
        return operation.kind == "link" and operation.target in synced and operation.target >= 100_000


Policy = Callable[[int], Callable[[Operation], bool]]


def _half(seed: int) -> Policy:
    def policy(end: int) -> Callable[[Operation], bool]:
        draw = random.Random(seed * 1_000_003 + end)
        return lambda _: draw.random() < 0.5

    return policy


POLICIES: list[Policy] = [
    lambda _: lambda _: False,
    lambda _: lambda _: True,
    lambda _: lambda operation: operation.kind in ("link", "unlink"),
    _half(1),
    _half(2),
    _half(3),
]


def _resize(data: bytearray, size: int) -> None:
    if size < len(data):
        del data[size:]
    else:
        data.extend(bytes(size - len(data)))


def _bytes(escaped: bytes) -> bytes:
    return bytes.fromhex(escaped.replace(rb"\x", b"").decode())
