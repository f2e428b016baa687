"""`collect next`."""

from pathlib import Path
from typing import Any

import click

from pipelines.cli.output import Output, common


@click.command("next")
@click.argument("concept", required=False)
@click.option("-n", "--count", type=click.IntRange(min=1), help="How many pictures (default: `next.count`).")
@click.option(
    "--by",
    type=click.Choice(["entropy", "margin", "bald", "k-center", "hybrid", "random"]),
    help="How they are chosen (default: `next.by`).",
)
@click.option("--run", help="The run that is asked (default: the newest finished one).")
@click.option("--tasked", is_flag=True, help="Choose also among those that wait in Label Studio already.")
@click.option("--push", "send", is_flag=True, help="Send the list to Label Studio, as the round `next`.")
@click.option(
    "--out", "file", type=click.Path(dir_okay=False, path_type=Path), help="Also write the list: .csv, .json."
)
@common
def command(out: Output, concept: str | None, **asked: Any) -> None:
    """Choose the unlabeled pictures whose labels would teach the model most (active learning)."""
    from pipelines.next import next_images

    with out.workspace() as ws:
        out.show(next_images(ws, concept, **asked))
