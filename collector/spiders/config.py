"""Settings of the crawl: `[crawl]` and `[sources]`."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from collector.config import Section


class CrawlConfig(Section):
    """How pictures are fetched, how many, and under which licenses."""

    section = "crawl"
    limit: int = Field(500, ge=1, description="images that a concept should hold from crawling")
    license: Literal["open", "public-domain", "noncommercial", "any-cc"] = Field(
        "open", description="licenses to accept: open, public-domain, noncommercial or any-cc"
    )
    contact: str = Field("", description="your mail address or page, told to every site that is asked")
    concurrency: int = Field(16, ge=1, le=64, description="requests in flight, all sources together")
    per_host: int = Field(4, ge=1, le=16, description="requests in flight to one host")
    timeout: float = Field(30.0, gt=0, description="seconds that one download may take in all")
    retries: int = Field(2, ge=0, le=10, description="how often a failed request is repeated")
    patience: float = Field(120.0, ge=0, description="longest Retry-After that is waited for, in seconds")

    @field_validator("contact")
    @classmethod
    def _reachable(cls, value: str) -> str:
        if value and not (value.isascii() and value.isprintable() and ("@" in value or value.startswith("http"))):
            raise ValueError("must be a mail address or the address of a page")
        return value


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address such as https://example.org")
    return value.rstrip("/")


class OpenverseConfig(BaseModel):
    """Openverse, an index of openly licensed pictures. A token, if you have one, comes from COLLECT_OPENVERSE_TOKEN."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    enabled: bool = Field(True, description="ask this source when none is named")
    base_url: str = Field("https://api.openverse.org", description="where its API answers")

    _checked = field_validator("base_url")(_web_address)


class WikimediaConfig(BaseModel):
    """Wikimedia Commons. Its own host is asked only with a `crawl.contact`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    enabled: bool = Field(True, description="ask this source when none is named")
    base_url: str = Field("https://commons.wikimedia.org", description="where its API answers")

    _checked = field_validator("base_url")(_web_address)


class SourcesConfig(Section):
    """The sources of pictures."""

    section = "sources"
    openverse: OpenverseConfig = OpenverseConfig()
    wikimedia: WikimediaConfig = WikimediaConfig()
