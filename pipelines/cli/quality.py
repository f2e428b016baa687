"""`collect quality`."""

import click

from pipelines.cli.output import Output, common


@click.command("quality")
@click.option("--faces", is_flag=True, help="Look for faces too; that costs many times as much as the rest.")
@common
def command(out: Output, faces: bool) -> None:
    """Measure the quality of every image; flag what is dark, blurry, upscaled, a screenshot, private."""
    from collector.quality import quality

    with out.workspace() as ws:
        out.show(quality(ws, faces=faces))
