"""Files of hundreds of megabytes, fetched in parts by Scrapy into a folder, once; a crawl that is stopped goes on."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from scrapy.http import Response

from collector import durable
from collector.errors import Busy
from collector.locks import named_lock
from collector.spiders.asking import Asking, SourceDown
from collector.spiders.refusals import reason_of

PART = 4 * 2**20  # bytes asked for at once
WHOLE = 16 * PART  # a server that cannot serve parts may send a file up to this size at once
CHANGES = 3  # how often a file may change while it is fetched
RANGE = re.compile(rb"bytes (\d+)-\d+/(\d+)")


async def fetched(spider: Asking, path: str, folder: Path) -> Path:
    """The file at `path` of the source, in `folder`. Raises `SourceDown`.

    Beside it lies a JSON file with what it is: its address, ETag, size in bytes and sha256.
    """
    file = folder / path.rpartition("/")[2]
    about = file.with_name(f"{file.name}.json")
    if file.exists() and about.exists():
        return file
    durable.make_folder(folder)
    try:
        with named_lock(folder, file.name):
            await _fetch(spider, f"{spider.base_url}/{path}", file, about)
    except Busy as error:
        raise SourceDown(f"another crawl is fetching {file.name}") from error
    return file


async def _fetch(spider: Asking, url: str, file: Path, about: Path) -> None:
    part = file.with_name(f"{file.name}.part")
    known: dict[str, Any] = json.loads(about.read_bytes()) if about.exists() else {}
    if known.get("url") != url:
        part.unlink(missing_ok=True)
    changes = 0
    while True:
        have = part.stat().st_size if part.exists() else 0
        if have and have == known.get("bytes"):
            break
        response = await _part(spider, url, have)
        etag = (response.headers.get("ETag") or b"").decode("latin-1")
        begin, size = _range(response)
        if begin != have or (have and (etag, size) != (known.get("etag"), known.get("bytes"))):
            changes += 1
            if changes == CHANGES:
                raise SourceDown(f"{url} keeps changing")
            part.unlink(missing_ok=True)
            if begin:
                continue
        if not begin:
            known = {"url": url, "etag": etag, "bytes": size}
            await asyncio.to_thread(durable.save, about, json.dumps(known).encode())
        with durable.explained(part.parent):
            await asyncio.to_thread(durable.append, part, response.body)
        spider.logger.info("%s: %.0f of %.0f MB", file.name, (begin + len(response.body)) / 1e6, size / 1e6)
    known["sha256"] = await asyncio.to_thread(_sha256, part)
    await asyncio.to_thread(durable.save, about, json.dumps(known).encode())
    os.replace(part, file)
    durable.sync_folder(file.parent)


async def _part(spider: Asking, url: str, begin: int) -> Response:
    spider.job.asked[spider.name].append(url)
    headers = {"Range": f"bytes={begin}-{begin + PART - 1}", "Accept-Encoding": "identity"}
    try:
        response = await spider.get(url, headers=headers, dont_obey_robotstxt=True, download_maxsize=WHOLE)
    except Exception as error:
        raise SourceDown(f"{url} does not answer ({reason_of(error).detail})") from error
    if response.status not in (200, 206) or not response.body:
        raise SourceDown(f"{url} answered HTTP {response.status}")
    return response


def _range(response: Response) -> tuple[int, int]:
    """(where the body begins, size of the whole file)."""
    if response.status == 200:
        return 0, len(response.body)
    found = RANGE.fullmatch(response.headers.get("Content-Range") or b"")
    if not found:
        raise SourceDown(f"{response.url} does not say which part of the file it sends")
    return int(found[1]), int(found[2])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
