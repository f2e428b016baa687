"""`scrapy crawl openverse -a query=horse`: a spider without our runner, for people who know Scrapy.

Its pictures go into the workspace of the nearest config.toml, as with `collect crawl horse --source openverse`.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from scrapy import signals
from scrapy.crawler import Crawler

from collector import licenses
from collector.catalog import crawls
from collector.config import find
from collector.errors import UsageError
from collector.intake import taking_in
from collector.spiders.budget import WAITING, Budget
from collector.spiders.config import CrawlConfig
from collector.spiders.facets import Facets
from collector.spiders.job import Job
from collector.spiders.load import source_config
from collector.spiders.sources import names
from collector.workspace import Workspace

if TYPE_CHECKING:
    from collector.spiders.base import ImageSpider


def job_of_its_own(crawler: Crawler, spider: type[ImageSpider], arguments: dict[str, Any]) -> dict[str, Any]:
    """What the spider's `__init__` needs, from `-a query=`, `-a concept=`, `-a limit=` and `-a license=`.

    Other arguments become the options of the crawl, as `-a url=` of the source `site`.
    """
    query = arguments.pop("query", None)
    word = arguments.pop("concept", query)
    if not word:
        raise UsageError("a spider needs words to search for", hint=f"scrapy crawl {spider.name} -a query=horse")
    resources = ExitStack()
    ws = resources.enter_context(Workspace.open(find()))
    about = ws.concept(word, create=True)
    config = ws.section(CrawlConfig)
    limit = int(arguments.pop("limit", config.limit))
    preset = licenses.check_preset(arguments.pop("license", config.license))
    job = Job(
        ws=ws,
        concept=about,
        queries=tuple((about.positive, each) for each in ([query] if query else about.queries[about.positive])),
        preset=preset,
        allowed=licenses.allowed(preset),
        budget=Budget(
            limit,
            [spider.name],
            {"before": crawls.first_seen(ws.catalog, about.name, names(ws)).total()},
            at_once=WAITING * config.concurrency,
        ),
        intake=resources.enter_context(taking_in(ws)),
        progress=lambda source, job: None,
        facets=Facets(),
        options={name: [value] if name in ("url", "urls") else value for name, value in arguments.items()},
    )
    crawler.signals.connect(resources.close, signal=signals.spider_closed, weak=False)
    return {"job": job, "config": source_config(ws, spider.name)}
