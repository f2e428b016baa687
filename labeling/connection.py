"""How requests reach Label Studio: in time, again when it is busy, and with one sentence for whatever goes wrong."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from collector.errors import CollectError, ServiceDown

LOG = "label-studio.log"
TIMEOUT = httpx.Timeout(60.0, connect=5.0)
BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
TRIES, PATIENCE_S = 4, 60.0
DOWN = "`collect label start` starts it; with `label.url`: start it there, or correct that address"


def client(url: str, auth: httpx.Auth | None = None) -> httpx.Client:
    """A client of the Label Studio at `url`."""
    # trust_env=False: a proxy must never see a loopback request with a token in it, nor .netrc replace the token.
    # The system's certificates and SSL_CERT_FILE: a team's server often has an authority of its own.
    verify = ssl.create_default_context() if url.startswith("https:") else False
    return httpx.Client(base_url=url, auth=auth, timeout=TIMEOUT, trust_env=False, verify=verify)


def ask(http: httpx.Client, method: str, path: str, **request: Any) -> httpx.Response:
    """The answer to one request, whatever it is; a busy server (429, 503) is asked again, as late as it says.

    It has done nothing of the request then. Raises `ServiceDown` when there is no answer at all.
    """
    for _ in range(TRIES - 1):
        with reached(str(http.base_url)):
            answer = http.request(method, path, **request)
        if answer.status_code not in BUSY:
            return answer
        time.sleep(_wait_s(answer))
    with reached(str(http.base_url)):
        return http.request(method, path, **request)


def content(answer: httpx.Response) -> Any:
    """The JSON of an answer, None if it is empty; raises `CollectError` or `ServiceDown` when it is no success."""
    what = f"{answer.request.method} {answer.request.url.path}"
    url = str(answer.request.url.join("/")).rstrip("/")
    if not answer.is_success:
        raise _refusal(url, what, answer)
    try:
        return answer.json() if answer.content else None
    except ValueError:
        raise CollectError(
            f"{url} answered {what} with something that is not JSON",
            hint="another server or a sign-in page may stand before Label Studio: check `label.url` and `label.port`",
        ) from None


@contextmanager
def reached(url: str) -> Iterator[None]:
    """Turn what breaks between us and the server into `ServiceDown`."""
    url = url.rstrip("/")
    try:
        yield
    except httpx.ConnectError as error:
        if "CERTIFICATE" in str(error):
            raise ServiceDown(
                f"the certificate of {url} is not trusted: {error}",
                hint="name the file with the certificate of its authority in SSL_CERT_FILE",
            ) from None
        raise ServiceDown(f"Label Studio does not answer at {url}", hint=DOWN) from None
    except httpx.TimeoutException:
        raise ServiceDown(
            f"Label Studio at {url} was asked and did not answer in time",
            hint="it is busy or hangs: run the same command again; if it happens again, restart it",
        ) from None
    except httpx.TransportError as error:
        raise ServiceDown(
            f"Label Studio at {url} broke off: {type(error).__name__}",
            hint="run the same command again; if it happens again, `collect label stop` and `collect label start`",
        ) from None


def _wait_s(answer: httpx.Response) -> float:
    """Seconds that a busy server asks for: a number or a date; at least a moment, at most `PATIENCE_S`."""
    said = answer.headers.get("Retry-After", "")
    try:
        asked = float(said)
    except ValueError:
        try:
            asked = (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            asked = 1.0
    return min(max(asked, 0.1), PATIENCE_S)


def _refusal(url: str, what: str, answer: httpx.Response) -> CollectError:
    """The sentence for an answer that is no success; never with a header, which may hold a token."""
    code = answer.status_code
    words = " ".join(re.sub(r"<[^>]*>", " ", answer.text[:2000]).split())[:300]
    if code == httpx.codes.UNAUTHORIZED and "legacy" in words:
        said, hint = "does not take legacy tokens", "give it a personal access token (Account & Settings there)"
    elif code == httpx.codes.UNAUTHORIZED:
        said, hint = (
            "does not accept our token",
            (
                "another server may be at that address: `collect label stop`, then `collect label start`; "
                "with `label.url`, put a valid token into COLLECT_LABEL_TOKEN"
            ),
        )
    elif code == httpx.codes.FORBIDDEN:
        said, hint = f"does not allow us {what}: {words}", "sign in there as a member of the organization"
    elif code in BUSY:
        said, hint = f"is too busy ({code} to {what}, {TRIES} times)", "run the same command again later"
    elif answer.is_redirect:
        place = answer.headers.get("Location", "nowhere").partition("?")[0]
        said, hint = (
            f"sends {what} elsewhere, to {place}",
            "correct `label.url`, or remove the sign-in page before it",
        )
    elif answer.is_server_error:
        said, hint = f"failed at {what} ({code}): {words}", "run the same command again; its log may say more"
    else:
        said, hint = f"refused {what} ({code}): {words}", f"its log is {LOG} in the data folder of the workspace"
    return (ServiceDown if code in BUSY else CollectError)(f"the Label Studio at {url} {said}", hint=hint)
