"""The way to the network: Scrapy's download handler for http and https, on aiohttp, as lean as a crawl needs it.

All spiders of a process share one pool of connections that stay open, one TLS context, one cache of looked-up names,
and one budget of bytes for each host. Every connection passes the guard (guard.py). A download has one deadline for
everything, whatever happens in between; only the pauses that its host's budget of bytes imposes do not count.

Scrapy's own handlers send the signal `bytes_received` as well; here `headers_received` is the only one.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar

import aiohttp
from scrapy import Request, signals
from scrapy.core.downloader.handlers.base import BaseDownloadHandler
from scrapy.crawler import Crawler
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadFailedError,
    DownloadTimeoutError,
    ResponseDataLossError,
    StopDownload,
)
from scrapy.http import Headers, Response
from scrapy.responsetypes import responsetypes
from scrapy.utils.httpobj import urlparse_cached
from twisted.python.failure import Failure
from yarl import URL

from collector.spiders.guard import GuardedResolver, guard_of, guarded_socket, refuse_url
from collector.spiders.middlewares import PICTURE, Refused
from collector.spiders.resuming import Partial, Partials, Version, continues, version_of

RESUMED = 1_000_000  # bytes that must have arrived for a broken download to be continued
ASKED = 5  # how often one download asks: once, and for what is missing
STEP = 4_000_000  # bytes of a large file that are kept on disk at a time
BURST_S = 0.25  # seconds of its budget of bytes that a host may give at once
NAMES_S = 300  # seconds for which an address of a name is remembered
COMPRESSED = frozenset({b"gzip", b"x-gzip", b"deflate", b"br", b"zstd", b"compress", b"x-compress"})


class Rate:
    """A budget of bytes per second for one host, whoever asks it."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._due = 0.0

    def pause(self, size: int) -> float:
        """Seconds to wait after so many bytes."""
        now = monotonic()
        self._due = max(self._due, now - BURST_S) + size / self.per_second
        return self._due - now


class HttpHandler(BaseDownloadHandler):
    """Downloads for http and https. Errors are Scrapy's, or `Refused` where they need a word of their own."""

    lazy = False
    session: ClassVar[aiohttp.ClientSession | None] = None
    rates: ClassVar[dict[str, Rate]] = {}
    users: ClassVar[int] = 0

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        settings = crawler.settings
        self.timeout = settings.getfloat("DOWNLOAD_TIMEOUT")
        self.most = settings.getint("DOWNLOAD_MAXSIZE")
        self.budgets = settings.getdict("COLLECT_BYTES_PER_SECOND")
        self.guard = guard_of(
            tuple(settings.getlist("COLLECT_PRIVATE_HOSTS")), tuple(settings.getlist("COLLECT_PROXIES"))
        )
        folder = settings.get("COLLECT_PARTIAL")
        self.partials = Partials(Path(folder)) if folder else None
        self.fine: set[tuple[str, str]] = set()  # places that do not spell a private address
        HttpHandler.users += 1

    async def download_request(self, request: Request) -> Response:
        """Fetch one address."""
        parts = urlparse_cached(request)
        if (parts.scheme, parts.netloc) not in self.fine:
            refuse_url(self.guard, request.url)
            if len(self.fine) > 10_000:
                self.fine.clear()
            self.fine.add((parts.scheme, parts.netloc))
        seconds = request.meta.get("download_timeout") or self.timeout
        try:
            async with asyncio.timeout(seconds) as deadline:
                return await _Download(self, request, deadline).response()
        except TimeoutError as error:
            raise DownloadTimeoutError(f"it took longer than {seconds:g} seconds") from error

    async def close(self) -> None:
        """Close the connections when the last spider ends."""
        HttpHandler.users -= 1
        if HttpHandler.users == 0 and HttpHandler.session is not None:
            session, HttpHandler.session = HttpHandler.session, None
            await session.close()

    def connections(self) -> aiohttp.ClientSession:
        """The connections of the process. How many there are at once is not decided here but by throttle.py."""
        if HttpHandler.session is None:
            context = ssl.create_default_context()  # verifies certificates and names
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            HttpHandler.session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    ssl=context,
                    resolver=GuardedResolver(self.guard),
                    socket_factory=guarded_socket(self.guard),
                    ttl_dns_cache=NAMES_S,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # Scrapy's HttpCompressionMiddleware does, with a bound
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                timeout=aiohttp.ClientTimeout(),
            )
        return HttpHandler.session

    def rate(self, host: str) -> Rate | None:
        """The budget of bytes of a host, if it has one."""
        per_second = self.budgets.get(host, self.budgets.get("", 0))
        if not per_second:
            return None
        return self.rates.setdefault(host, Rate(per_second))


