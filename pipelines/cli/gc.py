"""`collect gc`."""

import click

from pipelines.cli.output import Output, common


@click.command("gc")
@click.option("--features", is_flag=True, help="Also vectors of backbones that no run uses.")
@click.option("--checkpoints", is_flag=True, help="Also checkpoints of finished runs; their weights stay.")
@click.option("--exports", is_flag=True, help="Also exports that were never finished.")
@click.option("--yes", is_flag=True, help="Do it: without, it is only said how much that is.")
@common
def command(out: Output, features: bool, checkpoints: bool, exports: bool, yes: bool) -> None:
    """Remove from the disk what nothing needs any more."""
    from pipelines.gc import gc

    with out.workspace() as ws:
        out.show(gc(ws, features=features, checkpoints=checkpoints, exports=exports, yes=yes))
