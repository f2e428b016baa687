"""`collect crawl`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from collector.errors import StoppedShort
from pipelines.cli.notified import notified, notify_option
from pipelines.cli.output import Output, common

if TYPE_CHECKING:
    from collector.spiders.runner import CrawlSummary

ASPECTS = ("tall", "wide", "square")
FACETS = ("min_side", "aspect", "kind", "color", "since", "until", "language", "creator")
KINDS = ("photograph", "illustration")


@click.command("crawl")
@click.argument("concept", required=False)
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Images that the concept should hold from crawling.")
@click.option("-s", "--source", "sources", multiple=True, help="Ask this source only; repeat for several.")
@click.option("--query", help="Search for this instead of the concept's own words.")
@click.option("--label", help="Collect what is found as this label, as in not-horse (default: the concept).")
@click.option("--url", multiple=True, help="Take pictures from this web page and the pages it leads to.")
@click.option("--browser", is_flag=True, help="Render the pages of --url in Chromium.")
@click.option("--urls", multiple=True, type=click.Path(), help="Take the addresses in this text, CSV or Parquet file.")
@click.option("--license", "license", help="Licenses to accept: open, public-domain, noncommercial or any-cc.")
@click.option("--commercial", is_flag=True, help="Only licenses that allow commercial use.")
@click.option("--modify", is_flag=True, help="Only licenses that allow modified copies.")
@click.option("--min-side", type=click.IntRange(min=1), help="Shorter side in pixels, at least.")
@click.option("--aspect", type=click.Choice(ASPECTS), help="Shape of the pictures.")
@click.option("--kind", type=click.Choice(KINDS), help="Photographs or illustrations only.")
@click.option("--color", help="Main color: red, green, ..., gray.")
@click.option("--since", help="Made on this date or later, as in 2019 or 2019-05-30.")
@click.option("--until", help="Made on this date or earlier.")
@click.option("--language", help="Language of the texts, as in de, where a source knows it.")
@click.option("--creator", help="Only pictures by this creator.")
@click.option("--mature", is_flag=True, help="Also what sources call mature.")
@click.option("--processes", type=click.IntRange(min=1, max=64), help="Crawling processes.")
@click.option("--retry-failed", is_flag=True, help="Look again at what could not be fetched for the moment.")
@click.option("--until-known", type=click.IntRange(min=1), help="End a search after this many known in a row.")
@click.option("--dry-run", is_flag=True, help="Show what would be asked; send one search page to each source.")
@notify_option
@common
def command(out: Output, concept: str | None, mature: bool, notify: tuple[str, ...], **given: Any) -> None:
    """Fetch license-clean images of a concept from the enabled sources."""
    from collector.spiders.starting import started_ahead

    ahead = started_ahead(1 if given["dry_run"] else given["processes"] or 1)
    with ahead, notified(out, notify, f"crawl {concept or ''}".strip()) as tell:
        _crawl(out, concept, mature, given, tell)


def _crawl(
    out: Output, concept: str | None, mature: bool, given: dict[str, Any], tell: Callable[[CrawlSummary], None]
) -> None:
    from collector.spiders.facets import facets_of
    from collector.spiders.runner import crawl

    wished = {name: value for name in FACETS if (value := given.pop(name))}
    facets = facets_of(safe=not mature, **wished)
    for name in ("url", "urls"):
        given[name] = list(given[name])
    with out.workspace() as ws:
        summary = crawl(ws, concept or ws.concept().name, facets=facets, **given)
        tell(summary)
        out.show(summary)
    if summary.down:
        raise StoppedShort(
            f"{summary.kept} of {summary.limit} images: {', '.join(summary.down)} cannot be asked at the moment",
            hint="what was fetched is saved; the same command continues later",
        )
