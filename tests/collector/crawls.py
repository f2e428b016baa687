"""What the tests of the crawl share: the demo's site with a few pictures, and how to be pointed at it."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from collector.spiders.runner import CrawlSummary
from collector.workspace import Workspace
from pipelines.demo.entries import Picture
from tests.conftest import jpeg

MakeWorkspace = Callable[..., Workspace]


def pictures(number: int) -> list[Picture]:
    """Different pictures of horses."""
    return [Picture(f"horse{n}", f"A horse in field {n}", jpeg(n, (160, 120)), ("horse",)) for n in range(number)]


def settings(url: str, more: str = "") -> str:
    """A config.toml that points both sources at `url`."""
    return f"""
[crawl]
contact = "tests@localhost"
allow_private_hosts = ["127.0.0.1", "localhost"]
cache_hours = 0
{more}
[sources]
inaturalist = {{ enabled = false }}
met = {{ enabled = false }}
flickr = {{ enabled = false }}
smithsonian = {{ enabled = false }}
europeana = {{ enabled = false }}
[sources.openverse]
base_url = "{url}/v1"
[sources.wikimedia]
base_url = "{url}"
"""


def adds_up(summary: CrawlSummary) -> bool:
    """Whether every figure of a summary is the sum of its parts."""
    return (
        summary.seen == summary.kept + summary.repeats + sum(summary.rejected.values())
        and summary.kept == sum(row["kept"] for row in summary.sources.values()) == sum(summary.licenses.values())
        and summary.seen == sum(row["seen"] for row in summary.sources.values())
    )


def paths_of_stored(ws: Workspace) -> set[str]:
    """The paths of all files that are stored."""
    return {urlsplit(url).path for url in ws.catalog.frame("sightings")["url"]}
