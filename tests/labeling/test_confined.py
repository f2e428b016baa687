from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from labeling import accounts, confined, environment
from labeling.server import Server
from tests.labeling.stand_in import Asked, Said, standing_in

# Two connections that are allowed to nobody, one name, one datagram; what is allowed is said first.
CHILD = """
import socket, sys
from labeling.confined import confine
port, other = int(sys.argv[1]), int(sys.argv[2])
confine(frozenset({("127.0.0.1", port), ("db.example", 5432)}))
def attempt(what):
    try:
        what()
        print("yes")
    except ConnectionRefusedError as error:
        print("refused" if "collect" in str(error) else error)
    except socket.gaierror as error:
        print("no name" if "collect" in str(error) else "looked for")
connect = lambda *address: socket.create_connection(address, 2).close()
datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
attempt(lambda: connect("127.0.0.1", port))
attempt(lambda: connect("localhost", port))
attempt(lambda: connect("127.0.0.1", other))
attempt(lambda: connect("::ffff:127.0.0.1", port))
attempt(lambda: connect("2130706433", port))
attempt(lambda: connect("192.0.2.77", 80))
attempt(lambda: connect("example.org", 80))
attempt(lambda: socket.gethostbyname("example.org"))
attempt(lambda: socket.getaddrinfo("db.example", 5432, socket.AF_INET, 0, 0, socket.AI_NUMERICHOST))
attempt(lambda: datagram.sendto(b"x", ("127.0.0.1", other)))
attempt(lambda: socket.socket(socket.AF_UNIX).connect("/nonexistent"))
"""


def test_a_confined_process_reaches_one_port_and_looks_for_one_name() -> None:
    with standing_in(lambda asked: Said()) as ours, standing_in(lambda asked: Said()) as other:
        ports = [url.rpartition(":")[2] for url in (ours, other)]
        said = subprocess.run([sys.executable, "-c", CHILD, *ports], capture_output=True, text=True, check=True)
    assert said.stdout.split("\n") == [
        *["yes", "yes", "refused", "refused", "no name", "refused", "no name", "no name", "looked for"],
        *["refused", "refused", ""],
    ]


def test_the_file_runs_in_label_studios_own_interpreter_with_nothing_but_the_standard_library() -> None:
    assert Path(confined.__file__) == environment.CONFINED
    code = f"import runpy; runpy.run_path({str(environment.CONFINED)!r})"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


LABELS = "<View><Text name='t' value='$text'/><Choices name='l' toName='t'><Choice value='a'/></Choices></View>"


@pytest.mark.studio
def test_our_backend_and_webhook_work_while_every_other_place_is_refused(
    studio_server: Server, backend_port: int
) -> None:
    heard: list[str] = []
    arrived: list[str] = []

    def stranger(asked: Asked) -> Said:
        arrived.append(asked.path)
        return Said(body={"status": "UP", "model_class": "x", "model_version": "y"})

    def backend(asked: Asked) -> Said:
        heard.append(asked.path)
        if asked.path.startswith("/away"):
            return Said(302, None, {"Location": f"{other}/stolen"})
        return Said(body={"status": "UP", "model_class": "ours", "model_version": "m1"})

    with standing_in(stranger) as other, standing_in(backend, backend_port) as ours, studio_server.connect() as studio:
        project = studio.create_project("where it may connect to", LABELS, "")
        assert _ask(studio_server, project, ours)[0] == 201
        assert {"/health", "/setup", "/hook", "/tasks.json"} <= set(heard)
        port = other.rpartition(":")[2]
        for host in ("127.0.0.1", "localhost", "127.0.0.2", "192.0.2.2", "169.254.169.254", "[::1]", "2130706433"):
            assert all(code >= 400 for code in _ask(studio_server, project, f"http://{host}:{port}")), host
        assert all(code >= 400 for code in _ask(studio_server, project, "http://example.org"))
        assert all(code >= 400 for code in _ask(studio_server, project, f"{ours}/away"))
        assert {"/away/health", "/away/tasks.json", "/away/hook"} <= set(heard)  # so it did follow, and was stopped
        assert arrived == []
        studio.delete_project(project)


def _ask(server: Server, project: int, url: str) -> tuple[int, int]:
    """Name `url` to Label Studio as a live backend, a webhook and a file to import; what it says to first and last."""
    token = accounts.load(server.folder)["me"].token
    tasks = f"/api/projects/{project}/import"
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Token {token}"}, timeout=60) as http:
        backend = http.post("/api/ml/", json={"project": project, "url": url, "title": "live"})
        hook = {"project": project, "url": f"{url}/hook", "send_for_all_actions": True}
        webhook = http.post("/api/webhooks/", json=hook)
        if webhook.is_success:  # an address alone is fine: what counts is whether anything arrives there
            http.post(tasks, json=[{"data": {"text": "x"}}])
            http.delete(f"/api/webhooks/{webhook.json()['id']}/")
        return backend.status_code, http.post(tasks, data={"url": f"{url}/tasks.json"}).status_code
