"""Tell a person who is elsewhere how a long command goes: by apprise, or as JSON to any http(s) address.

A message holds the command, plain figures and one line of trouble; never images, annotations, or where files lie on
this machine. Addresses are secrets (many hold a token): no log and no error shows more than their kind. Telling happens
beside the run, which never waits for it but at its end, and there only for `PATIENCE_S`.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from collector.errors import UsageError

PATIENCE_S = 10.0
LOOK_S = 5.0  # between two looks at whether the run moves
PATHS = re.compile(r"(?<![\w/:.])(?:~|\.{1,2})?/[^\s'\"`,;]+|\b[A-Za-z]:\\\S+|\bfile://\S+")

logger = logging.getLogger(__name__)


class Notifier:
    """Tells several addresses; failures are warned of once and never raised.

    Raises:
        UsageError: an address is of a kind that nobody here can tell.
    """

    def __init__(self, urls: Sequence[str], patience_s: float = PATIENCE_S) -> None:
        self._senders = [_sender(url, patience_s) for url in dict.fromkeys(urls)]
        self._patience_s = patience_s
        self._sending: list[threading.Thread] = []
        self._complained = False

    def tell(self, state: str, title: str, text: str) -> None:
        """Send a message to every address, without waiting; `state` is a word such as finished or failed."""
        text = without_paths(text)
        for sender in self._senders:
            thread = threading.Thread(target=self._send, args=(sender, state, title, text), daemon=True)
            self._sending.append(thread)
            thread.start()

    def wait(self) -> None:
        """Wait for what is under way, a few seconds at most."""
        deadline = time.monotonic() + self._patience_s
        for thread in self._sending:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self._complain(f"no answer within {self._patience_s:.0f} s")

    def _send(self, sender: Callable[[str, str, str], None], state: str, title: str, text: str) -> None:
        try:
            sender(state, title, text)
        except Exception as error:  # whatever a service does, the run goes on
            self._complain(type(error).__name__)

    def _complain(self, why: str) -> None:
        if not self._complained:
            self._complained = True
            logger.warning("an address of --notify could not be told (%s); the run is not touched by that", why)


class Watch:
    """Tells when a run has made no progress for a while; once for each standstill."""

    def __init__(self, moved_at: Callable[[], float], stall_s: float, stalled: Callable[[float], None]) -> None:
        self._moved_at = moved_at
        self._stall_s = stall_s
        self._stalled = stalled
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        told_of = None
        while not self._over.wait(min(LOOK_S, self._stall_s / 4)):
            moved_at = self._moved_at()
            still = time.monotonic() - moved_at
            if still > self._stall_s and told_of != moved_at:
                told_of = moved_at
                self._stalled(still)

    def end(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()


def headline(figures: Mapping[str, Any]) -> str:
    """The plain numbers of a summary, one a line, intervals beside their figure."""
    lines = []
    for name, value in figures.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or re.search("_(low|high)$", name):
            continue
        low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")
        between = f" ({low:.3g} to {high:.3g})" if isinstance(low, float) and isinstance(high, float) else ""
        lines.append(f"{name.replace('_', ' ')} {value if isinstance(value, int) else f'{value:.3g}'}{between}")
    return "\n".join(lines)


def without_paths(text: str) -> str:
    """The text without the paths in it, and without the names and passwords in its addresses."""
    return PATHS.sub("(a path)", re.sub(r"//[^/@\s]*@", "//", text))


def _sender(url: str, timeout_s: float) -> Callable[[str, str, str], None]:
    kind = url.partition(":")[0] if "://" in url else "that"
    if find_spec("apprise") is not None:
        for name in ("apprise", "urllib3"):  # at their lower levels they log addresses
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the many services that it loads here
            import apprise

            service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if service is not None:
            return lambda state, title, text: _by_service(service, state, title, text)
    if kind in ("http", "https"):
        return lambda state, title, text: _by_webhook(url, timeout_s, state, title, text)
    raise UsageError(
        f"a `{kind}://` address of --notify cannot be told",
        hint="an http(s) address gets JSON; others need `pip install 'collect-dataset[notify]'` and apprise's spelling",
    )


def _by_service(service: Any, state: str, title: str, text: str) -> None:
    kinds = {"finished": "success", "failed": "failure", "interrupted": "warning", "stopped": "warning"}
    if not service.notify(title=title, body=text or title, notify_type=kinds.get(state, "warning")):
        raise ConnectionError("it was refused")


def _by_webhook(url: str, timeout_s: float, state: str, title: str, text: str) -> None:
    body = json.dumps({"state": state, "title": title, "text": text}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", "User-Agent": "collect"})
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        answer.read(1)
