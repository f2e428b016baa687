"""`collect report`."""

from pathlib import Path

import click

from pipelines.cli.output import Output, common


@click.command("report")
@click.argument("concept", required=False)
@click.option(
    "--out", "folder", type=click.Path(path_type=Path), help="Folder of the report (default: in the data folder)."
)
@common
def command(out: Output, concept: str | None, folder: Path | None) -> None:
    """Write the HTML report: where the images went, and what the numbers mean."""
    from pipelines.reports.build import report

    with out.workspace() as ws:
        out.show(report(ws, concept, out=folder))
