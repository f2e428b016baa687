"""Scrapy's settings, read back from a running crawl by a source that looks at its own crawler."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scrapy.settings import default_settings

from collector.config import IntakeConfig
from collector.spiders.config import CrawlConfig
from collector.spiders.runner import crawl
from collector.workspace import Workspace

PROBE = """
import json, os
from contextlib import suppress
from pathlib import Path
from collector.spiders.base import ImageSpider, Page

def listening():
    mine = set()
    for each in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            mine.add(os.readlink(f"/proc/self/fd/{each}"))
    rows = [row.split() for file in ("tcp", "tcp6") for row in Path("/proc/self/net", file).read_text().splitlines()]
    return [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in mine]

class Probe(ImageSpider):
    name = "probe"
    gives = "nothing"
    terms = "none"

    async def page(self, words, cursor):
        get, engine = self.crawler.settings, self.crawler.engine
        handlers = engine.downloader.handlers
        context = handlers._get_handler("https").connections().connector._ssl
        names = lambda found: [type(each).__name__ for each in found]
        told = {
            "schemes": [each for each in ("http", "https", "file", "data", "ftp", "s3") if handlers._get_handler(each)],
            "handler": names([handlers._get_handler("http"), handlers._get_handler("https")]),
            "verify": [get.getbool("DOWNLOAD_VERIFY_CERTIFICATES"), context.verify_mode.name, context.check_hostname],
            "tls": context.minimum_version.name,
            "most": get.getint("DOWNLOAD_MAXSIZE"),
            "timeout": get.getfloat("DOWNLOAD_TIMEOUT"),
            "redirects": get.getint("REDIRECT_MAX_TIMES"),
            "robots": get.getbool("ROBOTSTXT_OBEY"),
            "whole": get.getbool("DOWNLOAD_FAIL_ON_DATALOSS"),
            "extensions": names(self.crawler.extensions.middlewares),
            "downloader": names(engine.downloader.middleware.middlewares),
            "spider": names(engine.scraper.spidermw.middlewares),
            "agent": get["USER_AGENT"],
            "slots": get.getdict("DOWNLOAD_SLOTS"),
            "rates": get.getdict("COLLECT_BYTES_PER_SECOND"),
            "reactor": get["TWISTED_REACTOR"],
            "listening": listening(),
        }
        Path(__file__).with_suffix(".json").write_text(json.dumps(told))
        return Page([])
"""
SETTINGS = """
[crawl]
contact = "me@localhost"
bytes_per_second = 2000000
[sources]
plugins = ["probe.py"]
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a source sees of the crawler that runs it."""
    folder = tmp_path_factory.mktemp("probed")
    (folder / "probe.py").write_text(PROBE)
    (folder / "config.toml").write_text(SETTINGS)
    with Workspace.open(folder / "config.toml", environ={}) as ws:
        crawl(ws, "horse", sources=["probe"], limit=1)
    found: dict[str, Any] = json.loads((folder / "probe.json").read_text())
    return found


def test_a_running_crawl_has_none_of_the_nine_defaults_that_trust_everybody(told: dict[str, Any]) -> None:
    assert told["verify"] == [True, "CERT_REQUIRED", True]
    assert told["schemes"] == ["http", "https"]
    assert not {"TelnetConsole", "RemoteControl"} & set(told["extensions"])
    assert told["listening"] == []
    assert told["most"] == IntakeConfig().max_bytes
    assert told["timeout"] == CrawlConfig().timeout
    assert told["redirects"] == 5
    assert told["robots"] is True
    assert told["whole"] is True  # this one is good as it is


def test_scrapy_itself_has_all_nine() -> None:
    assert default_settings.DOWNLOAD_VERIFY_CERTIFICATES is False
    assert {"file", "data", "ftp", "s3"} <= set(default_settings.DOWNLOAD_HANDLERS_BASE)
    assert default_settings.TELNETCONSOLE_ENABLED
    assert default_settings.REMOTE_CONTROL_ENABLED
    assert default_settings.DOWNLOAD_MAXSIZE == 2**30
    assert default_settings.DOWNLOAD_TIMEOUT == 180
    assert default_settings.REDIRECT_MAX_TIMES == 20
    assert default_settings.ROBOTSTXT_OBEY is False


def test_a_running_crawl_uses_our_way_to_the_network_and_our_manners(told: dict[str, Any]) -> None:
    assert told["handler"] == ["HttpHandler", "HttpHandler"]
    assert told["tls"] == "TLSv1_2"
    ours = ["Robots", "RetryAfter", "HttpCache", "Proxy", "HttpProxy", "OptOut", "Throttle"]
    order = [name.removesuffix("Middleware") for name in told["downloader"]]
    assert [name for name in order if name in ours] == [name for name in ours if name in order]
    assert {"Robots", "RetryAfter", "HttpCache", "OptOut", "Throttle"} <= set(order)
    assert not {"Cookies", "MetaRefresh", "Retry", "RobotsTxt"} & set(order)
    assert "RefererMiddleware" not in told["spider"]
    assert told["agent"] == "collect/0.1.0 (+me@localhost)"
    assert told["reactor"].endswith("AsyncioSelectorReactor")


def test_hosts_are_promised_what_they_ask_for(told: dict[str, Any]) -> None:
    slots, rates = told["slots"], told["rates"]
    assert slots["upload.wikimedia.org"]["concurrency"] == 2
    assert slots["commons.wikimedia.org"]["concurrency"] == 3
    assert slots["api.gbif.org"]["concurrency"] == 1
    per_minute = {host: 60 * each["calls"] / each["seconds"] for host, each in slots.items() if "calls" in each}
    assert per_minute["api.openverse.org"] == 20
    assert per_minute["api.inaturalist.org"] == 60
    assert per_minute["collectionapi.metmuseum.org"] == 80 * 60
    assert per_minute["api.flickr.com"] == 3600 / 60
    assert rates["upload.wikimedia.org"] == 2_000_000  # less than its 25 Mbit/s, because the settings say so
    assert rates["static.inaturalist.org"] < 2_000_000
    assert rates[""] == 2_000_000
