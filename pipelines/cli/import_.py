"""`collect import`."""

from pathlib import Path

import click

from pipelines.cli.output import Output, common


@click.command("import")
@click.argument("concept")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--license", "code", required=True, help="A license code such as by-4.0 or cc0, or own, or unlicensed.")
@click.option("--label", help="What the pictures show (default: the concept).")
@click.option("--labels", type=click.Choice(["folders"]), help="Each folder in FOLDER is called as what it shows.")
@click.option("--annotator", default="", help="With --labels: who sorted the pictures into the folders.")
@common
def command(
    out: Output, concept: str, folder: Path, code: str, label: str | None, labels: str | None, annotator: str
) -> None:
    """Add the pictures of a folder to a concept."""
    from collector.importing import Sorted, import_folder

    if bool(labels) != bool(annotator) or (labels and label):
        raise click.UsageError("--labels folders needs --annotator NAME beside it, and no --label")
    with out.workspace() as ws:
        sorted_by = Sorted(annotator) if labels else label
        out.show(import_folder(ws, concept, folder, license=code, label=sorted_by))
