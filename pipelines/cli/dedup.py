"""`collect dedup`."""

import click

from pipelines.cli.output import Output, common


@click.command("dedup")
@click.option("--threshold", type=click.IntRange(0, 20), help="Largest distance of two copies, in bits of 64.")
@click.option("--dry-run", is_flag=True, help="Say what would be found; write nothing.")
@common
def command(out: Output, threshold: int | None, dry_run: bool) -> None:
    """Group near-duplicates and keep one image of each group."""
    from collector.dedup import dedup

    with out.workspace() as ws:
        out.show(dedup(ws, threshold=threshold, dry_run=dry_run))
