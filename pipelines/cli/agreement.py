"""`collect agreement`."""

from pathlib import Path

import click

from pipelines.cli.output import Output, common


@click.command("agreement")
@click.argument("concept", required=False)
@click.option(
    "--from",
    "table",
    type=click.Path(path_type=Path),
    help="Measure a table instead, .csv, .tsv, .parquet or .json with the columns task, annotator, label"
    " [, truth, seconds, at, note]; no workspace is needed.",
)
@click.option("--labels", help="With --from: the labels, with commas between; from low to high on an ordinal scale.")
@click.option("--several", is_flag=True, help="With --from: a label may be several at once, joined by |.")
@click.option(
    "--level",
    type=click.Choice(["nominal", "ordinal", "interval"]),
    default="nominal",
    show_default=True,
    help="With --from: the scale of the labels.",
)
@click.option(
    "--method",
    type=click.Choice(["majority", "dawid-skene", "one-coin"]),
    default="majority",
    show_default=True,
    help="With --from: how answers become one label.",
)
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), help="With --from: write the page with all figures here."
)
@click.option("--fail-under", type=click.FloatRange(-1, 1), help="Exit with 4 when alpha is below this.")
@common
def command(
    out: Output,
    concept: str | None,
    table: Path | None,
    labels: str | None,
    several: bool,
    level: str,
    method: str,
    html: Path | None,
    fail_under: float | None,
) -> None:
    """Measure how far annotators agree, and where they do not."""
    if table is None:
        if html is not None:
            raise click.UsageError("--html goes with --from; `collect report` writes the pages of a workspace")
        from labeling.review import agreement
        from pipelines.errata import views

        with out.workspace() as ws:
            out.show(agreement(ws, concept, fail_under=fail_under, model=views))
        return
    from labeling.advice import gate
    from labeling.measure import Options
    from labeling.tables import agreement_of

    names = [name.strip() for name in (labels or "").split(",") if name.strip()]
    found, summary = agreement_of(table, names, several=several, level=level, options=Options(method=method))  # type: ignore[arg-type]
    if html is not None:
        from pipelines.reports.table import write

        write(html, table.name, found, list(summary.words))
    out.show(summary)
    if fail_under is not None:
        gate(found.alpha, fail_under)
