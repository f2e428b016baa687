"""`collect dedup`."""

import click

from collector.errors import UsageError
from pipelines.cli.output import Output, common


@click.command("dedup")
@click.option("--threshold", type=click.IntRange(0, 20), help="Largest distance of two copies, in bits of 64.")
@click.option(
    "--max-false-pairs",
    type=click.FloatRange(0, min_open=True),
    help="Unrelated pairs that may pass for copies in the whole pool; the thresholds follow.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be found; leave the current result as it is.")
@click.option("--explain", metavar="IMAGE", help="Why this image is kept or set aside, and what comes close to it.")
@click.option("--same", nargs=2, metavar="A B", help="These two are copies, whatever is measured: for ever.")
@click.option("--different", nargs=2, metavar="A B", help="These two are no copies, whatever is measured: for ever.")
@click.option("--forget", nargs=2, metavar="A B", help="Take back what was said of these two.")
@click.option("--note", default="", help="Why, to be remembered with --same, --different or --forget.")
@click.option("--against", metavar="SET", help="Which images are copies of a folder, a snapshot or a file of hashes.")
@click.option("--exclude", is_flag=True, help="With --against: set aside what is found; pools and snapshots obey.")
@click.option("--take-back", is_flag=True, help="With --against: let back in what was set aside for that set.")
@common
def command(
    out: Output,
    threshold: int | None,
    max_false_pairs: float | None,
    dry_run: bool,
    explain: str | None,
    same: tuple[str, str] | None,
    different: tuple[str, str] | None,
    forget: tuple[str, str] | None,
    note: str,
    against: str | None,
    exclude: bool,
    take_back: bool,
) -> None:
    """Group near-duplicates and keep one image of each group."""
    named = {"--explain": explain, "--same": same, "--different": different, "--forget": forget, "--against": against}
    given = [name for name, value in named.items() if value]
    searching = threshold is not None or max_false_pairs is not None or dry_run
    if len(given) + searching > 1:
        raise UsageError(
            f"{', '.join(given)} {'and options of the search ' if searching else ''}do not go together",
            hint="give one of them at a time",
        )
    if (against is None and (exclude or take_back)) or (exclude and take_back):
        raise UsageError(
            "`--exclude` and `--take-back` say what `--against` does", hint="`--against SET` with one of them"
        )
    from collector.dedup import dedup
    from collector.dedup.against import against as compare_with
    from collector.dedup.against import take_back as let_back
    from collector.dedup.explain import explain as tell
    from collector.dedup.explain import say

    with out.workspace() as ws:
        if explain:
            out.show(tell(ws, explain))
        elif against:
            out.show(let_back(ws, against) if take_back else compare_with(ws, against, exclude=exclude))
        elif pair := same or different or forget:
            out.show(say(ws, *pair, None if forget else bool(same), note))
        else:
            out.show(dedup(ws, threshold=threshold, max_false_pairs=max_false_pairs, dry_run=dry_run))
