"""`collect negatives`."""

from pathlib import Path

import click

from pipelines.cli.output import Output, common

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
TIERS = ("near", "mid", "far", "context", "junk")


@click.command("negatives")
@click.argument("concept", required=False)
@click.option("--folder", type=FOLDER, help="Pictures to draw from, instead of ImageN.")
@click.option("--tier", type=click.Choice(TIERS), help="What the folder holds (default: told by class).")
@click.option("--imagen", type=FOLDER, help="A copy of ImageN (default: fetched once).")
@click.option("--license", "code", default="unlicensed", show_default=True, help="License of the folder's pictures.")
@click.option("--ratio", type=click.FloatRange(min=0, min_open=True), help="Negatives wanted for each positive.")
@click.option("--match", is_flag=True, help="Only draw files that are made like those of the positives.")
@click.option("--mine", metavar="RUN", help="Only take in the confirmed negatives that this run scores highest.")
@click.option("--plan", "plan_only", is_flag=True, help="Only say what to crawl for negatives.")
@common
def command(
    out: Output,
    concept: str | None,
    folder: Path | None,
    tier: str | None,
    imagen: Path | None,
    code: str,
    ratio: float | None,
    match: bool,
    mine: str | None,
    plan_only: bool,
) -> None:
    """Build the pool of images that do not show the concept."""
    from collector.negatives import negatives, plan

    with out.workspace() as ws:
        if mine is not None:
            from pipelines.mining import mine as mine_negatives

            out.show(mine_negatives(ws, concept, run=mine))
        elif plan_only:
            out.show(plan(ws, concept, ratio=ratio))
        else:
            drawn = negatives(
                ws, concept, folder=folder, tier=tier, imagen=imagen, license=code, ratio=ratio, match=match
            )
            out.show(drawn)
