"""The only file that speaks to Label Studio: a small client for its HTTP API (1.23.2).

Why not label-studio-sdk: it brings 75 packages and caps numpy; we need a dozen addresses.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import httpx

from collector.errors import CollectError, ServiceDown
from labeling.accounts import Account
from labeling.interface import (
    ANSWER_FIELDS,
    Answer,
    Item,
    Proposal,
    choice,
    image_url,
    prediction,
    read_answer,
    read_item,
)

VERSION = "1.23.2"
BATCH = 1000  # imports three times as fast as batches of 100; more gains nothing
TIMEOUT = httpx.Timeout(60.0, connect=5.0)
BULK_S = 300.0  # 1000 tasks take about two seconds, and much longer on a busy database
TITLE_LENGTH = 50  # Label Studio's limit


class Studio:
    """A signed-in connection to Label Studio. Every call may raise `ServiceDown` or `CollectError`."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._http = _client(url, {"Authorization": f"Token {token}"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def check(self) -> str:
        """The e-mail address we are signed in as, after checking that this is the Label Studio we know."""
        version = self._call("GET", "/api/version/").get("release")
        if version != VERSION:
            raise CollectError(
                f"the Label Studio at {self.url} is {version}; collect speaks to {VERSION}",
                hint="`collect label stop`, then `collect label start`",
            )
        return str(self._call("GET", "/api/current-user/whoami")["email"])

    def users(self) -> dict[int, str]:
        """User id -> e-mail address of everybody who may sign in."""
        return {user["id"]: user["email"] for user in self._call("GET", "/api/users/")}

    def add_annotator(self, account: Account) -> str:
        """The API token of a new user (or of the same user, if he is there already).

        The invite link is withdrawn afterwards: it stands in the server's log, and it would open the door to anybody.
        """
        if account.email not in self.users().values():
            invite = self._call("GET", "/api/invite")["invite_url"]
            with _form(self.url, invite) as (session, csrf):
                fields = {"email": account.email, "password": account.password, "csrfmiddlewaretoken": csrf}
                answer = session.post(invite, data=fields, headers={"Referer": self.url})
                if answer.status_code != httpx.codes.FOUND:
                    raise CollectError(
                        f"Label Studio did not make an account for {account.email}: {_form_error(answer.text)}",
                        hint="correct `label.annotators` in config.toml",
                    )
            self._call("POST", "/api/invite/reset-token")
        return sign_in(self.url, account)

    def projects(self) -> dict[str, int]:
        """Title -> id of every project."""
        return {project["title"]: project["id"] for project in self._pages("/api/projects/")}

    def create_project(self, title: str, label_config: str, guideline: str, *, proposals: bool = False) -> int:
        """The id of a new project; with `proposals` its page shows the predictions of the current model version."""
        fields = {
            "title": title,
            "label_config": label_config,
            "expert_instruction": guideline,
            "show_instruction": True,
            "show_collab_predictions": proposals,
            "maximum_annotations": 1,
            "sampling": "Sequential sampling",
            "enable_empty_annotation": False,
        }
        return int(self._call("POST", "/api/projects/", json=fields)["id"])

    def delete_project(self, project: int) -> None:
        """Remove a project with everything in it."""
        self._call("DELETE", f"/api/projects/{project}/")

    def serve_images(self, project: int, folder: str) -> None:
        """Let the pages of `project` show the files below `folder`; without this row every picture is a 404."""
        rows = self._call("GET", "/api/storages/localfiles", params={"project": project})
        if not any(row["path"] == folder for row in rows):
            row = {"project": project, "path": folder, "use_blob_urls": True, "title": "images"}
            self._call("POST", "/api/storages/localfiles", json=row)

    def items(self, project: int) -> dict[str, Item]:
        """Image -> item, for everything in a project, each with its newest proposal."""
        found: dict[str, Item] = {}
        for task in self._tasks(project, "id,data,predictions"):
            found.setdefault(task["data"]["sha256"], read_item(task))
        return found

    def import_items(self, project: int, items: Sequence[Item]) -> None:
        """Add tasks. Label Studio never notices that it has a task already: look at `items` first, and again after."""
        for batch in _batches(items):
            tasks = [
                {
                    "data": {"image": image_url(item.image), "sha256": item.image},
                    "predictions": [prediction(item.proposal)] if item.proposal else [],
                }
                for item in batch
            ]
            self._call("POST", f"/api/projects/{project}/import", json=tasks, timeout=BULK_S)

    def import_proposals(self, project: int, proposals: Sequence[tuple[int, Proposal]]) -> None:
        """Add proposals (task id, proposal) to tasks that are there; `show_version` makes them visible."""
        for batch in _batches(proposals):
            rows = [{"task": task} | prediction(proposal) for task, proposal in batch]
            self._call("POST", f"/api/projects/{project}/import/predictions", json=rows, timeout=BULK_S)

    def show_version(self, project: int, model_version: str) -> None:
        """Show the proposals of this model version only; Label Studio itself stays with the first it ever got."""
        fields = {"model_version": model_version, "show_collab_predictions": True}
        self._call("PATCH", f"/api/projects/{project}/", json=fields)

    def answers(self, project: int) -> list[Answer]:
        """The last version of every answer in a project, skips included.

        Label Studio's export says the same, no faster, and leaves a copy of everything on its disk each time.
        """
        return [read_answer(task, row) for task in self._tasks(project, ANSWER_FIELDS) for row in task["annotations"]]

    def next_item(self, project: int) -> Item | None:
        """What the label stream would show next to us; None when nothing is left."""
        task = self._call("GET", f"/api/projects/{project}/next", missing=True)
        return read_item(task) if task else None

    def submit(self, project: int, item: Item, label: str | None, *, seconds: float, skip: bool = False) -> None:
        """Answer as the page would (`UNSURE` is a label here, None goes with `skip`); a repeat changes nothing."""
        shown = item.proposal
        origin = "manual" if shown is None else "prediction" if shown.label == label else "prediction-changed"
        body = {
            "result": [] if label is None else [choice(label) | {"origin": origin}],
            "was_cancelled": skip,
            "lead_time": seconds,
            "parent_prediction": shown.id if shown else None,
            "unique_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._http.headers['Authorization']}/{item.id}")),
            "project": project,
        }
        self._call("POST", f"/api/tasks/{item.id}/annotations/", json=body, repeated=True)

    def change(self, answer: int, label: str) -> None:
        """Give an answer another label, as a person does who comes back to it."""
        self._call("PATCH", f"/api/annotations/{answer}/", json={"result": [choice(label)]})

    def withdraw(self, answer: int) -> None:
        """Delete an answer."""
        self._call("DELETE", f"/api/annotations/{answer}/")

    def _tasks(self, project: int, fields: str) -> Iterator[dict[str, Any]]:
        query = {"project": project, "fields": "all", "include": fields, "page_size": BATCH}
        page, left = 1, 1
        while left > 0:  # past the last page it answers 404
            answer = self._call("GET", "/api/tasks/", params=query | {"page": page}, timeout=BULK_S)
            yield from answer["tasks"]
            left = answer["total"] - page * BATCH
            page += 1

    def _pages(self, path: str) -> Iterator[dict[str, Any]]:
        page, more = 1, True
        while more:
            answer = self._call("GET", path, params={"page": page, "page_size": BATCH})
            yield from answer["results"]
            page, more = page + 1, bool(answer["next"])

    def _call(self, method: str, path: str, *, missing: bool = False, repeated: bool = False, **request: Any) -> Any:
        """The JSON answer; `missing` turns 404 and `repeated` turns 409 into None instead of an error."""
        with _reached(self.url):
            answer = self._http.request(method, path, **request)
        if answer.status_code == httpx.codes.NOT_FOUND and missing:
            return None
        if answer.status_code == httpx.codes.CONFLICT and repeated:
            return None
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise CollectError(
                f"the Label Studio at {self.url} does not accept our token",
                hint="another server may be at that address: `collect label stop`, then `collect label start`",
            )
        if answer.is_error:
            raise CollectError(
                f"Label Studio refused {method} {path} ({answer.status_code}): {answer.text[:300]}",
                hint="its log is label-studio.log in the data folder of the workspace",
            )
        return answer.json() if answer.content else None


