"""`--notify`: what a long command tells, to whom, and when."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from collector.errors import CollectError, StoppedShort
from pipelines.cli.output import Output

if TYPE_CHECKING:
    from collector.records import Summary

VARIABLE = "COLLECT_NOTIFY"  # addresses parted by spaces, told beside those of the option

notify_option = click.option(
    "--notify",
    metavar="URL",
    multiple=True,
    help=f"Tell this address of the end, a crash, a stall; repeat for several. Also ${VARIABLE}.",
)


@contextmanager
def notified(out: Output, urls: Sequence[str], what: str) -> Iterator[Callable[[Summary], None]]:
    """Tell `urls`, and those of $COLLECT_NOTIFY, how the block ends, of alarms, and when it makes no progress.

    The block hands its summary to what it gets, so that the end is told with figures; warnings make it an alarm.

    with notified(out, urls, "train-baseline horse") as tell:
        summary = train_baseline(ws, ...)
        tell(summary)
    """
    # The lock of a step says who holds it, with the arguments, and they may hold a secret.
    for url in urls:
        sys.argv[:] = [argument.replace(url, "***") for argument in sys.argv]
    addresses = [*urls, *os.environ.get(VARIABLE, "").split()]
    if not addresses:
        yield lambda summary: None
        return

    from collector.config import find, load
    from pipelines.config import NotifyConfig
    from pipelines.finetune.alarms import heard
    from pipelines.notify import Notifier, Watch, headline

    stall_s = 60 * load(out.config or find()).section(NotifyConfig).stall_minutes
    notifier = Notifier(addresses)
    told: list[Summary] = []
    began = out.moved_at = time.monotonic()

    def stalled(still: float) -> None:
        notifier.tell("stalled", f"collect {what}: stalled", f"no progress for {still / 60:.0f} minutes; it still runs")

    def ended(state: str, text: str) -> None:
        watch.end()
        minutes = (time.monotonic() - began) / 60
        notifier.tell(state, f"collect {what}: {state}", f"{text}\nafter {minutes:.1f} minutes".strip())
        notifier.wait()

    def alarmed(text: str) -> None:
        notifier.tell("alarm", f"collect {what}: alarm", f"{text}\nit still runs")

    watch = Watch(lambda: out.moved_at, stall_s, stalled)
    try:
        with heard(alarmed, printed=not out.quiet):
            yield told.append
    except StoppedShort as error:
        ended("stopped", f"{error.message}\n{error.hint}")
        raise
    except CollectError as error:
        ended("failed", f"{error.message}\n{error.hint}")
        raise
    except (KeyboardInterrupt, click.Abort):
        ended("interrupted", "what was done is saved, the same command continues")
        raise
    except Exception as error:
        ended("failed", f"{type(error).__name__}: {error}".splitlines()[0])
        raise
    warnings = [warning for summary in told for warning in summary.warnings]
    figures = "\n".join(headline(summary.as_json()) for summary in told)
    ended("alarm" if warnings else "finished", "\n".join([*(f"warning: {each}" for each in warnings), figures]))
