"""`collect doctor`."""

import click

from collector.errors import GateNotMet
from pipelines.cli.output import Output, common


@click.command("doctor")
@click.option("--fix", is_flag=True, help="Install what is missing (Label Studio, a browser).")
@click.option("--config-origin", is_flag=True, help="List every setting with its value and where it comes from.")
@common
def command(out: Output, fix: bool, config_origin: bool) -> None:
    """Check the machine, the settings, the workspace and the services."""
    from pipelines.doctor import doctor, origins

    if config_origin:
        rows = origins(out.config)
        width = max(len(row["setting"]) for row in rows)
        text = "\n".join(f"{row['setting']:<{width}}  {row['value']!s:<24}  {row['origin']}" for row in rows)
        out.data(rows, text)
        return
    summary = doctor(out.config, fix=fix, progress=out.progress)
    out.show(summary)
    if summary.problems:
        raise GateNotMet(f"{summary.problems} of the checks failed", hint="each line above that says `fail` says why")
