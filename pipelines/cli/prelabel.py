"""`collect prelabel`."""

import click

from pipelines.cli.output import Output, common


@click.command("prelabel")
@click.argument("concept", required=False)
@click.option("--run", help="The run that predicts (default: the newest finished one).")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Propose labels for at most this many images.")
@click.option("--zero-shot", is_flag=True, help="Guess by ImageNet's classes, before anything is trained.")
@common
def command(out: Output, concept: str | None, run: str | None, limit: int | None, zero_shot: bool) -> None:
    """Predict the unlabeled pool and send the predictions to Label Studio as proposals."""
    from pipelines.prelabel import prelabel

    with out.workspace() as ws:
        out.show(prelabel(ws, concept, run=run, limit=limit, zero_shot=zero_shot))
