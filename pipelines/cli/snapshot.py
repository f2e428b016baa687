"""`collect snapshot`."""

import click

from pipelines.cli.output import Output, common


@click.command("snapshot")
@click.argument("concept", required=False)
@common
def command(out: Output, concept: str | None) -> None:
    """Freeze the labeled images with their splits into a hashed manifest."""
    from pipelines.snapshot import snapshot

    with out.workspace() as ws:
        out.show(snapshot(ws, concept))
