"""`collect evaluate`."""

import click

from pipelines.cli.output import Output, common


@click.command("evaluate")
@click.argument("concept", required=False)
@click.option("--run", help="The run to measure (default: the newest finished one).")
@click.option(
    "--split",
    type=click.Choice(["validation", "test"]),
    default="test",
    show_default=True,
    help="The held-out images to measure on.",
)
@click.option("--fail-under", type=click.FloatRange(0, 1), help="Exit with 4 when AP is below this.")
@common
def command(out: Output, concept: str | None, run: str | None, split: str, fail_under: float | None) -> None:
    """Measure a trained run on a held-out split."""
    from pipelines.evaluate import evaluate

    with out.workspace() as ws:
        out.show(evaluate(ws, concept, run=run, split=split, fail_under=fail_under))
