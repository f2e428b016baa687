"""`collect status`."""

import click

from pipelines.cli.output import Output, common


@click.command("status")
@click.argument("concept", required=False)
@common
def command(out: Output, concept: str | None) -> None:
    """Show how far each concept has come, and the next command."""
    from pipelines.status import status

    with out.workspace() as ws:
        out.show(status(ws, concept))
