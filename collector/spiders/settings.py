"""Scrapy's settings as a crawl of ours needs them; its defaults trust everybody (its docs/topics/security.rst)."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from collector.spiders.config import CrawlConfig

WIKIMEDIA_FILES = "upload.wikimedia.org"
API_BYTES = 8_000_000


def user_agent(contact: str) -> str:
    """The name under which we ask: product, version, and the person to write to."""
    return f"collect/{version('collect-dataset')}" + (f" (+{contact})" if contact else "")


def scrapy_settings(config: CrawlConfig, *, max_bytes: int, log: Path, crawlers: int) -> dict[str, Any]:
    """Settings for each of `crawlers` spiders that run side by side and may ask the same hosts."""
    return {
        # The nine defaults that must not stay (checked on a running crawler by tests/collector/test_crawl.py)
        "DOWNLOAD_VERIFY_CERTIFICATES": True,
        "DOWNLOAD_HANDLERS": {"data": None, "file": None, "ftp": None, "s3": None},
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
        # How much at once: each spider has its own downloader, so that their shares add up to what a host is promised
        "CONCURRENT_REQUESTS": max(1, config.concurrency // crawlers),
        "CONCURRENT_REQUESTS_PER_DOMAIN": max(1, config.per_host // crawlers),
        "DOWNLOAD_SLOTS": {WIKIMEDIA_FILES: {"concurrency": max(1, 2 // crawlers), "delay": 0}},
        "SCRAPER_SLOT_MAX_ACTIVE_SIZE": 2 * max_bytes,
        "RETRY_TIMES": config.retries,
        "RETRY_GIVE_UP_LOG_LEVEL": "INFO",
        "COLLECT_PATIENCE": config.patience,
        "DOWNLOADER_MIDDLEWARES": {
            "scrapy.downloadermiddlewares.robotstxt.RobotsTxtMiddleware": None,
            "collector.spiders.middlewares.RobotsMiddleware": 100,
            "scrapy.downloadermiddlewares.retry.RetryMiddleware": None,
            "collector.spiders.middlewares.RetryAfterMiddleware": 550,
            "collector.spiders.middlewares.OptOutMiddleware": 800,
        },
        "LOG_FILE": str(log),
        "LOG_LEVEL": "INFO",
        "LOGSTATS_INTERVAL": 0,
    }
