"""Scrapy's settings of the project, for `scrapy list` and `scrapy crawl`; scrapy.cfg names this module."""

from collector.config import IntakeConfig, find, load
from collector.spiders.config import CrawlConfig
from collector.spiders.settings import scrapy_settings

_settings = load(find())
BOT_NAME = "collect"
SPIDER_MODULES = ["collector.spiders"]
COLLECT_JOB = "collector.spiders.alone.job_of_its_own"
globals().update(
    scrapy_settings(
        _settings.section(CrawlConfig),
        max_bytes=_settings.section(IntakeConfig).max_bytes,
        log=None,
        data=_settings.path.parent / ".collect",
    )
)
