from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from collector.errors import CollectError
from labeling import accounts, tokens
from labeling.server import Server
from labeling.studio import Studio
from labeling.tokens import EARLY_S, REFRESH, PersonalToken
from tests.labeling.stand_in import Asked, Said, standing_in

PERSONAL = "head.body.signature"


class Issuer:
    """The token part of a Label Studio whose access tokens live `lifetime` seconds."""

    def __init__(self, lifetime: float) -> None:
        self.lifetime, self.given, self.refused, self.good = lifetime, 0, 0, "none yet"

    def __call__(self, asked: Asked) -> Said:
        if asked.path == REFRESH:
            assert json.loads(asked.body) == {"refresh": PERSONAL}
            self.given += 1
            body = json.dumps({"iat": 10**9, "exp": 10**9 + self.lifetime, "n": self.given}).encode()
            self.good = f"h.{base64.urlsafe_b64encode(body).decode().rstrip('=')}.s"
            return Said(body={"access": self.good})
        if asked.token == f"Bearer {self.good}":
            return Said(body={"results": [], "next": None})
        self.refused += 1
        return Said(401, {"detail": "Given token not valid for any token type"})


@contextmanager
def issuing(lifetime: float) -> Iterator[tuple[Issuer, Studio]]:
    issuer = Issuer(lifetime)
    with standing_in(issuer) as url, Studio(url, PERSONAL) as studio:
        yield issuer, studio


def test_an_access_token_serves_until_shortly_before_it_runs_out() -> None:
    with issuing(300) as (issuer, studio):
        assert [studio.projects() for _ in range(5)] == [{}] * 5
        assert (issuer.given, issuer.refused) == (1, 0)
    with issuing(EARLY_S) as (issuer, studio):
        assert [studio.projects() for _ in range(3)] == [{}] * 3
        assert (issuer.given, issuer.refused) == (3, 0)


def test_an_access_token_that_is_refused_before_its_time_is_exchanged_once() -> None:
    with issuing(300) as (issuer, studio):
        studio.projects()
        issuer.good = "restarted with another key"
        assert studio.projects() == {}
        assert (issuer.given, issuer.refused) == (2, 1)


def test_a_personal_token_that_is_revoked_is_said_clearly() -> None:
    revoked = Said(401, {"detail": "Token is blacklisted"})
    with standing_in(lambda asked: revoked) as url, Studio(url, PERSONAL) as studio:
        with pytest.raises(CollectError, match="does not accept our token") as caught:
            studio.check()
        assert "COLLECT_LABEL_TOKEN" in caught.value.hint
        assert PERSONAL not in f"{caught.value}{caught.value.hint}{studio._http.auth!r}"


@pytest.fixture(scope="module")
def personal(studio_server: Server) -> Iterator[str]:
    """A personal access token of the administrator, made as his page makes it; revoked at the end."""
    admin = accounts.load(studio_server.folder)["me"]
    with httpx.Client(base_url=studio_server.url, headers={"Authorization": f"Token {admin.token}"}) as http:
        token = http.post("/api/token/").json()["token"]
        yield token
        http.post("/api/token/blacklist/", json={"refresh": token})


@pytest.mark.studio
def test_the_real_server_takes_a_personal_token_and_renews_it(studio_server: Server, personal: str) -> None:
    with Studio(studio_server.url, personal) as studio:
        assert studio.check() == "me@collect.local"
        auth = studio._http.auth
        assert isinstance(auth, PersonalToken)
        assert 200 < tokens._lifetime(auth._access) <= 300
        auth._access = "an.access.token"  # as after a restart with another key
        assert studio.check() == "me@collect.local"


@pytest.mark.studio
def test_a_legacy_token_where_they_are_switched_off_is_said_clearly(studio_server: Server, personal: str) -> None:
    with httpx.Client(base_url=studio_server.url, auth=tokens.signed(studio_server.url, personal)) as http:
        assert http.post("/api/jwt/settings", json={"legacy_api_tokens_enabled": False}).is_success
        try:
            with studio_server.connect() as studio, pytest.raises(CollectError, match="legacy tokens") as caught:
                studio.check()
            assert "personal access token" in caught.value.hint
        finally:
            assert http.post("/api/jwt/settings", json={"legacy_api_tokens_enabled": True}).is_success
