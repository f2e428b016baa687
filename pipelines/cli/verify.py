"""`collect verify`."""

from pathlib import Path

import click

from pipelines.cli.output import Output, common


@click.command("verify")
@click.argument("target", metavar="[SNAPSHOT|FOLDER]", required=False)
@click.option("--concept", help="The concept of the snapshot, where several have one.")
@common
def command(out: Output, target: str | None, concept: str | None) -> None:
    """Hash every byte of a snapshot, or of an exported folder, anew."""
    from collector.errors import CollectError
    from pipelines.verify import verify_export, verify_snapshot

    if target is not None and Path(target).is_dir():
        found = verify_export(Path(target), out.progress)
        hint = "take the files from a backup, or remove the folder and export again"
    else:
        with out.workspace() as ws:
            found = verify_snapshot(ws, target, concept)
        hint = "restore the store from a backup; what is gone for good is taken out by `collect forget`"
    out.show(found)
    if not found.ok:
        raise CollectError(found.verdict, hint=hint)
