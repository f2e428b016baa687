"""`collect init`."""

from pathlib import Path

import click

from pipelines.cli.output import Output, common


@click.command("init")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--force", is_flag=True, help="Overwrite a config.toml that is there.")
@common
def command(out: Output, folder: Path, force: bool) -> None:
    """Write a commented config.toml and an empty catalog."""
    from pipelines.init import init

    out.show(init(folder, force=force))
