"""The agent and its API among the servers of `up`, and as a service of the system."""

from __future__ import annotations

import configparser
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from config.paths import Home
from config.settings import Settings
from flows.resident.logs import LOG_FILE
from flows.up import services
from tests.services.processes import LOOPBACK, free_port

ROOT = Path(__file__).resolve().parents[4]


class Alive(BaseHTTPRequestHandler):
    """Answers whether it lives."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health/live" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def answering() -> Iterator[str]:
    server = ThreadingHTTPServer((LOOPBACK, 0), Alive)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{LOOPBACK}:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path).create()


def test_the_api_is_up_once_it_answers_where_it_says(home: Home, answering: str) -> None:
    assert not services.api_answers(home)
    home.api_file.write_text(json.dumps({"url": answering}))
    assert services.api_answers(home)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_file_that_an_api_left_behind_says_nothing(home: Home, scheme: str) -> None:
    home.api_file.write_text(json.dumps({"url": f"{scheme}://{LOOPBACK}:{free_port()}"}))
    assert not services.api_answers(home)


def test_a_damaged_file_says_nothing(home: Home) -> None:
    home.api_file.write_text("{")
    assert not services.api_answers(home)


def test_with_tls_a_connection_is_enough(home: Home, answering: str) -> None:
    home.api_file.write_text(json.dumps({"url": answering.replace("http:", "https:")}))
    assert services.api_answers(home)


def test_what_the_agent_prints_does_not_go_into_its_own_log(home: Home) -> None:
    outputs = {services.agent(()).output, services.api(Settings(home=home.root)).output}
    assert f"{services.AGENT}.log" == LOG_FILE
    assert services.AGENT not in outputs
    assert "" not in outputs


def test_the_unit_file_runs_the_agent_and_gives_it_time_to_end() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((ROOT / "docs" / "prime-spark-agent.service").read_text())
    service = unit["Service"]
    assert service["ExecStart"].endswith("prime-spark agent --quiet")
    assert service["KillSignal"] == "SIGTERM"
    assert float(service["TimeoutStopSec"]) > 5
