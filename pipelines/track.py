"""Figures of a run for TensorBoard, and for MLflow or W&B where they are asked for.

The catalog is the record; a tracker only shows it. So none can stop or slow a run: figures are put into a queue and
never waited for, and a tracker that raises, hangs, dies or falls behind is dropped with one warning.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import chain
from numbers import Real
from pathlib import Path
from typing import IO, Any

from collector.errors import UsageError
from collector.registry import did_you_mean
from pipelines import trackers
from pipelines.trackers import About, Message, Messages

TRACKERS = ("mlflow", "wandb")
WAITING = 10_000  # messages that a tracker may be behind
PATIENCE_S = 60.0  # how long the end of a run waits for its trackers, all together

logger = logging.getLogger(__name__)


class Track:
    """The trackers of one run. Every call returns at once and never raises."""

    def __init__(self, feeds: Sequence[_Feed]) -> None:
        self._feeds = feeds

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Figures at one step of the run, as in `{"train/loss": 0.31}`."""
        self._tell(step, figures)

    def finish(self, figures: Mapping[str, Any]) -> None:
        """The figures of the finished run; what is no number is left out, nested names are joined by a slash."""
        self._tell(None, figures)

    def _tell(self, step: int | None, figures: Mapping[str, Any]) -> None:
        numbers = {name: float(value) for name, value in _flat(figures) if isinstance(value, Real)}
        for feed in self._feeds:
            feed.put(Message(time.time(), step, numbers))


@contextmanager
def tracking(
    folder: Path, names: Sequence[str] = (), *, run: str, config: Mapping[str, Any], patience_s: float = PATIENCE_S
) -> Iterator[Track]:
    """Track a run while the block runs: by TensorBoard where it is installed, and by the trackers of these names.

    A block that ends without `finish` is a run that was killed. Of several processes that train together, only the
    first may track.

    Args:
        folder: the run folder, `runs/<run>` of the data folder.
        names: of `TRACKERS`.
        run: the run's id; a run that is resumed goes on under it.
        config: the settings of the run.
        patience_s: how long the end of the block waits for trackers.

    Raises:
        UsageError: an unknown tracker, or one that is not installed.
    """
    for name in names:
        require(name)
    about = About(
        str(folder), run, {name: value for name, value in _flat(config) if isinstance(value, str | int | float)}
    )
    feeds = [_Feed(name, _Process(name, about)) for name in dict.fromkeys(names)]
    if find_spec("tensorboard") is not None:
        feeds.append(_Feed("tensorboard", lambda messages: trackers.tensorboard(about, messages)))
    try:
        yield Track(feeds)
    finally:
        for feed in feeds:
            feed.end()
        deadline = time.monotonic() + patience_s
        for feed in feeds:
            feed.wait(deadline)


def require(name: str) -> None:
    """Refuse a tracker that nobody knows or that is not installed; a run checks this before it begins."""
    if name not in TRACKERS:
        raise UsageError(
            f"`{name}` is not a tracker{did_you_mean(name, TRACKERS)}",
            hint=f"known: {', '.join(TRACKERS)}; TensorBoard's files are written anyway",
        )
    if find_spec(name) is None:
        raise UsageError(f"the tracker `{name}` is not installed", hint=f"pip install 'collect-dataset[{name}]'")


class _Feed:
    """The queue of one tracker, and the thread that empties it into `record`."""

    def __init__(self, name: str, record: Callable[[Messages], None]) -> None:
        self.name = name
        self._record = record
        self._queue: queue.Queue[Message | None] = queue.Queue(WAITING)
        self._dropped = False
        self._thread = threading.Thread(target=self._run, name=f"track-{name}", daemon=True)
        self._thread.start()

    def put(self, message: Message | None) -> None:
        """Pass a message on, without waiting."""
        if self._dropped:
            return
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            self._drop(f"it is {WAITING} messages behind")

    def end(self) -> None:
        """Say that nothing follows."""
        self.put(None)

    def wait(self, deadline: float) -> None:
        """Wait until the tracker is through, or drop it at the deadline."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._drop("it does not answer")

    def _run(self) -> None:
        try:
            self._record(self._batches())
        except Exception as error:
            self._drop(str(error) or type(error).__name__)

    def _batches(self) -> Messages:
        """All that waits, again and again."""
        while True:
            batch = [self._queue.get()]
            with suppress(queue.Empty):
                while batch[-1] is not None:
                    batch.append(self._queue.get_nowait())
            if messages := [each for each in batch if each is not None]:
                yield messages
            if batch[-1] is None:
                return

    def _drop(self, why: str) -> None:
        if self._dropped:
            return
        self._dropped = True
        if isinstance(self._record, _Process):
            self._record.kill()
        # Addresses of trackers may hold a password.
        logger.warning(
            "the run goes on without the tracker `%s`: %s", self.name, re.sub(r"//[^/@\s]+@", "//***@", why)[-300:]
        )


class _Process:
    """A tracker in a process of its own, which gets messages as lines of JSON."""

    def __init__(self, name: str, about: About) -> None:
        self._name = name
        self._about = about
        self._killed = False
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, messages: Messages) -> None:
        """Send everything, then wait for the end; raises what the process complained of."""
        # A session of its own: Ctrl-C is ours to handle. `-P`: the modules beside the file hide none of Python's.
        self._process = subprocess.Popen(
            [sys.executable, "-P", trackers.__file__, self._name],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        if self._killed:
            _kill(self._process)
        said: list[str] = []
        listening = threading.Thread(target=_listen, args=(self._process.stderr, said), daemon=True)
        listening.start()
        with suppress(BrokenPipeError), self._process.stdin as out:
            for line in chain((self._about._asdict(),), messages):
                out.write(json.dumps(line) + "\n")
                out.flush()
        code = self._process.wait()
        listening.join(1)
        if code != 0:
            raise RuntimeError(said[-1] if said else f"its process ended with {code}")

    def kill(self) -> None:
        """End the process."""
        self._killed = True
        if self._process is not None:
            _kill(self._process)


def _kill(process: subprocess.Popen[str]) -> None:
    """End a process and all that it started; they are a session of their own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _listen(pipe: IO[str], said: list[str]) -> None:
    """Keep the last line of a pipe, and keep it from running full."""
    with pipe:
        for line in pipe:
            if line.strip():
                said[:] = [line.strip()]


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}/")
        else:
            yield f"{before}{name}", value
