"""`collect credits`."""

from pathlib import Path

import click

from pipelines.cli.output import Output, common


@click.command("credits")
@click.argument("concept", required=False)
@click.option("--snapshot", metavar="DIGEST", help="Credit what this snapshot holds, instead of all images.")
@click.option(
    "--out", "folder", type=click.Path(path_type=Path), help="Folder of the files (default: in the data folder)."
)
@common
def command(out: Output, concept: str | None, snapshot: str | None, folder: Path | None) -> None:
    """Write whom to name for the images: ATTRIBUTION.md, attribution.csv and attribution.html."""
    from pipelines.reports.credits import credits

    with out.workspace() as ws:
        out.show(credits(ws, concept, snapshot=snapshot, out=folder))
