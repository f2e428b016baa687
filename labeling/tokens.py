"""How a request to Label Studio says who it is, with either kind of token.

A *legacy* token is 40 hexadecimal digits and goes into each request (`Authorization: Token ...`). A *personal access
token* is a JWT that itself opens nothing (sent as Bearer it gives 401): it is exchanged for an access token, which
lives 300 s. We exchange it before it runs out, and once more when the server refuses it all the same (a restart).
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Generator

import httpx

REFRESH = "/api/token/refresh/"
LIFETIME_S = 300.0  # what Label Studio 1.23.2 gives when the token does not say
EARLY_S = 30.0


def signed(url: str, token: str) -> httpx.Auth:
    """The authentication of `token`, legacy or personal, at the Label Studio of `url`; `repr` does not show it."""
    return PersonalToken(url, token) if token.count(".") == 2 else LegacyToken(token)


class LegacyToken(httpx.Auth):
    """The token itself, in every request."""

    def __init__(self, token: str) -> None:
        self._header = f"Token {token}"

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign one request."""
        request.headers["Authorization"] = self._header
        yield request


class PersonalToken(httpx.Auth):
    """A personal access token, exchanged for access tokens as they run out."""

    requires_response_body = True

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/") + REFRESH
        self._personal = token
        self._access = ""
        self._until = 0.0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign one request; when the exchange fails, its answer is the answer of the request."""
        fresh = time.monotonic() >= self._until
        if fresh and not (yield from self._exchange(request)):
            return
        request.headers["Authorization"] = f"Bearer {self._access}"
        answer = yield request
        if answer.status_code == httpx.codes.UNAUTHORIZED and not fresh and (yield from self._exchange(request)):
            request.headers["Authorization"] = f"Bearer {self._access}"
            yield request

    def _exchange(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, bool]:
        body = {"refresh": self._personal}
        answer = yield httpx.Request("POST", self._url, json=body, extensions=request.extensions)  # with its timeout
        try:
            self._access = str(answer.json()["access"])
        except (ValueError, KeyError, TypeError):
            self._until = 0.0
            return False
        self._until = time.monotonic() + _lifetime(self._access) - EARLY_S
        return True


def _lifetime(access: str) -> float:
    """Seconds from issue to expiry, by the server's clock alone: the two clocks may disagree."""
    try:
        middle = access.split(".")[1]
        said = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
        return max(0.0, float(said["exp"]) - float(said["iat"]))
    except (ValueError, KeyError, IndexError, TypeError):
        return LIFETIME_S
