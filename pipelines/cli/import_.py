"""`collect import`."""

from pathlib import Path

import click

from pipelines.cli.output import Output, common


@click.command("import")
@click.argument("concept")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--license", "code", required=True, help="A license code such as by-4.0 or cc0, or own, or unlicensed.")
@click.option("--label", help="What the pictures show (default: the concept).")
@common
def command(out: Output, concept: str, folder: Path, code: str, label: str | None) -> None:
    """Add the pictures of a folder to a concept."""
    from collector.importing import import_folder

    with out.workspace() as ws:
        out.show(import_folder(ws, concept, folder, license=code, label=label))
