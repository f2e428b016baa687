"""`collect compare`."""

from pathlib import Path

import click

from pipelines.cli.output import Output, common


@click.command("compare")
@click.argument("runs", nargs=-1, metavar="[CONCEPT] [RUNS]...")
@click.option("--concept", help="The concept whose runs are compared (default: the only one).")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write their curves to a page.")
@common
def command(out: Output, runs: tuple[str, ...], concept: str | None, html: Path | None) -> None:
    """Say which of several runs is better, and whether chance explains it.

    RUNS are ids or beginnings of ids; without any, all runs of the protocol used last. Runs of different protocols or
    validation sets are refused.
    """
    from pipelines.compare import compare

    with out.workspace() as ws:
        out.show(compare(ws, concept, runs, html=html))
