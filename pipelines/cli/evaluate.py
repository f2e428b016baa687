"""`collect evaluate`."""

from typing import Any

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
@click.option(
    "--prevalence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of pictures with the concept where the model will work: tells the precision there.",
)
@click.option("--again", is_flag=True, help="Open the test split though another run has opened it, on purpose.")
@click.option("--fail-under", type=click.FloatRange(0, 1), help="Exit with 4 when AP is below this.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), help="Instead of `train.device`.")
@common
def command(out: Output, concept: str | None, **options: Any) -> None:
    """Measure a trained run on a held-out split.

    The test split is opened once for a protocol, and every look is counted: the same run prints its figures again,
    another one needs --again.
    """
    from pipelines.evaluate import evaluate

    with out.workspace() as ws:
        out.show(evaluate(ws, concept, **options))
