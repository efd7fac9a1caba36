"""The webhook notifier POSTs events to a real server, and says so when that does not work."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from config.errors import ConfigError, UnavailableError
from optimizers.notifications.base import Event
from optimizers.notifications.webhook import WebhookNotifier
from optimizers.testing import check_notifier

EVENT = Event("action", "action-1", "it happened", 1.5, details={"to": "completed"})


@dataclass
class Receiver:
    """A web server that keeps what it gets and answers with `status`, or not at all."""

    status: int = 204
    silent: bool = False
    bodies: list[str] = field(default_factory=list)
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            state.bodies.append(self.rfile.read(size).decode())
            if state.silent:
                state.released.wait(30)
                return
            self.send_response(state.status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/hook/hunter2"
    yield state
    state.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_event_arrives_as_json(receiver: Receiver) -> None:
    WebhookNotifier(receiver.url).send(EVENT, 5.0)
    assert json.loads(receiver.bodies[0]) == {
        "kind": "action",
        "subject": "action-1",
        "text": "it happened",
        "at": 1.5,
        "severity": "info",
        "details": {"to": "completed"},
    }


@pytest.mark.parametrize("status", [302, 404, 500])
def test_an_answer_other_than_yes_is_an_error(receiver: Receiver, status: int) -> None:
    receiver.status = status
    with pytest.raises(UnavailableError, match=str(status)):
        WebhookNotifier(receiver.url).send(EVENT, 5.0)
    assert len(receiver.bodies) == 1


def test_a_silent_server_is_given_up_in_time(receiver: Receiver) -> None:
    receiver.silent = True
    with pytest.raises(UnavailableError) as raised:
        WebhookNotifier(receiver.url).send(EVENT, 0.2)
    assert "hunter2" not in str(raised.value)


def test_a_server_that_is_away_is_an_error_without_the_secret_path() -> None:
    with pytest.raises(UnavailableError) as raised:
        WebhookNotifier("http://127.0.0.1:9/hook/hunter2").send(EVENT, 1.0)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("url", ["", "hooks.example", "file:///etc/passwd", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="webhook_url"):
        WebhookNotifier(url)


def test_it_conforms(receiver: Receiver) -> None:
    check_notifier(WebhookNotifier(receiver.url), received=lambda: "".join(receiver.bodies))