class _Download:
    """One file on its way: what has arrived of it, and which version of it that is."""

    def __init__(self, handler: HttpHandler, request: Request, deadline: asyncio.Timeout) -> None:
        self.handler = handler
        self.request = request
        self.deadline = deadline
        self.is_picture = PICTURE in request.meta
        self.most: int = request.meta.get("download_maxsize", handler.most)
        self.rate = handler.rate(urlparse_cached(request).hostname or "")
        self.version: Version | None = None
        self.partial: Partial | None = None
        self.chunks: list[bytes] = []
        self.size = 0
        self.kept = 0  # how many of the chunks are on disk

    async def response(self) -> Response:
        """Ask until all has arrived. What has arrived of a large file stays on disk if it never does."""
        try:
            if self.is_picture and self.handler.partials is not None:
                self._go_on_from(self.handler.partials.left_of(self.request.url))
            for _ in range(ASKED):
                try:
                    if (response := await self._ask()) is not None:
                        return response
                except aiohttp.ClientPayloadError as error:
                    if self.version is None or self.size < RESUMED:
                        raise ResponseDataLossError(str(error)) from error
            raise ResponseDataLossError(f"it broke {ASKED} times, the last time after {self.size} bytes")
        finally:
            if self.partial is not None:
                self.partial.close()

    def _go_on_from(self, partial: Partial | None) -> None:
        if partial is not None and partial.version is not None:
            self.partial, self.version = partial, partial.version
            self.chunks, self.size, self.kept = [partial.read()], partial.size, 1

    async def _ask(self) -> Response | None:
        """One request, for the whole file or for what is missing; None: it has to be begun again."""
        request = self.request
        url = URL(request.url, encoded=True)  # Scrapy has escaped it: a second time would change it
        began = monotonic()
        try:
            async with self.handler.connections().request(
                request.method, url, data=request.body or None, allow_redirects=False, **self._headers(url.scheme)
            ) as answer:
                request.meta["download_latency"] = monotonic() - began
                headers = _headers(answer.raw_headers)
                if not self.size:
                    return await self._receive(answer, headers, answer.status)
                if answer.status == 206 and self.version is not None and continues(headers, self.version, self.size):
                    headers["Content-Length"] = str(self.version.size)
                    headers.pop("Content-Range")
                    return await self._receive(answer, headers, 200)
                self._start_over(forget=answer.status in (200, 206, 416))
                return None if answer.status in (206, 416) else await self._receive(answer, headers, answer.status)
        except aiohttp.ClientPayloadError:
            raise
        except (aiohttp.InvalidURL, UnicodeError) as error:
            raise Refused("bad-address", f"{type(error).__name__}: {error}") from error
        except aiohttp.ClientConnectorDNSError as error:
            raise CannotResolveHostError(str(error)) from error
        except aiohttp.ClientSSLError as error:
            raise Refused("tls", str(error)) from error
        except aiohttp.ClientConnectorError as error:
            raise DownloadConnectionRefusedError(str(error)) from error
        except aiohttp.ClientError as error:
            raise DownloadFailedError(f"{type(error).__name__}: {error}") from error

    def _headers(self, scheme: str) -> dict[str, Any]:
        """What aiohttp needs to know of headers and proxy."""
        sent = dict.items(self.request.headers)  # Scrapy's own `items` looks each name up again
        headers = {name.decode("latin-1"): b", ".join(values).decode("latin-1") for name, values in sent}
        if self.size and self.version is not None:
            headers |= {"Range": f"bytes={self.size}-", "If-Range": self.version.validator}
        proxy = self.request.meta.get("proxy")
        password = headers.pop("Proxy-Authorization", None)
        told: dict[str, Any] = {"headers": headers, "proxy": proxy}
        if proxy and password and scheme == "https":  # for the proxy, not for the host behind it
            told["proxy_headers"] = {"Proxy-Authorization": password}
        elif proxy and password:
            headers["Proxy-Authorization"] = password
        return told

    def _start_over(self, *, forget: bool) -> None:
        self.chunks, self.size, self.kept, self.version = [], 0, 0, None
        if forget:
            self._forget()

    def _forget(self) -> None:
        """What lies on disk is of no use any more."""
        if self.partial is not None:
            self.partial.remove()
            self.partial.close()
            self.partial = None

    async def _receive(self, answer: aiohttp.ClientResponse, headers: Headers, status: int) -> Response:
        """Read the body, unless its headers say that it is unwanted."""
        length = answer.content_length
        if self.most and length is not None and self.size + length > self.most:
            raise DownloadCancelledError(f"{self.size + length} bytes are more than {self.most}")
        self._check_wanted(status, headers, length)
        if self.is_picture and not self.size and status == 200 and (length or 0) > RESUMED:
            self.version = version_of(headers)
        protocol = answer.connection.protocol if answer.connection and length is None else None
        while chunk := await answer.content.readany():
            self.chunks.append(chunk)
            self.size += len(chunk)
            if self.most and self.size > self.most:
                raise DownloadCancelledError(f"more than {self.most} bytes")
            if self.rate is not None:
                await self._keep_to(self.rate, len(chunk))
            if self.version is not None and self.version.size > STEP:
                await self._keep(self.version)
        if protocol is not None and isinstance(lost := protocol.exception(), aiohttp.ClientOSError):
            raise ResponseDataLossError(str(lost))  # aiohttp takes a reset for the end of a body without a length
        if self.version is not None and self.size != self.version.size:
            raise ResponseDataLossError(f"{self.size} bytes came of {self.version.size}")
        if status == 200:
            self._forget()
        body = b"".join(self.chunks)
        kind = Response if self.is_picture else responsetypes.from_args(headers, self.request.url, body=body)
        response = kind(self.request.url, status, body=body)
        response.headers = headers  # not through its `__init__`, which would make them anew
        return response

    def _check_wanted(self, status: int, headers: Headers, length: int | None) -> None:
        """Let whoever listens refuse the body. Raises what they raise, or `Refused` for a compressed picture."""
        crawler = self.handler.crawler
        told = {"headers": headers, "body_length": length, "request": self.request, "spider": crawler.spider}
        for _, result in crawler.signals.send_catch_log(signals.headers_received, **told):
            if isinstance(result, Failure) and isinstance(result.value, StopDownload):
                result.value.response = Response(self.request.url, status, headers)
                raise result.value
        encoding = headers.get("Content-Encoding") or b""
        if self.is_picture and status == 200 and COMPRESSED & {each.strip().lower() for each in encoding.split(b",")}:
            said = encoding.decode("latin-1")
            raise Refused("encoded", f"Content-Encoding: {said}, which was not asked for and hides the true size")

    async def _keep_to(self, rate: Rate, size: int) -> None:
        """Wait until the host's budget allows more, which is not the host's fault."""
        pause = rate.pause(size)
        when = self.deadline.when()
        if pause > 0 and when is not None:
            self.deadline.reschedule(when + pause)
            await asyncio.sleep(pause)

    async def _keep(self, version: Version) -> None:
        """Put what has arrived on disk, when it is a step more than what lies there."""
        if self.handler.partials is None or self.size // STEP <= (self.partial.size if self.partial else 0) // STEP:
            return
        with suppress(OSError):  # a full disk stops intake, with words; here it costs nothing but the memory of it
            if self.partial is None:
                self.partial = self.handler.partials.begin(self.request.url)
            if self.partial is not None:
                await asyncio.to_thread(self.partial.add, b"".join(self.chunks[self.kept :]), version)
                self.kept = len(self.chunks)


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Scrapy's headers, in a third of the time that it takes itself."""
    headers = Headers()
    for name, value in raw:
        dict.setdefault(headers, name.title(), []).append(value)
    return headers
