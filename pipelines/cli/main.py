"""`collect`: the group of all commands, and the one boundary that turns errors into two lines and an exit code."""

from __future__ import annotations

import signal
import sys
import traceback
from types import FrameType

import click

from collector.errors import CollectError
from pipelines.cli import (
    agreement,
    compare,
    contamination,
    crawl,
    credits,
    dedup,
    demo,
    doctor,
    errata,
    evaluate,
    export,
    export_model,
    forget,
    gc,
    import_,
    init,
    label,
    leaks,
    negatives,
    next_,
    prelabel,
    quality,
    recheck,
    report,
    runs,
    shortcuts,
    snapshot,
    sources,
    split,
    status,
    sweep,
    train_baseline,
    verify,
)

SECTIONS = {
    "Start": [init.command, doctor.command, status.command, demo.command],
    "Collect": [sources.command, crawl.command, import_.command, dedup.command, negatives.command, recheck.command],
    "Check": [quality.command, leaks.command, shortcuts.command, contamination.command],
    "Label": [label.group, agreement.command, errata.group],
    "Learn": [
        split.command,
        snapshot.group,
        train_baseline.command,
        runs.command,
        compare.command,
        evaluate.command,
        prelabel.command,
        next_.command,
        sweep.command,
    ],
    "Share": [export.command, export_model.command, verify.command, credits.command, report.command],
    "Remove": [forget.command, gc.command],
}


class Sectioned(click.Group):
    """A group whose help lists its commands by section, in the order of work."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(str(each.name), each.get_short_help_str(90)) for each in commands])


@click.group(cls=Sectioned, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="collect-dataset", prog_name="collect")
def cli() -> None:
    """From a word to a trained, honestly measured image classifier.

    A first look, without network or keys: collect demo
    """


for commands in SECTIONS.values():
    for each in commands:
        cli.add_command(each)


def main() -> None:
    """Run the command line and exit: 0 done, 1 could not, 2 usage, 3 stopped short, 4 gate not met, 130 interrupted."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    sys.exit(_run())


def _run() -> int:
    try:
        cli.main(standalone_mode=False)
        return 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Exit as done:
        return done.exit_code
    except CollectError as error:
        click.secho(f"error: {error.message}", fg="red", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; what was done is saved, the same command continues", err=True)
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        click.secho(f"error: {type(error).__name__}: {error}", fg="red", err=True)
        click.echo("hint: this is a bug in collect; run the command again with -v and report what it prints", err=True)
        if {"-v", "-vv", "--verbose"} & set(sys.argv):
            traceback.print_exc()
        return 1


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
