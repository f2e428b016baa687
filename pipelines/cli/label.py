"""`collect label start|stop|push|pull`."""

import click

from pipelines.cli.output import Output, common


@click.group("label")
def group() -> None:
    """Run Label Studio; send images to the annotators and fetch their answers."""


@group.command("start")
@click.option("--port", type=click.IntRange(1, 65535), help="Port on 127.0.0.1.")
@click.option("--detach", is_flag=True, help="Return when it answers, and leave it running.")
@common
def start(out: Output, port: int | None, detach: bool) -> None:
    """Run Label Studio here, private, on 127.0.0.1."""
    from labeling.lifecycle import start as start_studio
    from labeling.lifecycle import wait

    with out.workspace() as ws:
        out.show(start_studio(ws, port=port))
        if not detach:
            wait(ws)


@group.command("stop")
@common
def stop(out: Output) -> None:
    """Stop the Label Studio of this workspace; annotations are kept."""
    from labeling.lifecycle import stop as stop_studio

    with out.workspace() as ws:
        out.show(stop_studio(ws))


@group.command("push")
@click.argument("concept", required=False)
@click.option(
    "-n", "--limit", type=click.IntRange(min=0), help="Images of the pool to have as tasks (held-out ones come first)."
)
@click.option("--overlap", type=click.IntRange(min=1), help="Annotators for each image.")
@common
def push(out: Output, concept: str | None, limit: int | None, overlap: int | None) -> None:
    """Send images to the annotators: held-out images first, blind; then the pool."""
    from labeling.push import push as push_tasks

    with out.workspace() as ws:
        out.show(push_tasks(ws, concept, limit=limit, overlap=overlap))


@group.command("pull")
@click.argument("concept", required=False)
@common
def pull(out: Output, concept: str | None) -> None:
    """Fetch the annotators' answers; every change is a new row."""
    from labeling.pull import pull as pull_answers

    with out.workspace() as ws:
        out.show(pull_answers(ws, concept))
