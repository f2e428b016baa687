"""`collect demo`."""

from pathlib import Path

import click

from pipelines.cli.output import Output, common


@click.command("demo")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default="collect-demo",
    show_default=True,
    help="Becomes a workspace; run again in it to continue.",
)
@click.option(
    "--pictures", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Real pictures of horses."
)
@click.option(
    "--negatives", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Real pictures of other things."
)
@click.option(
    "--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Weights of squeezenet1_1."
)
@click.option("--keep-open", is_flag=True, help="Leave Label Studio running at the end.")
@common
def command(
    out: Output, folder: Path, pictures: Path | None, negatives: Path | None, weights: Path | None, keep_open: bool
) -> None:
    """Run the whole loop here: no network, no keys, no questions."""
    from pipelines.demo.steps import demo

    out.show(
        demo(
            folder,
            pictures=pictures,
            negatives=negatives,
            weights=weights,
            keep_open=keep_open,
            progress=out.progress,
        )
    )
