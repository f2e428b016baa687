"""`collect leaks`."""

import click

from pipelines.cli.output import Output, common


@click.command("leaks")
@click.argument("concept", required=False)
@click.option("--against", metavar="SET", help="Compare each split with a folder, a snapshot or a file of hashes.")
@common
def command(out: Output, concept: str | None, against: str | None) -> None:
    """Find near-duplicates between the splits of a concept, or between them and an outside set."""
    from collector.dedup.leaks import leaks

    with out.workspace() as ws:
        out.show(leaks(ws, concept, outside=against))
