"""`collect recheck`."""

import click

from collector.errors import StoppedShort
from pipelines.cli.notified import notified, notify_option
from pipelines.cli.output import Output, common


@click.command("recheck")
@click.argument("concept", required=False)
@click.option("--older-than", metavar="DAYS", type=click.FloatRange(min=0), default=0.0, help="Checked so long ago.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Ask about so many sightings at most, oldest first.")
@notify_option
@common
def command(out: Output, concept: str | None, older_than: float, limit: int | None, notify: tuple[str, ...]) -> None:
    """Ask the sources again: is each picture still there, and under the same license?"""
    from collector.spiders.recheck import recheck

    with notified(out, notify, f"recheck {concept or ''}".strip()) as tell:
        with out.workspace() as ws:
            summary = recheck(ws, concept, older_than=older_than, limit=limit)
            tell(summary)
            out.show(summary)
        if summary.down:
            raise StoppedShort(
                f"{summary.unanswered} of {summary.asked} are not answered: {', '.join(summary.down)} cannot be asked",
                hint="what was answered is saved; the same command continues later",
            )
