"""`collect forget`."""

import click

from pipelines.cli.output import Output, common


@click.command("forget")
@click.argument("what", metavar="[URL|SHA256|CREATOR]", default="")
@click.option("--creator", metavar="NAME", help="A creator whose name looks like an address or a sha256.")
@click.option("--why", default="", help="A reason, kept with the record of it.")
@click.option("--yes", is_flag=True, help="Do it: without, it is only said what would go.")
@click.option("--allow", metavar="SHA256", help="Let a picture in that was taken for a copy of a forgotten one.")
@common
def command(out: Output, what: str, creator: str | None, why: str, yes: bool, allow: str | None) -> None:
    """Remove pictures for good, with previews and vectors, and never take them in again."""
    from pipelines import forget

    if allow and (what or creator or yes):
        raise click.UsageError("--allow stands alone, or with --why")
    with out.workspace() as ws:
        if allow:
            out.show(forget.allow(ws, allow, why=why))
        else:
            out.show(forget.forget(ws, what, creator=creator, why=why, yes=yes))
