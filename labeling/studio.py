"""The only file that speaks to Label Studio: a small client for its HTTP API (1.23.2).

Why not label-studio-sdk: it brings 75 packages and caps numpy; we need a dozen addresses.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import httpx

from collector.errors import CollectError, ServiceDown, UsageError
from labeling import connection
from labeling.accounts import Account
from labeling.interface import (
    ANSWER_FIELDS,
    Answer,
    Item,
    Project,
    Proposal,
    choice,
    prediction,
    read_answer,
    read_item,
    task_data,
)
from labeling.tokens import signed

VERSION = "1.23.2"
BATCH = 1000  # imports three times as fast as batches of 100; more gains nothing
BULK_S = 300.0  # 1000 tasks take about two seconds, and much longer on a busy database
TITLE_LENGTH = 50  # Label Studio's limit
BACKEND = "connected by collect label backend"  # how we know our own live backend


class Studio:
    """A signed-in connection to Label Studio. Every call may raise `ServiceDown` or `CollectError`."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._who = uuid.uuid5(uuid.NAMESPACE_URL, token)
        self._http = connection.client(url, signed(url, token))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def check(self) -> str:
        """The e-mail address we are signed in as, after checking that this is the Label Studio we know."""
        version = self.version()
        if version != VERSION:
            age = "older" if _numbers(version) < _numbers(VERSION) else "newer"
            raise CollectError(
                f"the Label Studio at {self.url} is {version}, {age} than {VERSION}, the one that collect speaks to",
                hint="if collect started it: `collect label stop`, then `collect label start`; "
                f"if not: install label-studio=={VERSION} there, after a backup of its database",
            )
        return str(self._call("GET", "/api/current-user/whoami")["email"])

    def version(self) -> str:
        """Its version, such as 1.23.2."""
        return str(self._call("GET", "/api/version/").get("release"))

    def totals(self) -> tuple[int, int, int]:
        """How many projects, tasks and tasks with an answer there are."""
        fields = {"include": "id,task_number,num_tasks_with_annotations"}
        rows = list(self._pages("/api/projects/", fields))
        return (
            len(rows),
            sum(row["task_number"] for row in rows),
            sum(row["num_tasks_with_annotations"] for row in rows),
        )

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

    def renew_token(self) -> str:
        """Another token for the user that we are signed in as; the one that we use stops working."""
        return str(self._call("POST", "/api/current-user/reset-token")["token"])

    def submit_with_enter(self) -> None:
        """Let Enter submit an answer on the pages of the user we are signed in as, unless he chose keys himself."""
        if self._call("GET", "/api/current-user/hotkeys/")["custom_hotkeys"]:
            return
        keys = {"annotation:annotation:submit": {"key": "enter", "active": True}}  # section, then its own name
        self._call("PATCH", "/api/current-user/hotkeys/", json={"custom_hotkeys": keys})

    def end_membership(self, email: str) -> None:
        """Take a user out of the organization for good: he keeps his answers, and sees nothing but project titles."""
        number = next((number for number, known in self.users().items() if known == email), None)
        organization = self._call("GET", "/api/current-user/whoami")["active_organization"]
        if number is not None:
            self._call("DELETE", f"/api/organizations/{organization}/memberships/{number}/", missing=True)

    def projects(self) -> dict[str, int]:
        """Title -> id of every project."""
        return {project["title"]: project["id"] for project in self._pages("/api/projects/", {"include": "id,title"})}

    def project(self, project: int) -> Project:
        """A project as it is now."""
        row = self._call("GET", f"/api/projects/{project}/")
        told = row["expert_instruction"] or ""
        return Project(row["label_config"], told, int(row["maximum_annotations"]), int(row["task_number"]))

    def change_project(self, project: int, **fields: str | int) -> None:
        """Change fields of a project, in Label Studio's words."""
        self._call("PATCH", f"/api/projects/{project}/", json=fields)

    def create_project(
        self, title: str, label_config: str, guideline: str, *, proposals: bool = False, overlap: int = 1
    ) -> int:
        """The id of a new project; with `proposals` its page shows the predictions of the current model version."""
        fields = {
            "title": title,
            "label_config": label_config,
            "expert_instruction": guideline,
            "show_instruction": True,
            "show_collab_predictions": proposals,
            "maximum_annotations": overlap,
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
            try:
                self._call("POST", "/api/storages/localfiles", json=row)
            except ServiceDown:
                raise
            except CollectError as error:
                raise self._blind(folder, error.message) from None
            sample = next(Path(folder).glob("*/*/*"), None)  # its document root may be another folder above ours
            place = sample.relative_to(Path(folder).parent).as_posix() if sample else ""
            if sample and not connection.ask(self._http, "GET", "/data/local-files/", params={"d": place}).is_success:
                raise self._blind(folder, f"it does not serve {place}")

    def _blind(self, folder: str, why: str) -> UsageError:
        root = Path(folder).parent
        return UsageError(
            f"the Label Studio at {self.url} cannot show the pictures in {folder}: {why}",
            hint=f"on its machine the store must be at {root}, and Label Studio there needs "
            f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={root} and LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true",
        )

    def last_task(self, project: int, tasks: int) -> int | None:
        """The largest task id in a project that holds so many tasks; None if it does not."""
        query = {"project": project, "fields": "all", "include": "id", "page_size": 1, "page": tasks}
        answer = self._call("GET", "/api/tasks/", params=query, missing=True)
        return int(answer["tasks"][-1]["id"]) if answer and answer["tasks"] else None

    def items(self, project: int) -> dict[str, Item]:
        """Image -> item, for everything in a project, each with its newest proposal."""
        found: dict[str, Item] = {}
        for task in self._tasks(project, "id,data,predictions"):
            item = read_item(task)
            found.setdefault(item.image, item)
        return found

    def import_items(self, project: int, items: Sequence[Item]) -> list[int]:
        """Add tasks, and return their ids in the order of `items`.

        Label Studio never notices that it has a task already. One call is one request: give `BATCH` items at most.
        """
        tasks = [
            {"data": task_data(item), "predictions": [prediction(item.proposal)] if item.proposal else []}
            for item in items
        ]
        path = f"/api/projects/{project}/import"
        said = self._call("POST", path, json=tasks, params={"return_task_ids": "true"}, timeout=BULK_S)
        return [int(task) for task in said["task_ids"]]

    def import_proposals(self, project: int, proposals: Sequence[tuple[int, Proposal]]) -> None:
        """Add proposals (task id, proposal) to tasks that are there; `show_version` makes them visible."""
        for batch in batches(proposals):
            rows = [{"task": task} | prediction(proposal) for task, proposal in batch]
            self._call("POST", f"/api/projects/{project}/import/predictions", json=rows, timeout=BULK_S)

    def show_version(self, project: int, model_version: str) -> None:
        """Show the proposals of this model version only; Label Studio itself stays with the first it ever got."""
        fields = {"model_version": model_version, "show_collab_predictions": True}
        self._call("PATCH", f"/api/projects/{project}/", json=fields)

    def connect_backend(self, project: int, url: str, model_version: str, sign_in: tuple[str, str]) -> None:
        """Let the live backend at `url` propose in a project, in place of those that we connected before.

        Its title is the model version: Label Studio shows the predictions of the version that a project names, and asks
        the backend whose title a project names. The webhook that it makes unasked, which would send every answer
        anybody gives to `url`, without the password and also after the backend is gone, is removed.

        The row is a new one each time, because whoever looks at the list of backends makes Label Studio write all rows
        back as they were before it asked each of them (1.23.2, `MLBackend.update_state`): a change would be undone. A
        removed row may come back that way; nobody asks it, and `disconnect_backend` ends it.
        """
        user, password = sign_in
        row = {"project": project, "url": url, "title": model_version, "description": BACKEND, "is_interactive": False}
        row |= {"auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": password}
        before = self._our_backends(project)
        self._call("POST", "/api/ml/", json=row)
        self._end_webhooks(project, url)
        for old in before:
            self._call("DELETE", f"/api/ml/{old['id']}", missing=True)
        self.show_version(project, model_version)

    def disconnect_backend(self, project: int) -> None:
        """Take our live backend out of a project; what it proposed stays, and is shown as any other proposal."""
        for row in self._our_backends(project):
            self._call("DELETE", f"/api/ml/{row['id']}", missing=True)
            self._end_webhooks(project, row["url"])  # a row that came back brought another
            versions = self._call("GET", f"/api/projects/{project}/model-versions/", params={"extended": "true"})
            there = [each["model_version"] for each in versions["static"]]  # the newest first
            if there:
                self.show_version(project, row["title"] if row["title"] in there else there[0])

    def _end_webhooks(self, project: int, url: str) -> None:
        for hook in self._call("GET", "/api/webhooks/", params={"project": project}):
            if hook["url"] == f"{url}/webhook":
                self._call("DELETE", f"/api/webhooks/{hook['id']}/", missing=True)

    def _our_backends(self, project: int) -> list[dict[str, Any]]:
        rows = self._call("GET", "/api/ml/", params={"project": project}, missing=True) or []
        return [row for row in rows if row["description"] == BACKEND]

    def answers(self, project: int) -> list[Answer]:
        """The last version of every answer in a project, skips included.

        Label Studio's export says the same, no faster, and leaves a copy of everything on its disk each time.
        """
        return [answer for _, answers in self.answered(project) for answer in answers]

    def answered(self, project: int) -> Iterator[tuple[Item, list[Answer]]]:
        """Every item of a project with the answers that stand there, read page by page; nothing if it is gone.

        When somebody removes tasks meanwhile the pages shift, and an item may be missed.
        """
        for task in self._tasks(project, ANSWER_FIELDS):
            item = Item(str(task["data"].get("sha256", "")), id=int(task["id"]))
            yield item, [read_answer(task, row) for row in task["annotations"]]

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
            "unique_id": str(uuid.uuid5(self._who, str(item.id))),
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
            answer = self._call("GET", "/api/tasks/", params=query | {"page": page}, timeout=BULK_S, missing=True)
            if answer is None:
                return  # the project, or the last page, is gone since
            yield from answer["tasks"]
            left = answer["total"] - page * BATCH
            page += 1

    def _pages(self, path: str, query: Mapping[str, str] = MappingProxyType({})) -> Iterator[dict[str, Any]]:
        page, more = 1, True
        while more:
            answer = self._call("GET", path, params={**query, "page": page, "page_size": BATCH})
            yield from answer["results"]
            page, more = page + 1, bool(answer["next"])

    def _call(self, method: str, path: str, *, missing: bool = False, repeated: bool = False, **request: Any) -> Any:
        """The JSON answer; `missing` turns 404 and `repeated` turns 409 into None instead of an error."""
        answer = connection.ask(self._http, method, path, **request)
        if answer.status_code == httpx.codes.NOT_FOUND and missing:
            return None
        if answer.status_code == httpx.codes.CONFLICT and repeated:
            return None
        return connection.content(answer)


def sign_in(url: str, account: Account) -> str:
    """The API token of `account`, fetched with e-mail and password through the sign-in page."""
    with _form(url, "/user/login/") as (session, csrf):
        fields = {"email": account.email, "password": account.password, "csrfmiddlewaretoken": csrf}
        answer = session.post("/user/login/", data=fields, headers={"Referer": url})
        if answer.status_code != httpx.codes.FOUND:
            raise CollectError(
                f"Label Studio at {url} does not know {account.email} with the password that we hold",
                hint="another server may be at that address: choose another `label.port`",
            )
        return str(connection.content(session.get("/api/current-user/token"))["token"])


def is_up(url: str) -> bool:
    """Whether something at `url` answers as a healthy Label Studio does."""
    try:
        with connection.client(url) as http:
            return bool(http.get("/health", timeout=2.0).json().get("status") == "UP")
    except (httpx.TransportError, httpx.InvalidURL, ValueError, AttributeError):
        return False


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


@contextmanager
def _form(url: str, page: str) -> Iterator[tuple[httpx.Client, str]]:
    """A browser-like session that has opened `page`, with the form's CSRF token."""
    with connection.reached(url), connection.client(url) as session:
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', session.get(page).text)
        if found is None:
            raise CollectError(f"{url}{page} is not a page of Label Studio", hint="choose another `label.port`")
        yield session, found[1]


def _form_error(page: str) -> str:
    found = re.search(r'class="(?:errorlist|error)[^"]*"[^>]*>(.*?)</', page, re.DOTALL)
    return re.sub(r"<[^>]+>|\s+", " ", found[1]).strip() if found else "no reason given"


def batches(rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """`rows` in pieces of the size that Label Studio imports fastest."""
    return (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
