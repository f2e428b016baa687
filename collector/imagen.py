"""ImageN, fetched once from its public archive into the workspace."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

from collector.errors import ServiceDown
from collector.workspace import Workspace


def fetched(ws: Workspace, archive: str) -> Path:
    """The folder of ImageN's pictures; downloads about 103 MB the first time.

    Raises:
        ServiceDown: the archive cannot be had; the hint names the ways without it.
    """
    import httpx

    folder = ws.data / "imagen"
    if folder.is_dir():
        return folder
    hint = "give a folder: `collect negatives --folder DIR`, or set `negatives.imagen` to a copy of ImageN"
    body = io.BytesIO()
    try:
        with httpx.stream("GET", archive, follow_redirects=True, timeout=30) as answer:
            answer.raise_for_status()
            total = int(answer.headers.get("content-length", 0)) or None
            for chunk in answer.iter_bytes():
                body.write(chunk)
                ws.progress("fetching ImageN", body.tell(), total)
        _unpack(body, folder)
    except (httpx.HTTPError, zipfile.BadZipFile) as error:
        raise ServiceDown(f"ImageN cannot be fetched from {archive}: {error}", hint=hint) from None
    return folder


def _unpack(body: io.BytesIO, folder: Path) -> None:
    # Unpacked beside its place and renamed, so that a killed fetch leaves no half set behind.
    half = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    half.mkdir(parents=True)
    with zipfile.ZipFile(body) as archive:
        for member in archive.infolist():
            name = Path(member.filename).name  # only the last part: a path in an archive is a stranger's word
            if name.lower().endswith((".jpg", ".jpeg")) and not name.startswith("."):
                (half / name).write_bytes(archive.read(member))
    half.rename(folder)
