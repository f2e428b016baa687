"""`collect runs`."""

import click

from pipelines.cli.output import Output, common


@click.command("runs")
@click.argument("concept", required=False)
@common
def command(out: Output, concept: str | None) -> None:
    """List what was trained: state, protocol, figures."""
    from pipelines.compare import list_runs

    with out.workspace() as ws:
        out.show(list_runs(ws, concept))
