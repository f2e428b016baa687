"""Scrapy's settings as a crawl of ours needs them; its defaults trust everybody (its docs/topics/security.rst)."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from collector.spiders.config import CrawlConfig

HANDLER = "collector.spiders.handler.HttpHandler"
BUDGETS: dict[str, dict[str, float]] = {
    # https://wikitech.wikimedia.org/wiki/Robot_policy: two connections and 25 Mbit/s; three calls of the API
    "upload.wikimedia.org": {"concurrency": 2, "bytes_per_second": 25_000_000 / 8},
    "commons.wikimedia.org": {"concurrency": 3},
    # https://docs.openverse.org/api/guides: 20 in a minute without a token; its answers say what a token gives
    "api.openverse.org": {"concurrency": 1, "calls": 20, "seconds": 60},
    # https://www.inaturalist.org/pages/api+recommended+practices: one a second, 5 GB of media an hour
    "api.inaturalist.org": {"concurrency": 1, "calls": 1, "seconds": 1},
    "static.inaturalist.org": {"bytes_per_second": 5e9 / 3600},
    # https://metmuseum.github.io: 80 a second
    "collectionapi.metmuseum.org": {"calls": 80, "seconds": 1},
    # https://techdocs.gbif.org/en/openapi/images: one connection to its cache of pictures
    "api.gbif.org": {"concurrency": 1},
    # https://www.flickr.com/services/developer/api: 3,600 an hour
    "api.flickr.com": {"concurrency": 1, "calls": 1, "seconds": 1},
    # https://api.data.gov/docs/rate-limits: 1,000 an hour
    "api.si.edu": {"concurrency": 1, "calls": 1000, "seconds": 3600},
}
"""What hosts are promised: requests at once (`concurrency`), at most `calls` in `seconds`, and `bytes_per_second`."""


def user_agent(contact: str) -> str:
    """The name under which we ask: product, version, and the person to write to."""
    return f"collect/{version('collect-dataset')}" + (f" (+{contact})" if contact else "")


def scrapy_settings(
    config: CrawlConfig, *, max_bytes: int, log: Path | None, data: Path, processes: int = 1
) -> dict[str, Any]:
    """Settings for every spider of one of `processes` crawling processes; `data` is the workspace's folder for data."""
    return {
        # The nine defaults that must not stay (read back from a running crawler by tests/collector)
        "DOWNLOAD_VERIFY_CERTIFICATES": True,
        "DOWNLOAD_HANDLERS": {"http": HANDLER, "https": HANDLER, "data": None, "file": None, "ftp": None, "s3": None},
        "TELNETCONSOLE_ENABLED": False,
        "REMOTE_CONTROL_ENABLED": False,
        "DOWNLOAD_MAXSIZE": max_bytes,
        "DOWNLOAD_WARNSIZE": 0,
        "DOWNLOAD_TIMEOUT": config.timeout,
        "REDIRECT_MAX_TIMES": 5,
        "ROBOTSTXT_OBEY": True,
        # Who we are
        "USER_AGENT": user_agent(config.contact),
        "ROBOTSTXT_USER_AGENT": "collect",
        "COOKIES_ENABLED": False,
        "REFERER_ENABLED": False,
        "METAREFRESH_ENABLED": False,
        "URLLENGTH_LIMIT": 0,
        **_amounts(config, max_bytes, processes),
        **_manners(config, data),
        "COLLECT_PARTIAL": str(data / "partial"),
        "LOG_FILE": str(log) if log else None,
        "LOG_LEVEL": "INFO",
        "LOGSTATS_INTERVAL": 0,
    }


def _amounts(config: CrawlConfig, max_bytes: int, processes: int) -> dict[str, Any]:
    """How much at once: bounds of the process, because its spiders share their gates (throttle.py)."""
    most = config.bytes_per_second
    return {
        "CONCURRENT_REQUESTS": max(1, config.concurrency // processes),
        "CONCURRENT_REQUESTS_PER_DOMAIN": config.per_host,
        "DOWNLOAD_SLOTS": BUDGETS,
        "COLLECT_BYTES_PER_SECOND": {
            host: min(promised["bytes_per_second"], most or float("inf"))
            for host, promised in BUDGETS.items()
            if "bytes_per_second" in promised
        }
        | {"": most},  # all other hosts; 0 is no bound
        "SCRAPER_SLOT_MAX_ACTIVE_SIZE": 2 * max_bytes,
    }


def _manners(config: CrawlConfig, data: Path) -> dict[str, Any]:
    """Our middlewares, in the order in which a request meets them, and what they need to know."""
    return {
        "DOWNLOADER_MIDDLEWARES": {
            # without what we never use, since each request passes them all
            "scrapy.downloadermiddlewares.offsite.OffsiteMiddleware": None,
            "scrapy.downloadermiddlewares.httpauth.HttpAuthMiddleware": None,
            "scrapy.downloadermiddlewares.downloadtimeout.DownloadTimeoutMiddleware": None,
            "scrapy.downloadermiddlewares.robotstxt.RobotsTxtMiddleware": None,
            "collector.spiders.robots.RobotsMiddleware": 100,
            "scrapy.downloadermiddlewares.retry.RetryMiddleware": None,
            "collector.spiders.retry.RetryAfterMiddleware": 550,
            # outside decompression, so that secrets can be taken out of what is kept
            "scrapy.downloadermiddlewares.httpcache.HttpCacheMiddleware": 585,
            "collector.spiders.proxies.ProxyMiddleware": 740,
            "collector.spiders.optout.OptOutMiddleware": 800,
            "collector.spiders.throttle.ThrottleMiddleware": 990,
        },
        "RETRY_TIMES": config.retries,
        "RETRY_GIVE_UP_LOG_LEVEL": "DEBUG",  # the refusal says it, and addresses may hold keys
        "HTTPCACHE_ENABLED": config.cache_hours > 0,
        "HTTPCACHE_DIR": str(data / "cache"),
        "HTTPCACHE_POLICY": "collector.spiders.cache.SearchPolicy",
        "HTTPCACHE_STORAGE": "collector.spiders.cache.FileStorage",
        "COLLECT_CACHE_SECONDS": config.cache_hours * 3600,
        "COLLECT_PATIENCE": config.patience,
        "COLLECT_OPT_OUTS": config.opt_outs,
        "COLLECT_PROXIES": config.proxies,
        "COLLECT_PRIVATE_HOSTS": config.allow_private_hosts,
    }
