from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path

import pytest

from config.clock import SystemClock
from flows.up.screen import PlainScreen
from flows.up.services import CLIENTS, SERVERS, Probe, Service, answers, worker_is_online
from flows.up.supervisor import PortLost, ServiceFailed, Supervisor
from tests.unit.flows.up.processes import SLEEPER, eventually

_NEVER = lambda: False  # noqa: E731 - nobody interrupts
_END_LOGGED = (
    "import signal, sys, time\n"
    "def end(*_):\n"
    "    open('order', 'a').write(sys.argv[1] + '\\n'); sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, end)\n"
    "open(sys.argv[1], 'w').close()\n"
    "time.sleep(600)\n"
)


class Stage:
    """A supervisor in a directory of its own, and what it has shown."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shown = StringIO()
        self.supervisor = Supervisor(
            screen=PlainScreen(SystemClock(), self.shown),
            clock=SystemClock(),
            environment=dict(os.environ),
            logs=folder,
            folder=folder,
        )

    def start(self, *services: Service, interrupted: Callable[[], bool] = _NEVER) -> bool:
        return self.supervisor.start(services, interrupted)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.supervisor.stop(lambda: True)


def _service(
    name: str,
    code: str,
    probe: Probe | None = None,
    *,
    needs: tuple[str, ...] = (),
    once: bool = False,
    kind: int = CLIENTS,
    deadline_s: float = 20.0,
) -> Service:
    command = (sys.executable, "-c", code, name)
    return Service(name, command, probe, needs, once, kind, deadline_s)


def test_a_service_starts_only_when_what_it_needs_answers(stage: Stage) -> None:
    prepared = stage.folder / "prepared"
    first = _service("first", "open('prepared', 'w').close()", once=True)
    second = _service("second", SLEEPER, prepared.exists, needs=("first",))
    assert stage.start(second, first)
    shown = stage.shown.getvalue()
    assert shown.index("first        ready") < shown.index("second       starting")


def test_what_ends_while_starting_is_told_with_its_last_lines_and_log_file(stage: Stage) -> None:
    broken = _service("broken", "print('cannot open database'); raise SystemExit(7)", _NEVER)
    with pytest.raises(ServiceFailed, match=r"exit code 7.*broken\.log.*\ncannot open database"):
        stage.start(broken)


def test_secrets_in_a_log_s_last_lines_are_masked(stage: Stage) -> None:
    code = "print('connecting to postgresql://me:hunter2@db/x'); raise SystemExit(1)"
    with pytest.raises(ServiceFailed) as caught:
        stage.start(_service("leaky", code, _NEVER))
    assert "hunter2" not in str(caught.value)


def test_a_port_taken_by_somebody_else_is_told_apart(stage: Stage) -> None:
    code = "print('[Errno 98] Address already in use'); raise SystemExit(1)"
    with pytest.raises(PortLost):
        stage.start(_service("late", code, _NEVER))


def test_what_never_answers_is_given_up_at_its_deadline(stage: Stage) -> None:
    with pytest.raises(ServiceFailed, match="did not answer within 0 s"):
        stage.start(_service("mute", SLEEPER, _NEVER, deadline_s=0.3))


def test_an_interruption_while_starting_ends_the_wait(stage: Stage) -> None:
    assert not stage.start(_service("slow", SLEEPER, _NEVER), interrupted=lambda: True)


def test_a_server_that_dies_is_started_again_and_given_up_when_it_keeps_dying(stage: Stage) -> None:
    beats = stage.folder / "beats"
    code = (
        "import os, time\n"
        "print(os.getpid(), file=open('beats', 'a'))\n"
        "if len(open('beats').readlines()) > 1: raise SystemExit(3)\n"
        "time.sleep(600)\n"
    )
    assert stage.start(_service("shaky", code, lambda: beats.exists() and beats.read_text() != ""))
    os.kill(int(beats.read_text()), signal.SIGKILL)
    with pytest.raises(ServiceFailed, match="ended 4 times in a minute"):
        eventually(stage.supervisor.watch)
    assert len(beats.read_text().split()) == 4
    assert "shaky ended (signal 9); starting it again" in stage.shown.getvalue()
    assert "shaky ended (exit code 3); starting it again" in stage.shown.getvalue()


def test_those_that_ask_are_stopped_before_those_that_answer(stage: Stage) -> None:
    server = _service("server", _END_LOGGED, (stage.folder / "server").exists, kind=SERVERS)
    client = _service(
        "client", _END_LOGGED, (stage.folder / "client").exists, needs=("server",), kind=CLIENTS
    )
    assert stage.start(server, client)
    stage.supervisor.stop(_NEVER)
    assert (stage.folder / "order").read_text().split() == ["client", "server"]


def test_a_second_request_to_stop_does_not_wait(stage: Stage) -> None:
    code = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); open('up', 'w'); time.sleep(9e9)"
    )
    assert stage.start(_service("stubborn", code, (stage.folder / "up").exists))
    before = SystemClock().monotonic()
    stage.supervisor.stop(lambda: True)
    assert SystemClock().monotonic() - before < 2.0
    assert "stubborn     stopped" in stage.shown.getvalue()


class _Prefect(BaseHTTPRequestHandler):
    workers = b"[]"

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 503)
        self.end_headers()

    def do_POST(self) -> None:
        self.send_response(200 if self.path == "/api/work_pools/pool/workers/filter" else 404)
        self.end_headers()
        self.wfile.write(self.workers)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def prefect() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Prefect) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()
        thread.join()


def test_only_a_good_answer_counts_as_answering(prefect: str) -> None:
    assert answers(f"{prefect}/health")()
    assert not answers(f"{prefect}/broken")()
    assert not answers("http://127.0.0.1:1/health")()


@pytest.mark.parametrize(
    ("body", "online"),
    [
        (b'[{"name": "mine", "status": "ONLINE"}]', True),
        (b'[{"name": "mine", "status": "OFFLINE"}]', False),
        (b'[{"name": "other", "status": "ONLINE"}]', False),
        (b"[]", False),
        (b"<html>", False),
    ],
)
def test_the_worker_is_ready_when_prefect_sees_it(
    prefect: str, body: bytes, online: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Prefect, "workers", body)
    assert worker_is_online(prefect, "pool", "mine") is online
