"""`collect train-baseline`."""

from pathlib import Path
from typing import Any

import click

from pipelines.cli.output import Output, common


@click.command("train-baseline")
@click.argument("concept", required=False)
@click.option("--snapshot", "digest", help="The snapshot to train on (default: the newest).")
@click.option("--backbone", help="A torchvision backbone, or classic.")
@click.option("--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A state dict file.")
@click.option("--replicate", type=click.IntRange(min=0), default=0, help="Run a finished experiment again, on purpose.")
@click.option("--accept-ceiling", is_flag=True, help="Train even where people agree too little.")
@common
def command(out: Output, concept: str | None, digest: str | None, **options: Any) -> None:
    """Train the baseline classifier on a snapshot and measure it on the validation split."""
    from pipelines.train import train_baseline

    with out.workspace() as ws:
        out.show(train_baseline(ws, concept, snapshot=digest, **options))
