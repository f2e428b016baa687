"""`collect split`."""

import click

from pipelines.cli.output import Output, common


@click.command("split")
@click.argument("concept", required=False)
@common
def command(out: Output, concept: str | None) -> None:
    """Draw validation, test and calibration at random, once and for all, before anything is trained."""
    from pipelines.split import split

    with out.workspace() as ws:
        out.show(split(ws, concept))
