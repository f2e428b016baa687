"""`collect export`."""

from pathlib import Path

import click

from pipelines.cli.output import Output, common

NAMES = ("imagefolder", "webdataset", "parquet", "coco", "csv", "tfds")


@click.command("export")
@click.argument("concept", required=False)
@click.option("--snapshot", metavar="NAME|DIGEST", help="Which snapshot (default: the newest).")
@click.option("--format", "form", type=click.Choice(NAMES), required=True, help="How to lay the files out.")
@click.option(
    "--out", "folder", type=click.Path(path_type=Path), required=True, help="The folder to make; it must not exist."
)
@click.option("--split", "splits", multiple=True, metavar="NAME", help="Only this split; may be repeated.")
@click.option("--resize", type=click.IntRange(min=16), metavar="N", help="Shorter side at N pixels; none is enlarged.")
@click.option("--strip-exif/--keep-exif", default=True, help="Remove metadata, pixels untouched (default), or keep it.")
@click.option("--blur-faces", is_flag=True, help="Blur the faces that are found.")
@click.option(
    "--shard-size", type=click.IntRange(min=1), default=1000, show_default=True, help="Pictures in one tar or Parquet."
)
@common
def command(
    out: Output,
    concept: str | None,
    snapshot: str | None,
    form: str,
    folder: Path,
    splits: tuple[str, ...],
    resize: int | None,
    strip_exif: bool,
    blur_faces: bool,
    shard_size: int,
) -> None:
    """Write a snapshot as files that others can load, with credits and a card."""
    from pipelines.export import export
    from pipelines.export.records import Options

    options = Options(form, splits, resize or 0, not strip_exif, blur_faces, shard_size)
    with out.workspace() as ws:
        out.show(export(ws, folder, options, concept, snapshot=snapshot))
