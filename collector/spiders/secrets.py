"""Keys of APIs, kept out of everything that is written: logs, errors, the catalog."""

from __future__ import annotations

import logging
import traceback
from typing import Any
from urllib.parse import quote, quote_plus

_SECRETS: set[str] = set()


def keep_secret(*values: str) -> None:
    """Never show these again."""
    for value in values:
        if value:
            _SECRETS.update((value, quote(value, safe=""), quote_plus(value)))


def masked(text: str) -> str:
    """The text with *** in place of every secret."""
    for value in _SECRETS:
        text = text.replace(value, "***")
    return text


class MaskedRecord(logging.LogRecord):
    """A line of a log without secrets, whichever handler writes it: Scrapy replaces its handlers for each spider."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[0]:
            self.exc_text = masked("".join(traceback.format_exception(*self.exc_info)).rstrip())

    def getMessage(self) -> str:
        """The line itself."""
        return masked(super().getMessage())


def mask_logs() -> None:
    """Let nothing that is logged from now on hold a secret."""
    logging.setLogRecordFactory(MaskedRecord)
