"""Opt-outs: how the people behind a picture say that nobody may learn from it, read before the picture is.

Each signal has a reader, a pure function that returns the signal's text, which becomes the evidence, or None. They do
not ask who is addressed: `somebot: noai` and a wish about generative models count as well, because nobody knows what a
data set will be used for. One signal is enough.

    X-Robots-Tag         the words of `crawl.opt_outs`, and a date of `unavailable_after` that has passed
    tdm-reservation      header and /.well-known/tdmrep.json, https://www.w3.org/2022/tdmrep/; the header overrides
    Content-Usage        header and robots.txt line, draft-ietf-aipref-attach; Content-Signal lines say the same

robots.py fetches the two files, once for each host, whatever the source: the hosts of an index such as Openverse or
GBIF have owners, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import unquote

from scrapy import Request, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import StopDownload
from scrapy.http import Headers, Response

from collector.spiders.middlewares import PAGE, PICTURE, OptedOut

RESERVED = "tdm_reserved"  # request.meta: what tdmrep.json says against this address
SIGNALS = frozenset((b"X-Robots-Tag", b"Tdm-Reservation", b"Content-Usage"))  # as Scrapy spells them
TRAINING = ("train-ai", "ai-train", "train-genai", "ai", "bots", "tdm")
"""Uses of Content-Usage (and, second, of Content-Signal) whose `n` opts out: training, and what includes it."""


class Rule(NamedTuple):
    """What a file says of the paths that match a pattern; the pattern is that of robots.txt, with * and $."""

    pattern: str
    signal: str
    forbids: bool


class OptOutMiddleware:
    """Stops the download of a picture or page that is opted out, when its headers are there."""

    def __init__(self, crawler: Crawler) -> None:
        self.words = frozenset(word.lower() for word in crawler.settings.getlist("COLLECT_OPT_OUTS"))
        # The signal holds its receivers weakly; Scrapy keeps every middleware for as long as the crawler lives.
        crawler.signals.connect(self.headers_received, signal=signals.headers_received)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> OptOutMiddleware:
        """Listen to the headers of every response."""
        return cls(crawler)

    def headers_received(self, headers: Headers, request: Request) -> None:
        """Refuse the rest of the answer."""
        if PICTURE in request.meta or PAGE in request.meta:
            signal = opted_out(headers, self.words, reserved=request.meta.get(RESERVED))
            if signal:
                raise OptedOut(signal)

    def process_exception(self, request: Request, exception: Exception) -> Response | None:
        """An error page or a redirect is no picture, whatever its headers say: let it be what it is."""
        if isinstance(exception, StopDownload) and exception.response is not None:
            return None if exception.response.status in (200, 206) else exception.response
        return None


def opted_out(headers: Headers, words: Collection[str], *, reserved: str | None = None) -> str | None:
    """The first signal of a response's headers; `reserved` is what tdmrep.json says where the header is silent."""
    if SIGNALS.isdisjoint(headers):  # nearly always
        return reserved
    found = robots_tag(_texts(headers, "X-Robots-Tag"), words) or content_usage(_texts(headers, "Content-Usage"))
    if found:
        return found
    stated = _texts(headers, "TDM-Reservation")
    return tdm_reservation(stated) if stated else reserved


def _texts(headers: Headers, name: str) -> list[str]:
    return [value.decode("latin-1") for value in headers.getlist(name)]


def robots_tag(values: Iterable[str], words: Collection[str], now: datetime | None = None) -> str | None:
    """The X-Robots-Tag value that opts out, alone, in a list, or after names as in `somebot: noai, otherbot: none`."""
    for value in values:
        for part in re.split(r"[,;]", value.lower()):
            name, _, said = part.rpartition(":")
            tokens = set(part.replace(":", " ").split())
            if tokens & set(words) or ("noindex" in words and said.split() == ["none"] and "preview" not in name):
                return f"X-Robots-Tag: {value.strip()}"
        if _is_past(value, now or datetime.now(UTC)):
            return f"X-Robots-Tag: {value.strip()}"
    return None


