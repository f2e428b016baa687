"""`collect agreement`."""

import click

from pipelines.cli.output import Output, common


@click.command("agreement")
@click.argument("concept", required=False)
@click.option("--fail-under", type=click.FloatRange(-1, 1), help="Exit with 4 when alpha is below this.")
@common
def command(out: Output, concept: str | None, fail_under: float | None) -> None:
    """Measure how far annotators agree, and where they do not."""
    from labeling.review import agreement

    with out.workspace() as ws:
        out.show(agreement(ws, concept, fail_under=fail_under))
