"""`collect train-baseline`."""

from pathlib import Path
from typing import Any

import click

from pipelines.cli.notified import notified, notify_option
from pipelines.cli.output import Output, common


@click.command("train-baseline")
@click.argument("concept", required=False)
@click.option("--snapshot", "digest", help="The snapshot to train on (default: the newest).")
@click.option("--backbone", help="A torchvision backbone, classic, or auto.")
@click.option("--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A state dict file.")
@click.option("--protocol", help="A protocol, by name or file (default: the concept's own, written when it is new).")
@click.option("--finetune", is_flag=True, help="Train the whole network, not a head on cached features.")
@click.option("--soft", is_flag=True, help="Learn the share of the votes for each label, not the settled one alone.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    help="What to compute on (default: `train.device`); it makes no other run.",
)
@click.option("--tracker", "trackers", multiple=True, metavar="NAME", help="Also track by mlflow or wandb; repeatable.")
@click.option("--replicate", type=click.IntRange(min=0), default=0, help="Run a finished experiment again, on purpose.")
@click.option("--accept-ceiling", is_flag=True, help="Train even where people agree too little.")
@notify_option
@common
def command(out: Output, concept: str | None, digest: str | None, notify: tuple[str, ...], **options: Any) -> None:
    """Train the baseline classifier on a snapshot and measure it on the validation split.

    A finished run is never trained again: the same command prints the same figures. An interrupted one goes on.
    """
    from pipelines.train import train_baseline

    with notified(out, notify, f"train-baseline {concept or ''}".strip()) as tell, out.workspace() as ws:
        summary = train_baseline(ws, concept, snapshot=digest, **options)
        tell(summary)
        out.show(summary)
