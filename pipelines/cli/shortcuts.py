"""`collect shortcuts`."""

import click

from pipelines.cli.output import Output, common


@click.command("shortcuts")
@click.argument("concept", required=False)
@common
def command(out: Output, concept: str | None) -> None:
    """Measure whether metadata alone tells the positives from the negatives."""
    from pipelines.shortcuts import shortcuts

    with out.workspace() as ws:
        out.show(shortcuts(ws, concept))
