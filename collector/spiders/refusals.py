"""Why a file could not be fetched: one fixed word for everything that can go wrong on the way."""

from __future__ import annotations

from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadTimeoutError,
    IgnoreRequest,
    ResponseDataLossError,
    StopDownload,
)

from collector.records import Rejected
from collector.spiders.secrets import masked


def reason_of(error: BaseException | None) -> Rejected:
    """The fixed word, and the detail, for an error of the download."""
    detail = masked(f"{type(error).__name__}: {error}")[:300]
    own = getattr(error, "refusal", None)  # our own errors bring theirs
    if isinstance(own, Rejected):
        return own
    if isinstance(error, StopDownload):
        return Rejected("opted-out", "the X-Robots-Tag header opts out")
    if isinstance(error, IgnoreRequest):
        robots = "robots.txt" in str(error)  # Scrapy has one class for this and for too many redirects
        return Rejected("robots" if robots else "http-error", masked(str(error))[:300])
    if isinstance(error, DownloadTimeoutError):
        return Rejected("timeout", detail)
    if isinstance(error, DownloadCancelledError):
        return Rejected("too-large", detail)
    if isinstance(error, CannotResolveHostError):
        return Rejected("dns", detail)
    if isinstance(error, ResponseDataLossError):
        return Rejected("connection", masked(f"the body was cut short: {error}")[:300])
    if "certificate" in detail.lower() or "ssl" in detail.lower():
        return Rejected("tls", detail)
    return Rejected("connection", detail)
