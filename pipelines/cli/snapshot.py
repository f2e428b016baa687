"""`collect snapshot`."""

import click

from pipelines.cli.output import Output, common


@click.command("snapshot")
@click.argument("concept", required=False)
@click.option("--accept-shortcut", is_flag=True, help="Freeze even where metadata tells the classes apart.")
@click.option("--accept-ceiling", is_flag=True, help="Freeze even where people agree too little.")
@common
def command(out: Output, concept: str | None, accept_shortcut: bool, accept_ceiling: bool) -> None:
    """Freeze the labeled images with their splits into a hashed manifest."""
    from pipelines.snapshot import snapshot

    with out.workspace() as ws:
        out.show(snapshot(ws, concept, accept_shortcut=accept_shortcut, accept_ceiling=accept_ceiling))
