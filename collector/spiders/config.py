"""Settings of the crawl: `[crawl]` and `[sources]`."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from collector.config import Section
from collector.spiders.addresses import endpoint


class CrawlConfig(Section):
    """How pictures are fetched, how many, and under which licenses."""

    section = "crawl"
    limit: int = Field(500, ge=1, description="images that a concept should hold from crawling")
    license: Literal["open", "public-domain", "noncommercial", "any-cc"] = Field(
        "open", description="licenses to accept: open, public-domain, noncommercial or any-cc"
    )
    contact: str = Field("", description="your mail address or page, told to every site that is asked")
    processes: int = Field(1, ge=1, le=64, description="crawling processes; lists of addresses are shared out by host")
    concurrency: int = Field(32, ge=1, le=512, description="requests in flight, all sources together")
    per_host: int = Field(4, ge=1, le=512, description="requests in flight to one host")
    bytes_per_second: int = Field(0, ge=0, description="most bytes per second from one host; 0: no bound")
    timeout: float = Field(30.0, gt=0, description="seconds that one download may take in all")
    retries: int = Field(2, ge=0, le=10, description="how often a failed request is repeated")
    patience: float = Field(120.0, ge=0, description="longest Retry-After that is waited for, in seconds")
    until_known: int = Field(200, ge=0, description="end a repeated search after this many known in a row; 0: never")
    per_creator: int = Field(0, ge=0, description="most images of one creator for a concept; 0: no bound")
    per_site: int = Field(0, ge=0, description="most images from one host for a concept; 0: no bound")
    proxies: tuple[str, ...] = Field((), description="http:// addresses of proxies; one that fails is left out a while")
    cache_hours: float = Field(1.0, ge=0, description="hours for which answers of searches are kept; 0: ask every time")
    opt_outs: tuple[str, ...] = Field(
        ("noai", "noimageai", "noindex", "noimageindex", "noml"), description="X-Robots-Tag words that are obeyed"
    )
    allow_private_hosts: tuple[str, ...] = Field(
        (), description="hosts, with or without port, that may have an address that is not public"
    )

    @field_validator("contact")
    @classmethod
    def _reachable(cls, value: str) -> str:
        if value and not (value.isascii() and value.isprintable() and ("@" in value or value.startswith("http"))):
            raise ValueError("must be a mail address or the address of a page")
        return value

    @field_validator("allow_private_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            endpoint(each)
        return value

    @field_validator("proxies")
    @classmethod
    def _proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_web_address(each) for each in value)


def _web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address such as https://example.org")
    return value.rstrip("/")


class SourceConfig(BaseModel):
    """What every source has. Keys and tokens come from the environment, never from here."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    enabled: bool = Field(True, description="ask this source when none is named")
    base_url: str = Field("", description="where its API answers")

    @field_validator("base_url")
    @classmethod
    def _checked(cls, value: str) -> str:
        return _web_address(value) if value else value


class OpenverseConfig(SourceConfig):
    """Openverse, an index of openly licensed pictures. A token, if you have one, comes from COLLECT_OPENVERSE_TOKEN."""

    base_url: str = Field("https://api.openverse.org", description="where its API answers")


class WikimediaConfig(SourceConfig):
    """Wikimedia Commons. Its own host is asked only with a `crawl.contact`."""

    base_url: str = Field("https://commons.wikimedia.org", description="where its API answers")


class INaturalistConfig(SourceConfig):
    """iNaturalist, photographs of living things."""

    base_url: str = Field("https://api.inaturalist.org", description="where its API answers")
    taxa: dict[str, int] = Field({}, description="taxon ids for words that are not a taxon's name, as in horse = 43327")


class MetConfig(SourceConfig):
    """The Metropolitan Museum of Art: objects in the public domain."""

    base_url: str = Field("https://collectionapi.metmuseum.org", description="where its API answers")


class GbifConfig(SourceConfig):
    """GBIF, occurrences of species; most of its photographs are those of iNaturalist."""

    enabled: bool = Field(False, description="ask this source when none is named")
    base_url: str = Field("https://api.gbif.org", description="where its API answers")


