"""`collect sweep`."""

from typing import Any

import click

from pipelines.cli.notified import notified, notify_option
from pipelines.cli.output import Output, common


@click.command("sweep")
@click.argument("concept", required=False)
@click.option("--snapshot", help="The snapshot to train on (default: the newest).")
@click.option("--trials", type=click.IntRange(min=1), help="How many combinations (default: `sweep.trials`).")
@click.option("--timeout", type=click.FloatRange(min=0), help="Begin no trial after so many minutes; 0: no limit.")
@click.option("--backbones", default="", metavar="A,B", help="Backbones to try (default: `train.backbone`).")
@click.option("--finetune", is_flag=True, help="Seek the settings of fine-tuning, not of a head on cached features.")
@click.option("--protocol", help="A protocol, by name or file (default: the concept's own).")
@click.option("--accept-ceiling", is_flag=True, help="Train even where people agree too little.")
@notify_option
@common
def command(out: Output, concept: str | None, backbones: str, notify: tuple[str, ...], **asked: Any) -> None:
    """Search the settings of training; each trial is a normal run, and one that is there already costs nothing."""
    from pipelines.sweep import sweep

    names = [each.strip() for each in backbones.split(",") if each.strip()]
    with notified(out, notify, f"sweep {concept or ''}".strip()) as tell, out.workspace() as ws:
        summary = sweep(ws, concept, backbones=names, **asked)
        tell(summary)
        out.show(summary)
