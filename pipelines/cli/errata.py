"""`collect errata open|list|apply|dismiss|suspects`."""

import click

from pipelines.cli.output import Output, common


@click.group("errata")
def group() -> None:
    """Keep a register of wrong labels: opened, decided by people, applied to the next snapshot."""


concept = click.option("--concept", help="The concept (default: the only one).")
by = click.option("--by", default="me", show_default=True, help="Who says so.")


@group.command("open")
@click.argument("image")
@click.option("--should-be", required=True, help="The right label.")
@click.option("--why", required=True, help="What shows it.")
@by
@concept
@common
def open_(out: Output, image: str, should_be: str, why: str, by: str, concept: str | None) -> None:
    """Write down that the label of IMAGE, a sha256 or its beginning, is wrong."""
    from labeling.errata import open_erratum

    with out.workspace() as ws:
        out.show(open_erratum(ws, image, should_be=should_be, why=why, concept=concept, by=by))


@group.command("list")
@click.argument("concept", required=False)
@click.option(
    "--state", type=click.Choice(["open", "confirmed", "applied", "dismissed"]), help="Only those in this state."
)
@common
def list_(out: Output, concept: str | None, state: str | None) -> None:
    """Show the register; confirmed ones wait to be applied."""
    from labeling.errata import listed

    with out.workspace() as ws:
        out.show(listed(ws, concept, state=state))


@group.command("apply")
@click.argument("numbers", type=int, nargs=-1, metavar="[NUMBER]...")
@click.option("--all-confirmed", is_flag=True, help="Apply all that people confirmed.")
@by
@concept
@common
def apply_(out: Output, numbers: tuple[int, ...], all_confirmed: bool, by: str, concept: str | None) -> None:
    """Let errata count from the next snapshot on, and list each run that must be repeated."""
    from pipelines.errata import apply

    with out.workspace() as ws:
        out.show(apply(ws, numbers, all_confirmed=all_confirmed, concept=concept, by=by))


@group.command("dismiss")
@click.argument("numbers", type=int, nargs=-1, required=True, metavar="NUMBER...")
@click.option("--why", required=True, help="What shows that the label was right.")
@by
@concept
@common
def dismiss_(out: Output, numbers: tuple[int, ...], why: str, by: str, concept: str | None) -> None:
    """Say that errata are none; an applied one is taken back."""
    from labeling.errata import dismiss

    with out.workspace() as ws:
        out.show(dismiss(ws, numbers, why=why, concept=concept, by=by))


@group.command("suspects")
@click.argument("concept", required=False)
@click.option("--run", help="The run that is asked (default: the newest).")
@common
def suspects_(out: Output, concept: str | None, run: str | None) -> None:
    """Queue labels that a model doubts on images that it was not trained on; people decide."""
    from pipelines.errata import suspects

    with out.workspace() as ws:
        out.show(suspects(ws, concept, run=run))
