"""`collect contamination`."""

from pathlib import Path

import click

from pipelines.cli.output import Output, common


@click.command("contamination")
@click.argument("concept", required=False)
@click.option("--run", help="A finished run whose scores count (default: the newest).")
@click.option("--backbone", help="What compares pictures where nothing was trained yet (default: train.backbone).")
@click.option("--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its state dict file.")
@click.option("-n", "--limit", type=click.IntRange(min=0), default=50, show_default=True, help="Suspects to list.")
@common
def command(
    out: Output, concept: str | None, run: str | None, backbone: str | None, weights: Path | None, limit: int
) -> None:
    """List negatives that may show the concept, for people to look at first."""
    from pipelines.contamination import contamination

    with out.workspace() as ws:
        out.show(contamination(ws, concept, run=run, backbone=backbone, weights=weights, limit=limit))
