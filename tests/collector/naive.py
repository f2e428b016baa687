"""What a client without any care makes of a fault: the control run that shows that the fault bites."""

from __future__ import annotations

import gzip
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

AGENT = f"Python-urllib/{sys.version_info.major}.{sys.version_info.minor}"
READ_S = 1.0  # its time limit, for each read as usual
TOTAL_S = 2.5  # after which we call it stuck
MUCH = 2_000_000  # bytes after which we call it flooded


def fetch(url: str, context: ssl.SSLContext | None = None) -> str:
    """What becomes of a download: `N bytes`, `HTTP N`, `stuck`, `flooded`, or the name of an error."""
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(_fetch(url, context)), daemon=True)
    thread.start()
    thread.join(TOTAL_S)
    return said[0] if said else "stuck"


def fetch_all(urls: list[str]) -> list[str]:
    """`fetch` for many addresses at once."""
    with ThreadPoolExecutor(32) as threads:
        return list(threads.map(fetch, urls))


def _fetch(url: str, context: ssl.SSLContext | None) -> str:
    try:
        with urllib.request.urlopen(url, timeout=READ_S, context=context) as answer:
            data, began = b"", time.monotonic()
            while more := answer.read1(65536):
                data += more
                if len(data) > MUCH:
                    return "flooded"
                if time.monotonic() - began > TOTAL_S:
                    return "stuck"
            if answer.headers.get("Content-Encoding") == "gzip":
                data = gzip.decompress(data)
            if answer.length:  # read1 does not say so
                return "IncompleteRead"
            return f"{len(data)} bytes"
    except urllib.error.HTTPError as error:
        error.close()
        return f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return type(error.reason).__name__
    except Exception as error:
        return type(error).__name__
