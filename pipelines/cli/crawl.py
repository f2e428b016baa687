"""`collect crawl`."""

import click

from collector.errors import StoppedShort
from pipelines.cli.output import Output, common


@click.command("crawl")
@click.argument("concept", required=False)
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Images that the concept should hold from crawling.")
@click.option("-s", "--source", "chosen", multiple=True, help="Ask this source only; repeat for several.")
@click.option("--query", help="Search for this instead of the concept's own words.")
@click.option("--license", "preset", help="Licenses to accept: open, public-domain, noncommercial or any-cc.")
@click.option("--dry-run", is_flag=True, help="Show what would be asked; send one search page to each source.")
@common
def command(
    out: Output,
    concept: str | None,
    limit: int | None,
    chosen: tuple[str, ...],
    query: str | None,
    preset: str | None,
    dry_run: bool,
) -> None:
    """Fetch license-clean images of a concept from the enabled sources."""
    from collector.spiders.runner import crawl

    with out.workspace() as ws:
        name = concept or ws.concept().name
        summary = crawl(ws, name, limit=limit, sources=chosen or None, query=query, license=preset, dry_run=dry_run)
        out.show(summary)
    if summary.down:
        raise StoppedShort(
            f"{summary.kept} of {summary.limit} images: {', '.join(summary.down)} cannot be asked at the moment",
            hint="what was fetched is saved; the same command continues later",
        )
