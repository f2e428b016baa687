"""`collect prelabel`."""

from typing import Any

import click

from pipelines.cli.notified import notified, notify_option
from pipelines.cli.output import Output, common

SCORE = click.FloatRange(0, 1)


@click.command("prelabel")
@click.argument("concept", required=False)
@click.option("--run", help="The run that predicts (default: the newest finished one).")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Propose labels for at most this many images.")
@click.option("--zero-shot", is_flag=True, help="Guess by ImageNet's classes, before anything is trained.")
@click.option("--above", type=SCORE, metavar="P", help="Propose only labels with at least this score, surest first.")
@click.option("--below", type=SCORE, metavar="P", help="Propose only labels with at most this score.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), help="Instead of `train.device`.")
@notify_option
@common
def command(out: Output, concept: str | None, notify: tuple[str, ...], **options: Any) -> None:
    """Predict the unlabeled pool and send the predictions to Label Studio as proposals."""
    from pipelines.prelabel import prelabel

    with notified(out, notify, f"prelabel {concept or ''}".strip()) as tell, out.workspace() as ws:
        summary = prelabel(ws, concept, **options)
        tell(summary)
        out.show(summary)
