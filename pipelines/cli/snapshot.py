"""`collect snapshot [CONCEPT]`, and `collect snapshot list|show|diff`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.cli.output import Output, common

if TYPE_CHECKING:
    from collector.workspace import Workspace


class WithDefault(click.Group):
    """A group that does something of its own where no command of its follows: that command has no name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take whatever is no command as words of the default."""
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["", *args]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """The usage of the default."""
        return self.commands[""].collect_usage_pieces(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options of the default, then the commands."""
        self.commands[""].format_options(ctx, formatter)
        rows = [(name, each.get_short_help_str(90)) for name, each in self.commands.items() if name]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group("snapshot", cls=WithDefault)
def group() -> None:
    """Freeze the labeled images with their splits into a hashed manifest."""


of = click.option("--concept", help="The concept (default: the only one).")


@group.command("")
@click.argument("concept", required=False)
@click.option("--concept", "named", help="The concept, where it has the name of a command: list, show or diff.")
@click.option("--name", help="What to call it (default: CONCEPT-1, CONCEPT-2, ...).")
@click.option("--license", "licenses", multiple=True, help="Only such images: a code or preset; may be repeated.")
@click.option("--source", "sources", multiple=True, help="Only images of this source; may be repeated.")
@click.option("--tier", "tiers", multiple=True, help="Only this tier of the pool; may be repeated.")
@click.option("--exclude", multiple=True, help="Leave out images with this flag of quality; may be repeated.")
@click.option("--min-confidence", type=click.FloatRange(0, 1), help="Smallest share of the votes behind a label.")
@click.option("--per-source", type=click.IntRange(0), help="At most so many training images of one source.")
@click.option("--per-creator", type=click.IntRange(0), help="At most so many training images of one creator.")
@click.option("--negatives", type=click.FloatRange(0), help="At most so many training negatives for one other image.")
@click.option("--accept-shortcut", is_flag=True, help="Freeze even where metadata tells the classes apart.")
@click.option("--accept-ceiling", is_flag=True, help="Freeze even where people agree too little.")
@common
def make(  # one for each option
    out: Output,
    concept: str | None,
    named: str | None,
    name: str | None,
    accept_shortcut: bool,
    accept_ceiling: bool,
    **filters: Any,
) -> None:
    """Freeze the labeled images with their splits into a hashed manifest."""
    from pipelines.snapshot import snapshot

    accepted = {"accept_shortcut": accept_shortcut, "accept_ceiling": accept_ceiling}
    with out.workspace() as ws:
        out.show(snapshot(ws, named or concept, name=name, filters=filters, **accepted))


@group.command("list")
@click.argument("concept", required=False)
@common
def list_(out: Output, concept: str | None) -> None:
    """List the snapshots of a concept."""
    from pipelines.snapshots import snapshots

    with out.workspace() as ws:
        _refuse_ambiguity(ws, "list", concept)
        out.show(snapshots(ws, concept))


@group.command("show")
@click.argument("snapshot", required=False)
@of
@common
def show_(out: Output, snapshot: str | None, concept: str | None) -> None:
    """Show what SNAPSHOT, a name or the beginning of a digest, holds (default: the newest)."""
    from pipelines.snapshots import show

    with out.workspace() as ws:
        _refuse_ambiguity(ws, "show", snapshot or concept)
        out.show(show(ws, snapshot, concept=concept))


@group.command("diff")
@click.argument("first")
@click.argument("second")
@of
@click.option("--out", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write all changes to a CSV file.")
@common
def diff_(out: Output, first: str, second: str, concept: str | None, file: Path | None) -> None:
    """Tell which images SECOND adds, removes, relabels, relicenses or moves, compared with FIRST."""
    from pipelines.snapshots import diff

    with out.workspace() as ws:
        out.show(diff(ws, first, second, concept=concept, out=file))


def _refuse_ambiguity(ws: Workspace, word: str, given: str | None) -> None:
    """Raise when a command without arguments may mean the concept of that name."""
    from collector.catalog import concepts
    from collector.errors import UsageError

    known = {each.name for each in concepts.all_concepts(ws.catalog)} | set(ws.settings.concepts())
    if given is None and word in known:
        raise UsageError(
            f"`{word}` is a concept here, and a command as well",
            hint=f"`collect snapshot --concept {word}` freezes it; `collect snapshot {word} ...` with more words is "
            "the command",
        )
