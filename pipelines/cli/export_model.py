"""`collect export-model`."""

from pathlib import Path
from typing import Any

import click

from pipelines.cli.output import Output, common


@click.command("export-model")
@click.argument("concept", required=False)
@click.option("--run", help="The run to carry away (default: the newest finished one).")
@click.option(
    "--format",
    type=click.Choice(["onnx", "openvino", "tensorrt"]),
    default="onnx",
    show_default=True,
    help="What will run it.",
)
@click.option(
    "--out", "folder", type=click.Path(path_type=Path), required=True, help="The folder to make; it must not exist."
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="fp16: the backbone in half precision, half as large.",
)
@common
def command(out: Output, concept: str | None, folder: Path, **options: Any) -> None:
    """Write a trained run as one network, pixels to probabilities, with a card.

    It is compared with the run on all validation images before it gets its name. The same command again brings the card
    up to date.
    """
    from pipelines.carry import export_model

    with out.workspace() as ws:
        out.show(export_model(ws, folder, concept, **options))
