"""The doctor finds what is wrong, says what helps, and changes nothing."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from config.clock import Clock, ManualClock, SystemClock
from config.settings import (
    LedgerSettings,
    MlflowSettings,
    PortSettings,
    PrefectSettings,
    Settings,
)
from flows.doctor import Finding, examine
from flows.up.sweep import new_up_id
from registry.ledger.database import open_ledger
from registry.ledger.events import EventLog
from tests.unit.flows.up.processes import SLEEPER, end, eventually, start


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def _problems(settings: Settings, clock: Clock | None = None) -> dict[str, Finding]:
    found = [finding for finding in examine(settings, clock or SystemClock()) if not finding.ok]
    assert all(finding.remedy for finding in found), "every problem has a remedy"
    assert all("\n" not in finding.text + finding.remedy for finding in found)
    return {finding.check: finding for finding in found}


def test_a_sound_machine_has_no_problems(settings: Settings) -> None:
    settings.home_dir.create()
    assert _problems(settings) == {}


def test_looking_at_a_home_that_is_not_there_does_not_make_it(settings: Settings) -> None:
    assert _problems(settings) == {}
    assert not settings.home.exists()


def test_an_open_home_is_a_problem(settings: Settings) -> None:
    settings.home_dir.create()
    settings.home.chmod(0o755)
    assert _problems(settings)["home"].remedy == f"chmod 700 {settings.home}"


def test_a_home_that_is_a_file_is_a_problem(settings: Settings) -> None:
    settings.home.write_text("")
    assert "PRIME_SPARK_HOME" in _problems(settings)["home"].remedy


def test_a_full_disk_is_a_problem(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    assert "1 GiB" in _problems(settings)["disk"].remedy


def test_a_package_in_a_wrong_version_is_a_problem(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ["fastapi<0.1", "no-such-package>=1", "pytest>=1", "other; extra == 'dev'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda _: wanted)
    texts = [finding.text for finding in examine(settings, SystemClock()) if not finding.ok]
    assert len(texts) == 2
    assert texts[0].startswith("fastapi is ")
    assert texts[1] == "no-such-package is not installed"


def test_a_port_that_is_taken_is_a_problem(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        taken = settings.model_copy(update={"ports": PortSettings(mlflow=port)})
        problem = _problems(taken)["ports"]
    assert str(port) in problem.text
    assert "ports.mlflow" in problem.remedy
    assert "ports" not in _problems(taken)


def test_processes_left_behind_are_a_problem(settings: Settings) -> None:
    sleeper = start(SLEEPER, new_up_id(settings.home))
    try:
        assert eventually(lambda: "processes" in _problems(settings))
        assert str(sleeper.pid) in _problems(settings)["processes"].text
        assert sleeper.poll() is None, "looking must not end anything"
    finally:
        end(sleeper)
    assert "processes" not in _problems(settings)


def test_a_database_that_does_not_answer_is_a_problem(settings: Settings) -> None:
    url = "postgresql+psycopg://me:hunter2@127.0.0.1:1/x"
    problem = _problems(settings.model_copy(update={"ledger": LedgerSettings(url=url)}))["ledger"]
    assert "ledger.url" in problem.remedy
    assert "hunter2" not in problem.text


def test_an_altered_ledger_is_a_problem(settings: Settings) -> None:
    settings.home_dir.create()
    engine = open_ledger(settings.ledger_url)
    EventLog(engine, SystemClock()).append(None, "looked", "digits", {})
    with engine.begin() as connection:
        connection.execute(text("update event_head set hash = 'other'"))
    assert "altered" in _problems(settings)["ledger"].text


class _Server(BaseHTTPRequestHandler):
    ahead = timedelta(0)

    def do_GET(self) -> None:
        self.send_response_only(200)
        self.send_header("Date", format_datetime(datetime.now(UTC) + self.ahead, usegmt=True))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Server) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def _with_servers(settings: Settings, mlflow: str, prefect: str) -> Settings:
    return settings.model_copy(
        update={
            "mlflow": MlflowSettings(tracking_uri=mlflow),
            "prefect": PrefectSettings(api_url=prefect),
        }
    )


def test_servers_that_answer_are_no_problem(settings: Settings, server: str) -> None:
    assert _problems(_with_servers(settings, server, f"{server}/api")) == {}


def test_servers_that_do_not_answer_are_problems(settings: Settings) -> None:
    down = "http://me:hunter2@127.0.0.1:1"
    problems = _problems(_with_servers(settings, down, f"{down}/api"))
    assert set(problems) == {"MLflow", "Prefect"}
    assert "mlflow.tracking_uri" in problems["MLflow"].remedy
    assert "hunter2" not in problems["MLflow"].text + problems["Prefect"].text


def test_a_server_with_another_time_is_a_problem(
    settings: Settings, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Server, "ahead", timedelta(minutes=10))
    problem = _problems(_with_servers(settings, server, f"{server}/api"))["clock"]
    assert "NTP" in problem.remedy


def test_a_clock_that_was_never_set_is_a_problem(settings: Settings) -> None:
    clock = ManualClock(datetime(1970, 1, 1, tzinfo=UTC))
    assert "1970-01-01" in _problems(settings, clock)["clock"].text


def test_a_clock_behind_its_own_files_is_a_problem(settings: Settings) -> None:
    settings.home_dir.create()
    future = (datetime.now(UTC) + timedelta(days=2)).timestamp()
    os.utime(settings.home_dir.logs, (future, future))
    assert "behind" in _problems(settings)["clock"].text
