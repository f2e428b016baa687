"""Every error that a person can meet, with the next step and the exit code.

CollectError               could not; the message says why                          exit 1
├── UsageError             a wrong argument, setting or file                        exit 2
├── StoppedShort           stopped early, work saved; the same command continues    exit 3
├── GateNotMet             a figure is below what was asked for                     exit 4
├── Busy                   another process holds the lock of this step              exit 1
├── DiskFull               no space left; nothing half-written remains              exit 1
└── ServiceDown            a server (Label Studio, a source) does not answer        exit 1

Please don't add a class here without drawing it above. `Ctrl-C` (exit 130) is Python's KeyboardInterrupt.
"""


class CollectError(Exception):
    """What went wrong in one sentence, and in `hint` what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CollectError):
    """A wrong argument, setting or file; names the value and where it came from."""

    exit_code = 2


class StoppedShort(CollectError):
    """The step ended before its goal; all work is saved and the same command continues."""

    exit_code = 3


class GateNotMet(CollectError):
    """The step ran, and its figure is below the one that was asked for."""

    exit_code = 4


class Busy(CollectError):
    """Another process holds the named lock; the message says which."""


class DiskFull(CollectError):
    """The disk has no space left; the catalog and the store are consistent."""


class ServiceDown(CollectError):
    """A server that this step needs does not answer."""
