"""Public zip archives, fetched once into the workspace: ImageN and WordNet's dictionary."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from collector import durable
from collector.errors import ServiceDown
from collector.workspace import Workspace

MOST_BYTES = 2**31  # of one archive, and of what is taken out of it
PART = 2**20


def unpacked(ws: Workspace, name: str, address: str, wanted: Callable[[str], bool], hint: str) -> Path:
    """The folder `name` of the workspace, with the files of an archive whose last name is `wanted`; fetched if absent.

    Raises:
        ServiceDown: the archive cannot be had, or holds nothing that is wanted; `hint` names the ways without it.
    """
    import httpx

    folder = ws.data / name
    if folder.is_dir():
        return folder
    try:
        with tempfile.TemporaryFile(dir=ws.data) as file, durable.explained(ws.data):
            with httpx.stream("GET", address, follow_redirects=True, timeout=30) as answer:
                answer.raise_for_status()
                total = int(answer.headers.get("content-length", 0)) or None
                for chunk in answer.iter_bytes(PART):
                    file.write(chunk)
                    ws.progress(f"fetching {name}", file.tell(), total)
                    if file.tell() > MOST_BYTES:
                        raise zipfile.BadZipFile(f"more than {MOST_BYTES} bytes")
            _unpack(file, folder, wanted)
    except (httpx.HTTPError, httpx.InvalidURL, zipfile.BadZipFile, RuntimeError) as error:
        raise ServiceDown(f"{name} cannot be fetched from {address}: {error}", hint=hint) from None
    return folder


def _unpack(file: IO[bytes], folder: Path, wanted: Callable[[str], bool]) -> None:
    # Unpacked beside its place and renamed, so that a killed fetch leaves no half set behind.
    half = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    try:
        with zipfile.ZipFile(file) as archive:
            # Only the last part of a name: a path in an archive is a stranger's word.
            members = [each for each in archive.infolist() if wanted(Path(each.filename).name)]
            if not members or sum(each.file_size for each in members) > MOST_BYTES:
                raise zipfile.BadZipFile(f"{len(members)} of its files are as expected, or they are too large")
            for member in members:
                with archive.open(member) as source, (half / Path(member.filename).name).open("wb") as target:
                    shutil.copyfileobj(source, target, PART)
        half.rename(folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)
