"""What our middlewares and the spiders agree on: marks on a request, and errors that say why a request was refused.

The middlewares themselves, from the engine to the network (their order is in settings.py):

    robots.py    who may be asked for what, by robots.txt and tdmrep.json
    retry.py     Retry-After, and a pause before a request is repeated
    cache.py     answers of searches and rules of hosts, kept for some hours
    proxies.py   which proxy a host is asked through
    optout.py    opt-outs in the headers of an answer
    throttle.py  how many requests a host gets at once, and how many in a minute
"""

from __future__ import annotations

from scrapy.exceptions import IgnoreRequest, StopDownload

from collector.records import Rejected

PICTURE = "picture"  # request.meta: this request is for a picture ...
PAGE = "page"  # ... or for a page of a web site; neither an API nor robots.txt
SEARCH = "search"  # request.meta: the answer of this search may be kept
SECRET = "secret"  # request.meta: names of the parameters in the address that nobody may read


class Refused(IgnoreRequest):
    """A request that is not sent, or whose answer is not read; `refusal` is what the catalog is told."""

    def __init__(self, reason: str, detail: str) -> None:
        Exception.__init__(self, detail)
        self.refusal = Rejected(reason, detail[:300])


class HostAsksToWait(Refused):
    """A host asked for a longer pause than `crawl.patience`."""

    def __init__(self, detail: str) -> None:
        super().__init__("busy", detail)


class OptedOut(Refused, StopDownload):
    """Whoever shows the picture or page has opted out; `refusal` holds the signal word for word."""

    def __init__(self, signal: str) -> None:
        super().__init__("opted-out", signal)
        self.fail = True
        self.response = None
