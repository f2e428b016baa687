"""Proxies: a pool with health. A host keeps its proxy; one that fails is left out for a while, each time longer."""

from __future__ import annotations

import hashlib
from time import monotonic
from typing import ClassVar
from urllib.parse import urlsplit

from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.exceptions import CannotResolveHostError, DownloadConnectionRefusedError, NotConfigured, StopDownload
from scrapy.http import Response
from scrapy.utils.httpobj import urlparse_cached

from collector.spiders.middlewares import Refused

OUT_S = 10.0  # how long a proxy is left out at first; doubles with each failure after that
MOST_OUT_S = 3600.0
SUSPECT = 3  # failures in a row that may be those of the hosts behind it
UNREACHABLE = (DownloadConnectionRefusedError, CannotResolveHostError)
PROXY = "proxied_by"  # request.meta: the `Proxy` that the request goes through


class Proxy:
    """One proxy and its health. `shown` is its address without the password."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self.shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self.out_until = 0.0
        self.failures = self.suspicions = 0

    def worked(self) -> None:
        """It brought an answer."""
        self.failures = self.suspicions = 0

    def failed(self, *, surely: bool = True) -> None:
        """It could not be used, or a request that went through it failed."""
        self.suspicions += not surely
        if not surely and self.suspicions < SUSPECT:
            return
        if self.out_until <= monotonic():  # requests that fail together fail once
            self.out_until = monotonic() + min(MOST_OUT_S, OUT_S * 2.0**self.failures)
            self.failures += 1
            self.suspicions = 0


class ProxyMiddleware:
    """Chooses `request.meta["proxy"]`; Scrapy's HttpProxyMiddleware then moves the password to its header."""

    pool: ClassVar[dict[str, Proxy]] = {}  # shared by all spiders

    def __init__(self, crawler: Crawler) -> None:
        settings = crawler.settings
        urls = settings.getlist("COLLECT_PROXIES")
        self.private = frozenset(settings.getlist("COLLECT_PRIVATE_HOSTS"))
        if not urls and not self.private:
            raise NotConfigured
        self.proxies = [self.pool.setdefault(url, Proxy(url)) for url in urls]

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> ProxyMiddleware:
        """One for each crawler; the health of proxies is shared."""
        return cls(crawler)

    def process_request(self, request: Request) -> None:
        """Send the request through the proxy of its host; private hosts are asked directly."""
        parts = urlparse_cached(request)
        if parts.hostname in self.private or parts.netloc.rpartition("@")[2] in self.private:
            request.meta["proxy"] = None
        elif self.proxies:
            request.meta[PROXY] = proxy = self.choose(parts.hostname or "")
            request.meta["proxy"] = proxy.url

    def choose(self, host: str) -> Proxy:
        """The proxy of a host: the same one as long as it is well. Raises `Refused` when none is."""
        now = monotonic()
        well = [proxy for proxy in self.proxies if proxy.out_until <= now]
        if not well:
            told = ", ".join(f"{proxy.shown} (again in {proxy.out_until - now:.0f} s)" for proxy in self.proxies)
            raise Refused("connection", f"no proxy of crawl.proxies can be reached: {told}")
        return max(well, key=lambda proxy: hashlib.sha256(f"{proxy.url} {host}".encode()).digest())

    def process_response(self, request: Request, response: Response) -> Response:
        """Note that a proxy works, or that it does not let us in."""
        proxy: Proxy | None = request.meta.pop(PROXY, None)
        if proxy is not None:
            proxy.failed() if response.status == 407 else proxy.worked()
        return response

    def process_exception(self, request: Request, exception: Exception) -> None:
        """Note that a proxy failed. Only connecting to it is surely its own fault, the rest may be that of the host."""
        proxy: Proxy | None = request.meta.pop(PROXY, None)
        if proxy is None:
            return
        if isinstance(exception, StopDownload):
            proxy.worked()
        elif isinstance(exception, UNREACHABLE) or getattr(exception.__cause__, "status", None) == 407:
            proxy.failed()
        elif not isinstance(exception, Refused):
            proxy.failed(surely=False)
