"""`collect negatives`."""

from pathlib import Path

import click

from pipelines.cli.output import Output, common


@click.command("negatives")
@click.argument("concept", required=False)
@click.option("--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Pictures to draw from.")
@click.option("--imagen", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A copy of ImageN.")
@click.option("--license", "code", default="unlicensed", show_default=True, help="License of the folder's pictures.")
@click.option("--ratio", type=click.FloatRange(min=0, min_open=True), help="Negatives wanted for each positive.")
@common
def command(
    out: Output, concept: str | None, folder: Path | None, imagen: Path | None, code: str, ratio: float | None
) -> None:
    """Build the pool of images that do not show the concept."""
    from collector.negatives import negatives

    with out.workspace() as ws:
        out.show(negatives(ws, concept, folder=folder, imagen=imagen, license=code, ratio=ratio))
