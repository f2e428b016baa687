"""Answers that are kept: those of searches for `crawl.cache_hours`, what hosts say of robots for at most a day.

This is Scrapy's HttpCacheMiddleware with a policy and a storage of our own. An entry is one file: a line of JSON, then
the gzipped body, whose checksum tells a torn file from a whole one. Addresses and bodies are kept without the secrets
that were in the request, and of the headers only what is needed to read the body. The cache is no record: it may be
deleted at any time, so nothing here waits for the disk.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from scrapy import Request, Spider
from scrapy.http import Response
from scrapy.responsetypes import responsetypes
from scrapy.settings import BaseSettings

from collector.spiders.middlewares import SEARCH, SECRET

RULES = "rules"  # request.meta: this request asks for robots.txt or tdmrep.json
RULES_S = 86_400.0
FAILURES = (b'"error"', b'"stat":"fail"', b'"stat": "fail"')  # MediaWiki's and Flickr's, which come with HTTP 200


class SearchPolicy:
    """What is kept: good answers of searches, and whatever a host answers about its rules but that it is in trouble."""

    def __init__(self, settings: BaseSettings) -> None:
        """Called by Scrapy; there is nothing to set."""

    def should_cache_request(self, request: Request) -> bool:
        """Whether the request is marked as one whose answer may be kept."""
        return SEARCH in request.meta or RULES in request.meta

    def should_cache_response(self, response: Response, request: Request) -> bool:
        """Whether the answer is worth keeping."""
        missing = RULES in request.meta and 400 <= response.status < 500 and response.status != 429
        return missing or (response.status == 200 and not any(sign in response.body[:200] for sign in FAILURES))

    def is_cached_response_fresh(self, cachedresponse: Response, request: Request) -> bool:
        """The storage gives out nothing that is too old."""
        return True

    def is_cached_response_valid(self, cachedresponse: Response, response: Response, request: Request) -> bool:
        """Never asked, since all that the storage gives out is fresh."""
        return False


class FileStorage:
    """Entries in HTTPCACHE_DIR, shared by all spiders and processes."""

    pruned: ClassVar[set[Path]] = set()

    def __init__(self, settings: BaseSettings) -> None:
        self.folder = Path(settings["HTTPCACHE_DIR"])
        self.seconds = settings.getfloat("COLLECT_CACHE_SECONDS")

    def open_spider(self, spider: Spider) -> None:
        """Delete what is too old, once for each process."""
        if self.folder not in self.pruned:
            self.pruned.add(self.folder)
            for path in self.folder.glob("*"):
                with suppress(OSError):
                    if not 0 <= time.time() - path.stat().st_mtime < self.seconds:
                        path.unlink()

    def close_spider(self, spider: Spider) -> None:
        """Nothing is open."""

    def retrieve_response(self, spider: Spider, request: Request) -> Response | None:
        """The kept answer; None when there is none, or an old or torn one."""
        try:
            head, _, body = self._path(request).read_bytes().partition(b"\n")
            told = json.loads(head)
            if not 0 <= time.time() - told["time"] < min(self.seconds, RULES_S if RULES in request.meta else 1e9):
                return None
            data = gzip.decompress(body)
            request.meta["cache_timestamp"] = told["time"]
            url = told["led_to"] or request.url
            of_type = responsetypes.from_args(headers=told["headers"], url=url, body=data)
            return of_type(url, status=told["status"], headers=told["headers"], body=data)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zlib.error):
            return None

    def store_response(self, spider: Spider, request: Request, response: Response) -> None:
        """Keep an answer. A disk that refuses it is no reason to stop."""
        head = {
            "url": public(request),
            "led_to": response.url if "redirect_urls" in request.meta else "",
            "time": time.time(),
            "status": response.status,
            "headers": {"Content-Type": (response.headers.get("Content-Type") or b"").decode("latin-1")},
        }
        body = response.body
        for value in secrets_of(request):
            body = body.replace(value.encode(), b"***")
        path = self._path(request)
        draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(json.dumps(head).encode() + b"\n" + gzip.compress(body, 1))
            draft.replace(path)

    def _path(self, request: Request) -> Path:
        key = hashlib.sha256(public(request).encode()).hexdigest()
        return self.folder / key


def public(request: Request) -> str:
    """What was asked for at first, before redirects, without the values of secret parameters."""
    url: str = request.meta.get("redirect_urls", [request.url])[0]
    secret = request.meta.get(SECRET, ())
    if not secret:
        return url
    parts = urlsplit(url)
    query = [(name, "***" if name in secret else value) for name, value in parse_qsl(parts.query, True)]
    return parts._replace(query=urlencode(query)).geturl()


def secrets_of(request: Request) -> list[str]:
    """The values of the secret parameters."""
    names = request.meta.get(SECRET, ())
    return [value for name, value in parse_qsl(urlsplit(request.url).query) if name in names and value]
