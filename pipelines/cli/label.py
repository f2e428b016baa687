"""`collect label start|stop|status|annotators|assign|push|pull`."""

import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from pipelines.cli.output import Output, common


@click.group("label")
def group() -> None:
    """Run Label Studio; send images to the annotators and fetch their answers."""


@group.command("start")
@click.option("--host", help="Address to listen on, 0.0.0.0 for all: for a team. Default: `label.host`, 127.0.0.1.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option(
    "--password-file", type=click.Path(path_type=Path), help="Private file with the administrator's new password."
)
@click.option("--detach", is_flag=True, help="Return when it answers, and leave it running.")
@common
def start(out: Output, host: str | None, port: int | None, password_file: Path | None, detach: bool) -> None:
    """Run Label Studio here, private, on 127.0.0.1 unless a team is to reach it.

    For a team the administrator chooses a password: COLLECT_LABEL_PASSWORD, --password-file, or typed in.
    """
    from labeling.lifecycle import must_choose_password, read_password, wait
    from labeling.lifecycle import start as start_studio

    with out.workspace() as ws:
        password = read_password(password_file)
        if password is None and must_choose_password(ws, host) and sys.stdin.isatty():
            password = click.prompt("Administrator's password", hide_input=True, confirmation_prompt=True, err=True)
        out.show(start_studio(ws, host=host, port=port, password=password))
        if not detach:
            wait(ws)


@group.command("stop")
@common
def stop(out: Output) -> None:
    """Stop the Label Studio of this workspace; annotations are kept."""
    from labeling.lifecycle import stop as stop_studio

    with out.workspace() as ws:
        out.show(stop_studio(ws))


@group.command("status")
@common
def status(out: Output) -> None:
    """Show whether Label Studio runs, whose it is, and how much is in it."""
    from labeling.lifecycle import status as status_of

    with out.workspace() as ws:
        out.show(status_of(ws))


@group.group("annotators")
def annotators() -> None:
    """Say who labels: accounts with passwords, one project for each person."""


@annotators.command("add")
@click.argument("names", nargs=-1, required=True)
@click.option("--email", help="E-mail address to sign in with, of a single name.")
@common
def add(out: Output, names: tuple[str, ...], email: str | None) -> None:
    """Make accounts, with passwords in a private file; these people label from now on."""
    from labeling.annotators import add as add_people

    with out.workspace() as ws:
        out.show(add_people(ws, names, email=email))


@annotators.command("list")
@common
def list_(out: Output) -> None:
    """Show everybody with share, tasks, answers and median seconds an answer."""
    from labeling.annotators import team

    with out.workspace() as ws:
        out.show(team(ws))


@annotators.command("remove")
@click.argument("name")
@common
def remove(out: Output, name: str) -> None:
    """Give a person no new tasks and close the account; the answers stay."""
    from labeling.annotators import remove as remove_person

    with out.workspace() as ws:
        out.show(remove_person(ws, name))


@group.command("assign")
@click.argument("shares", nargs=-1, required=True, metavar="NAME=WEIGHT...")
@common
def assign(out: Output, shares: tuple[str, ...]) -> None:
    """Give people shares of new tasks, as in `anna=2 ben=1`; 0 gives none."""
    from labeling.annotators import assign as assign_shares
    from labeling.annotators import read_shares

    with out.workspace() as ws:
        out.show(assign_shares(ws, read_shares(shares)))


