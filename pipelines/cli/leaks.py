"""`collect leaks`."""

import click

from pipelines.cli.output import Output, common


@click.command("leaks")
@click.argument("concept", required=False)
@common
def command(out: Output, concept: str | None) -> None:
    """Find near-duplicates between the splits of a concept."""
    from collector.dedup.leaks import leaks

    with out.workspace() as ws:
        out.show(leaks(ws, concept))