def _is_past(value: str, now: datetime) -> bool:
    """Whether a value has an `unavailable_after` date before `now`. Dates may hold commas, as lists do."""
    for said in re.split(r"unavailable_after\s*:", value, flags=re.IGNORECASE)[1:]:
        parts = said.split(",")
        for end in range(1, min(len(parts), 2) + 1):
            when = _date(",".join(parts[:end]).strip())
            if when is not None:
                if when < now:
                    return True
                break
    return False


def _date(text: str) -> datetime | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            when = parse(text)
            return when if when.tzinfo else when.replace(tzinfo=UTC)
        except (ValueError, TypeError, OverflowError):
            continue
    return None


def tdm_reservation(values: Iterable[str]) -> str | None:
    """The `tdm-reservation` value that reserves; several values: one is enough."""
    for value in values:
        if any(token.strip(" \t\"'") in ("1", "true") for token in value.lower().split(",")):
            return f"tdm-reservation: {value.strip()}"
    return None


def content_usage(values: Iterable[str]) -> str | None:
    """The Content-Usage value, such as `train-ai=n, search=y`, that opts out of training."""
    for value in values:
        for part in value.lower().split(","):
            use, _, said = part.partition(";")[0].partition("=")
            if use.strip() in TRAINING and said.strip(" \t\"'?") in ("n", "no", "0"):
                return f"Content-Usage: {value.strip()}"
    return None


def usage_rules(robots: str, agent: str) -> tuple[Rule, ...]:
    """The Content-Usage and Content-Signal lines of a robots.txt for `agent`, for everybody, or for nobody by name.

    `Content-Usage: /gallery/ train-ai=n`; the path may be missing.
    """
    rules: list[Rule] = []
    agents: list[str] = []
    naming = True  # the lines so far name who the group is for
    for line in robots.splitlines():
        key, colon, value = line.partition("#")[0].partition(":")
        key, value = key.strip().lower(), value.strip()
        if not colon:
            continue
        if key == "user-agent":
            agents = agents if naming else []
            naming = True
            agents.append(value.partition("/")[0].strip().lower())
            continue
        naming = False
        if key in ("content-usage", "content-signal") and (not agents or {"*", agent.lower()} & set(agents)):
            path, _, said = value.partition(" ") if value.startswith(("/", "*")) else ("/", "", value)
            forbids = content_usage([said]) is not None
            rules.append(Rule(path, f"robots.txt: {line.strip()}", forbids))
    return tuple(rules)


def tdmrep_rules(body: bytes) -> tuple[Rule, ...]:
    """The rules of a /.well-known/tdmrep.json; none where it cannot be read, such as a page in its place."""
    try:
        told: Any = json.loads(body)
    except (ValueError, RecursionError):
        return ()
    rules = []
    for each in told if isinstance(told, list) else [told]:
        if isinstance(each, dict) and isinstance(each.get("location"), str):
            reservation = each.get("tdm-reservation")
            signal = f"tdmrep.json: {json.dumps(each)}"
            rules.append(Rule(each["location"], signal, tdm_reservation([str(reservation)]) is not None))
    return tuple(rules)


def forbidden_by(rules: Sequence[Rule], path: str) -> str | None:
    """What rules say against a path with its query: the longest pattern counts, as in robots.txt, or the first.

    The drafts differ in which, so that one of the two is enough.
    """
    matching = [rule for rule in rules if matches(rule.pattern, path)]
    if not matching:
        return None
    longest = max(len(rule.pattern) for rule in matching)
    decisive = [matching[0], *(rule for rule in matching if len(rule.pattern) == longest)]
    return next((rule.signal for rule in decisive if rule.forbids), None)


def matches(pattern: str, path: str) -> bool:
    """Whether a path begins with a pattern of robots.txt: * is anything, $ at its end the end. Takes linear time."""
    anchored = pattern.endswith("$")
    first, *more = (unquote(piece) for piece in pattern.removesuffix("$").split("*"))
    path = unquote(path)
    if not path.startswith(first):
        return False
    at = len(first)
    last = more.pop() if anchored and more else None
    for piece in more:
        at = path.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    if not anchored:
        return True
    return at == len(path) if last is None else path.endswith(last) and len(path) - len(last) >= at