@group.command("push")
@click.argument("concept", required=False)
@click.option(
    "-n", "--limit", type=click.IntRange(min=0), help="Images of the pool to have as tasks (held-out ones come first)."
)
@click.option("--overlap", type=click.IntRange(min=1), help="Annotators for each image.")
@click.option("--round", "name", help="A round of its own, of pool images that are in no other.")
@click.option("--annotators", "people", help="Who labels in it, as in `anna,ben`. Default: everybody.")
@click.option(
    "--order", type=click.Choice(["random", "uncertain", "disputed", "diverse", "next"]), help="Who comes first."
)
@click.option("--arbiter", help="Who settles disputed images alone.")
@click.option("--several/--one", default=None, help="Let one image have several labels at once.")
@click.option("--proposals/--no-proposals", default=None, help="Show what the newest model says.")
@click.option("--no-proposal-share", type=click.FloatRange(0, 1), help="Share that is shown without a proposal.")
@click.option("--shared/--blind", default=None, help="One project for all, blind by workflow only.")
@click.option("--sentinels", type=click.IntRange(min=0), default=0, help="Known answers planted for each annotator.")
@click.option("--sentinels-from", "file", type=click.Path(path_type=Path), help="CSV with them: image,label.")
@click.option("--wrong-sentinels", "wrong", type=click.IntRange(min=0), default=0, help="Wrong proposals planted.")
@common
def push(out: Output, concept: str | None, limit: int | None, overlap: int | None, **asked: Any) -> None:
    """Send images to the annotators: held-out images first, blind; then the pool."""
    from labeling.push import Campaign
    from labeling.push import push as push_tasks
    from labeling.rounds import Rules
    from labeling.sentinels import Wish

    names = asked["people"]
    shared = asked["shared"]
    rules = Rules(
        people=tuple(filter(None, (each.strip() for each in names.split(",")))) if names else None,
        order=asked["order"],
        several=asked["several"],
        proposals=asked["proposals"],
        blind=None if shared is None else not shared,
    )
    campaign = Campaign(
        name=asked["name"],
        rules=rules,
        arbiter=asked["arbiter"],
        sentinels=Wish(asked["sentinels"], asked["wrong"], asked["file"]),
        no_proposal_share=asked["no_proposal_share"],
    )
    with out.workspace() as ws:
        out.show(push_tasks(ws, concept, limit=limit, overlap=overlap, campaign=campaign))


@group.command("pull")
@click.argument("concept", required=False)
@click.option("--watch", is_flag=True, help="Pull again and again, until Ctrl-C.")
@click.option("--every", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Seconds between pulls.")
@common
def pull(out: Output, concept: str | None, watch: bool, every: float) -> None:
    """Fetch the annotators' answers; every change is a new row."""
    from labeling.pull import follow
    from labeling.pull import pull as pull_answers

    with out.workspace() as ws:
        out.show(follow(ws, concept, every=every) if watch else pull_answers(ws, concept))


@group.command("backend")
@click.argument("concept", required=False)
@click.option("--run", help="The run that proposes (default: the newest finished one).")
@click.option("--zero-shot", is_flag=True, help="Guess by ImageNet's classes, as is done before anything is trained.")
@common
def backend(out: Output, concept: str | None, run: str | None, zero_shot: bool) -> None:
    """Propose live while people label, until Ctrl-C; Start Training there makes it learn."""
    from pipelines.backend import serving

    with out.workspace() as ws, serving(ws, concept, run=run, zero_shot=zero_shot) as summary:
        out.show(summary)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


FORMATS = click.Choice(["label-studio", "csv", "cvat", "coco", "folders"])


@group.command("import")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.argument("concept", required=False)
@click.option("--format", "form", type=FORMATS, help="How it is written (default: what it looks like).")
@click.option("--annotator", default="", help="Who gave the labels for which the file names nobody.")
@common
def import_(out: Output, path: Path, concept: str | None, form: str | None, annotator: str) -> None:
    """Take in labels that were given elsewhere, to pictures that are here."""
    from labeling.exchange import import_labels

    with out.workspace() as ws:
        out.show(import_labels(ws, path, concept, format=form, annotator=annotator))


@group.command("export")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("concept", required=False)
@click.option("--format", "form", type=FORMATS, required=True, help="How to write it.")
@click.option("--annotator", help="Only the answers of this one.")
@common
def export(out: Output, path: Path, concept: str | None, form: str, annotator: str | None) -> None:
    """Write the standing answers to a file, or for `folders` the pictures by label."""
    from labeling.exchange import export_labels

    with out.workspace() as ws:
        out.show(export_labels(ws, path, concept, format=form, annotator=annotator))
