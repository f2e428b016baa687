"""The fixed words for refusals, by what may become of them later."""

from __future__ import annotations

from collector.records import Rejected

TRANSIENT = ("timeout", "http-error", "connection", "dns", "tls", "robots-unreachable", "busy")
"""Refusals that `--retry-failed` looks at again."""
JUDGED = ("excluded-word", "off-topic", "bad-address", "private-address", "creator-cap", "site-cap")
"""Refusals from what is known without the file, under the settings of that day: they are judged anew each time."""


def is_transient(reason: str) -> bool:
    """Whether another try may end otherwise."""
    return reason in TRANSIENT


def is_judged_anew(reason: str) -> bool:
    """Whether a refusal came from the answer alone and says nothing about today's settings."""
    return reason in JUDGED or reason.startswith(("license-", "facet-"))


def of_status(status: int) -> Rejected | None:
    """Why an HTTP status is no picture; None for 200."""
    if status in (200, 206):
        return None
    if status in (404, 410):
        return Rejected("dead-link", f"HTTP {status}")
    return Rejected("http-error", f"HTTP {status}")
