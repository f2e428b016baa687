"""`collect sources`."""

import click

from pipelines.cli.output import Output, common


@click.command("sources")
@common
def command(out: Output) -> None:
    """List the image sources, whether each is ready, and its terms."""
    from collector.spiders.runner import sources

    with out.workspace() as ws:
        out.show(sources(ws))
