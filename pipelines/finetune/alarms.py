"""What goes wrong in a training without ending it: told at once, by the log, while the run goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from pipelines import calibrate

LOG = logging.getLogger("pipelines.finetune")


def drifting(history: Sequence[Mapping[str, float]]) -> str | None:
    """What `calibrate.drift` says after an epoch; the epoch that made it say so, and no later one, is told of."""
    said = calibrate.drift(history)
    if said is not None and calibrate.drift(history[:-1]) is None:
        LOG.warning("%s", said)
    return said


class _Ear(logging.Handler):
    def __init__(self, hear: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        self._hear(record.getMessage())


@contextmanager
def heard(hear: Callable[[str], None], *, printed: bool = True) -> Iterator[None]:
    """Hand every alarm to `hear` as well, also where the log is told to be quiet; it is not `printed` then."""
    ear, before = _Ear(hear), (LOG.level, LOG.propagate)
    LOG.addHandler(ear)
    LOG.setLevel(logging.WARNING)
    LOG.propagate = printed
    try:
        yield
    finally:
        LOG.removeHandler(ear)
        LOG.setLevel(before[0])
        LOG.propagate = before[1]