class InternetArchiveConfig(SourceConfig):
    """The Internet Archive: items whose license is stated."""

    enabled: bool = Field(False, description="ask this source when none is named")
    base_url: str = Field("https://archive.org", description="where its API answers")


class OpenImagesConfig(SourceConfig):
    """Open Images V7, from its public CSV files."""

    enabled: bool = Field(False, description="ask this source when none is named")
    base_url: str = Field("https://storage.googleapis.com/openimages", description="where its CSV files lie")
    subset: Literal["validation", "test", "train"] = Field("validation", description="which part of the data set")


class FlickrConfig(SourceConfig):
    """Flickr; asked when COLLECT_FLICKR_KEY is set."""

    base_url: str = Field("https://api.flickr.com", description="where its API answers")


class SmithsonianConfig(SourceConfig):
    """Smithsonian Open Access; asked when COLLECT_SMITHSONIAN_KEY (of api.data.gov) is set."""

    base_url: str = Field("https://api.si.edu", description="where its API answers")


class EuropeanaConfig(SourceConfig):
    """Europeana; asked when COLLECT_EUROPEANA_KEY is set."""

    base_url: str = Field("https://api.europeana.eu", description="where its API answers")


class GoogleConfig(SourceConfig):
    """Google's Programmable Search; asked when COLLECT_GOOGLE_KEY and COLLECT_GOOGLE_ENGINE are set."""

    enabled: bool = Field(False, description="ask this source when none is named")
    base_url: str = Field("https://www.googleapis.com", description="where its API answers")
    site: str = Field("", description="search on this site only, such as flickr.com")
    file_type: str = Field("", description="files of this type only, such as png")


class SiteConfig(SourceConfig):
    """Any web site or gallery, by `collect crawl WORD --url ADDRESS`."""

    enabled: bool = Field(False, description="ask this source when none is named")
    urls: tuple[str, ...] = Field((), description="pages to begin at; `--url` replaces them")
    browser: bool = Field(False, description="render pages in Chromium, as `--browser` does")
    chromium: str = Field("", description="path of Chromium; empty: one on PATH, or the one of Playwright")
    pages: int = Field(200, ge=1, description="most pages that one crawl looks at")
    depth: int = Field(3, ge=0, description="how many links away from the first page")
    scrolls: int = Field(50, ge=0, description="how often a rendered page is scrolled down")


class UrlsConfig(SourceConfig):
    """A list of addresses, by `collect crawl WORD --urls FILE`: text, CSV or Parquet."""

    enabled: bool = Field(False, description="ask this source when none is named")
    files: tuple[str, ...] = Field((), description="files with addresses; `--urls` replaces them")
    url_column: str = Field("url", description="column of the addresses")
    license_column: str = Field("license", description="column of license codes or license addresses")
    caption_column: str = Field("caption", description="column of captions")
    license: str = Field("", description="license of rows that state none, such as by-4.0; you vouch for it")


class SourcesConfig(Section):
    """The sources of pictures."""

    section = "sources"
    plugins: tuple[str, ...] = Field((), description="Python files with sources of your own, relative to config.toml")
    openverse: OpenverseConfig = OpenverseConfig()
    wikimedia: WikimediaConfig = WikimediaConfig()
    inaturalist: INaturalistConfig = INaturalistConfig()
    met: MetConfig = MetConfig()
    gbif: GbifConfig = GbifConfig()
    internetarchive: InternetArchiveConfig = InternetArchiveConfig()
    openimages: OpenImagesConfig = OpenImagesConfig()
    flickr: FlickrConfig = FlickrConfig()
    smithsonian: SmithsonianConfig = SmithsonianConfig()
    europeana: EuropeanaConfig = EuropeanaConfig()
    google: GoogleConfig = GoogleConfig()
    site: SiteConfig = SiteConfig()
    urls: UrlsConfig = UrlsConfig()
