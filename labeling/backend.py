"""The four addresses of Label Studio's ML backend protocol, answered on 127.0.0.1 to whoever knows the password.

    GET  /health    is it there? asked before nearly every other request
    POST /setup     which model? comes with the page, and with an API token that is neither read nor kept
    POST /predict   what do these tasks show? one answer for each task, in their order; [] is none
    POST /webhook   START_TRAINING, when somebody presses that button

The protocol as Label Studio 1.23.2 speaks it: its ml/api_connector.py and ml/models.py.
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from collector.errors import CollectError
from labeling.environment import OPEN

USER = "collect"
LARGEST = 64_000_000  # bytes of one request; a thousand tasks are one or two million
IDLE_S = 30
TRAIN = "START_TRAINING"

log = logging.getLogger(__name__)


class Service(Protocol):
    """What answers behind the protocol; several threads may call it at once."""

    @property
    def version(self) -> str:
        """The model version that it serves now."""

    def suits(self, page: str) -> bool:
        """Whether a labeling page asks for the labels that the model knows."""

    def predict(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | list[Any]]:
        """One prediction as Label Studio imports it for each task of a project; [] where there is none."""

    def train(self) -> None:
        """Begin to train on the newest answers; returns at once."""


@contextmanager
def listening(service: Service, port: int, password: str) -> Iterator[str]:
    """Answer on 127.0.0.1 while the block runs; yields the address.

    Raises:
        CollectError: the port is taken.
    """
    try:
        server = _Server((OPEN, port), service, password)
    except OSError as error:
        raise CollectError(
            f"the live backend cannot use port {port} on {OPEN}: {(error.strerror or str(error)).lower()}",
            hint="end the other `collect label backend`; or choose another port, `label.backend_port` in config.toml, "
            "and start Label Studio again, which may connect to that one only",
        ) from None
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="label-backend", daemon=True)
    thread.start()
    try:
        yield f"http://{OPEN}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], service: Service, password: str) -> None:
        self.service = service
        self.proof = b"Basic " + base64.b64encode(f"{USER}:{password}".encode())
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up in the middle of a request is not worth a traceback."""
        log.debug("a request to the live backend broke off")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    disable_nagle_algorithm = True  # else head and body of an answer are 40 ms apart

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            length = -1
        if not 0 <= length <= LARGEST:
            self.close_connection = True
            self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": f"a request has at most {LARGEST} bytes"})
        else:
            self._answer(self.rfile.read(length))

    def _answer(self, body: bytes) -> None:
        if not hmac.compare_digest(self.headers.get("Authorization", "").encode(), self.server.proof):
            self._say(HTTPStatus.UNAUTHORIZED, {"error": "only the Label Studio of this workspace is answered"})
            return
        try:
            self._say(*self._result(body))
        except CollectError as error:
            log.warning("the live backend could not answer: %s", error.message)
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, {"error": error.message})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._say(HTTPStatus.BAD_REQUEST, {"error": f"not a request of Label Studio: {type(error).__name__}"})

    def _result(self, body: bytes) -> tuple[HTTPStatus, dict[str, Any]]:
        service, path = self.server.service, self.path.rstrip("/")
        if self.command == "GET":
            if path == "/health":
                return HTTPStatus.OK, {"status": "UP", "model_class": "collect"}
            return HTTPStatus.NOT_FOUND, {"error": "not an address of the protocol"}
        said = json.loads(body)
        if path == "/setup":
            if not service.suits(str(said["schema"])):
                return HTTPStatus.BAD_REQUEST, {"error": "the page does not ask for the labels of this model"}
            return HTTPStatus.OK, {"model_version": service.version}
        if path == "/predict":
            tasks = list(said["tasks"])
            if not service.suits(str(said["label_config"])):
                log.warning("a page does not ask for the labels of this model: its tasks get no proposals")
                return HTTPStatus.OK, {"results": [[] for _ in tasks]}
            project = int(str(said["project"]).partition(".")[0])  # the project's id, a dot, when it was made
            return HTTPStatus.OK, {"results": service.predict(project, tasks)}
        if path == "/webhook":
            if said.get("action") == TRAIN:
                service.train()
            return HTTPStatus.OK, {}
        return HTTPStatus.NOT_FOUND, {"error": "not an address of the protocol"}

    def _say(self, status: HTTPStatus, said: Mapping[str, Any]) -> None:
        content = json.dumps(said).encode()
        told = said.get("error")  # Label Studio shows people the status line, never the body
        self.send_response(status, told and told[:200].encode("ascii", "replace").decode().replace("\n", " "))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="collect"')
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing: requests carry a token."""
