"""The only place that prints: data on stdout, everything else on stderr, `--json` as one object."""

from __future__ import annotations

import functools
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from collector.records import Summary
    from collector.workspace import Workspace

IN_A_LINE, FIRST = 24, 12  # values that stand in one line of a summary; of more, the first


class Output:
    """How this command prints, as its common options say."""

    def __init__(self, *, config: Path | None, as_json: bool, verbose: int, quiet: bool, progress: bool) -> None:
        self.config = config
        self.as_json = as_json
        self.quiet = quiet
        self.shows_progress = progress and not quiet and not as_json
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, tuple[float, int]] = {}
        self.moved_at = time.monotonic()  # when a step last told of progress
        level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
        logging.basicConfig(
            level=logging.ERROR if quiet else level, format="%(levelname)s: %(message)s", stream=sys.stderr
        )

    @contextmanager
    def workspace(self) -> Iterator[Workspace]:
        """The workspace of `--config`, or of the nearest config.toml; checks every section first."""
        from collector.config import find, load
        from collector.workspace import Workspace
        from pipelines.settings import check

        path = self.config or find()
        check(load(path))
        with Workspace.open(path, progress=self.progress) as ws:
            try:
                yield ws
            finally:
                self.end_progress()

    def progress(self, text: str, done: int, total: int | None) -> None:
        """Show how far a step is: a bar for each subject (the text before the colon), or lines each 10 % or 30 s."""
        self.moved_at = time.monotonic()
        if not self.shows_progress:
            return
        subject = text.split(":")[0]
        if sys.stderr.isatty():
            self._draw(subject, text, done, total)
            return
        when, tenth = self._said.get(subject, (-100.0, -1))
        now, reached = time.monotonic(), 10 * done // total if total else -1
        if reached > tenth or now - when > 30:
            self._said[subject] = (now, reached)
            click.echo(f"{text} {done}{f'/{total}' if total else ''}" if done else text, err=True)

    def _draw(self, subject: str, text: str, done: int, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
        if subject not in self._tasks:
            self._tasks[subject] = self._bar.add_task(text, total=total)
        self._bar.update(self._tasks[subject], description=text, completed=done, total=total)

    def end_progress(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar, self._tasks = None, {}

    def show(self, summary: Summary) -> None:
        """Print a summary, as a table for people or as one JSON object."""
        self.end_progress()
        if self.as_json:
            click.echo(json.dumps(summary.as_json(), default=str))
            return
        if self.quiet:
            return
        self.table(_rows(summary.for_people()))
        for warning in summary.warnings:
            click.secho(f"warning: {_harmless(warning)}", fg="yellow", err=True)
        if summary.next:
            click.echo(f"Next: `{summary.next}`")

    def table(self, rows: Mapping[str, str]) -> None:
        """Print names and values in two columns."""
        width = max((len(name) for name in rows), default=0)
        for name, value in rows.items():
            lines = [_harmless(line) for line in value.splitlines()] or [""]
            click.echo(f"  {name:<{width}}  {lines[0]}")
            for line in lines[1:]:
                click.echo(f"  {'':<{width}}  {line}")

    def data(self, value: Any, text: str) -> None:
        """Print `value` with `--json`, else `text`."""
        self.end_progress()
        click.echo(json.dumps(value, default=str) if self.as_json else text)


def _rows(figures: Mapping[str, Any]) -> dict[str, str]:
    """Field -> text; `x_low` and `x_high` are shown beside `x` as its interval."""
    rows = {}
    for name, value in figures.items():
        if name in ("next", "warnings") or name.removesuffix("_low").removesuffix("_high") in figures.keys() - {name}:
            continue
        text = _text(value)
        if f"{name}_low" in figures and value is not None:
            text += f"  (95 % interval {_text(figures[f'{name}_low'])} to {_text(figures[f'{name}_high'])})"
        rows[name.replace("_", " ")] = text
    return rows


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        nested = any(isinstance(each, Mapping) for each in value.values())
        parts = [f"{key} {_text(each)}" for key, each in value.items()]
        return ("\n".join(parts) if nested else _few(parts, "   ")) or "-"
    if isinstance(value, list | tuple):
        nested = any(isinstance(each, list | tuple) or len(str(each)) > 30 for each in value)
        parts = [_text(each) for each in value]
        return ("\n".join(parts) if nested else _few(parts, "  ")) or "-"
    return str(value)


def _few(parts: Sequence[str], between: str) -> str:
    """Parts in one line; of a thousand labels the first few, because nobody reads them all."""
    if len(parts) <= IN_A_LINE:
        return between.join(parts)
    return between.join([*parts[:FIRST], f"... and {len(parts) - FIRST:,} more (--json has all)"])


def _harmless(text: str) -> str:
    """A line in which strangers' text can neither steer the terminal nor turn the direction of writing."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def common(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every command takes; the command receives an `Output` as its first argument."""

    @click.option(
        "--config", type=click.Path(path_type=Path), help="The config.toml to use (default: the nearest one)."
    )
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
    @click.option("-v", "--verbose", count=True, help="Say more; twice for debugging.")
    @click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
    @click.option("--no-progress", is_flag=True, help="Show no progress.")
    @functools.wraps(command)
    def wrapped(config: Path | None, as_json: bool, verbose: int, quiet: bool, no_progress: bool, **rest: Any) -> None:
        out = Output(config=config, as_json=as_json, verbose=verbose, quiet=quiet, progress=not no_progress)
        try:
            command(out, **rest)
        finally:
            out.end_progress()

    return wrapped