def sign_in(url: str, account: Account) -> str:
    """The API token of `account`, fetched with e-mail and password through the sign-in page."""
    with _form(url, "/user/login/") as (session, csrf):
        fields = {"email": account.email, "password": account.password, "csrfmiddlewaretoken": csrf}
        answer = session.post("/user/login/", data=fields, headers={"Referer": url})
        if answer.status_code != httpx.codes.FOUND:
            raise CollectError(
                f"Label Studio at {url} does not know {account.email} with the password that we hold",
                hint="another server may be at that address; choose another `label.port`",
            )
        return str(session.get("/api/current-user/token").json()["token"])


def is_up(url: str) -> bool:
    """Whether something at `url` answers as a healthy Label Studio does."""
    try:
        with _client(url) as http:
            return bool(http.get("/health", timeout=2.0).json().get("status") == "UP")
    except (httpx.TransportError, ValueError, AttributeError):
        return False


def _client(url: str, headers: dict[str, str] | None = None) -> httpx.Client:
    # trust_env=False: a proxy must never see a loopback request with a token in it.
    return httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, trust_env=False)


@contextmanager
def _reached(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.ConnectError:
        raise ServiceDown(f"Label Studio does not answer at {url}", hint="`collect label start` starts it") from None
    except httpx.TransportError as error:
        raise ServiceDown(
            f"Label Studio at {url} broke off: {type(error).__name__}",
            hint="run the same command again; if it happens again, `collect label stop` and `collect label start`",
        ) from None


@contextmanager
def _form(url: str, page: str) -> Iterator[tuple[httpx.Client, str]]:
    """A browser-like session that has opened `page`, with the form's CSRF token."""
    with _reached(url), _client(url) as session:
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', session.get(page).text)
        if found is None:
            raise CollectError(f"{url}{page} is not a page of Label Studio", hint="choose another `label.port`")
        yield session, found[1]


def _form_error(page: str) -> str:
    found = re.search(r'class="(?:errorlist|error)[^"]*"[^>]*>(.*?)</', page, re.DOTALL)
    return re.sub(r"<[^>]+>|\s+", " ", found[1]).strip() if found else "no reason given"


def _batches(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
