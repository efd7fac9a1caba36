"""The API's own process: where it tells it listens, who may read that, how it ends."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from config.clock import SystemClock
from registry.agent_control import ControlStore
from registry.ledger.database import open_ledger
from tests.services.agent_api import ROOT, RunningApi, running_api
from tests.services.processes import free_port, wait_until


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApi]:
    with running_api(tmp_path_factory.mktemp("api")) as running:
        yield running


def test_it_tells_the_owner_where_it_listens(api: RunningApi) -> None:
    told = json.loads(api.home.api_file.read_text())
    assert told == {"url": api.url, "pid": api.pid}
    assert stat.S_IMODE(api.home.api_file.stat().st_mode) == 0o600
    assert api.url.startswith("http://127.0.0.1:")


def test_it_is_up_and_says_that_the_agent_is_down(api: RunningApi) -> None:
    with api.client() as client:
        assert client.get("/agent/status").json()["state"] == "down"
        assert client.get("/health/ready").json() == {"ready": True, "agent": "down"}


def test_events_arrive_while_one_listens(api: RunningApi) -> None:
    engine = open_ledger(f"sqlite:///{api.home.ledger_file}")
    control = ControlStore(engine, SystemClock())
    with api.client() as client, client.stream("GET", "/agent/events") as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith(": from ")
        threading.Thread(target=control.pause, args=("anna", "look")).start()
        kind = next(line for line in lines if line.startswith("event: "))
        data = next(line for line in lines if line.startswith("data: "))
    assert kind == "event: paused"
    assert json.loads(data.removeprefix("data: "))["body"] == {"by": "anna", "reason": "look"}
    engine.dispose()


def test_a_listener_that_went_away_gives_its_place_back(api: RunningApi) -> None:
    with api.client() as client:
        for _ in range(40):
            with client.stream("GET", "/agent/events") as stream:
                assert next(stream.iter_lines()).startswith(": from ")
            wait_until(lambda: _listeners(client) == 0, 20.0, "no listener is left")


def _listeners(client: httpx.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith("prime_spark_api_listeners "))[26:])


def test_it_ends_within_seconds_though_somebody_listens(tmp_path: Path) -> None:
    with (
        running_api(tmp_path) as running,
        running.client() as client,
        client.stream("GET", "/agent/events") as stream,
    ):
        lines = stream.iter_lines()
        next(lines)
        begun = time.monotonic()
        os.kill(running.pid, signal.SIGTERM)
        assert [line for line in lines if line] == []
        wait_until(lambda: not running.home.api_file.exists(), 5.0, "it takes its address away")
        assert time.monotonic() - begun < 5.0


def test_ctrl_c_ends_it_without_a_traceback(tmp_path: Path) -> None:
    with running_api(tmp_path) as running:
        os.kill(running.pid, signal.SIGINT)
        wait_until(lambda: not running.home.api_file.exists(), 5.0, "it takes its address away")
    assert "Traceback" not in running.log_file.read_text()


def _refused(folder: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    environment = {f"PRIME_SPARK_{name}": str(value) for name, value in settings.items()}
    environment |= {"PRIME_SPARK_HOME": str(folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "serving.api"]
    return subprocess.run(
        command,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_address_open_to_others_is_refused(tmp_path: Path) -> None:
    done = _refused(tmp_path, API__HOST="0.0.0.0")
    assert done.returncode == 2
    assert "without TLS" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run" / "api.json").exists()


def test_a_port_that_is_taken_is_told(api: RunningApi, tmp_path: Path) -> None:
    done = _refused(tmp_path, API__PORT=api.url.rpartition(":")[2])
    assert done.returncode == 2
    assert "cannot listen on 127.0.0.1" in done.stderr


def test_a_ledger_that_does_not_answer_is_told(tmp_path: Path) -> None:
    url = f"postgresql://nobody:hunter2@127.0.0.1:{free_port()}/none"
    done = _refused(tmp_path, LEDGER__URL=url)
    assert done.returncode == 4
    assert "hunter2" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_with_a_certificate_it_speaks_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"]
    subprocess.run(command, check=True, capture_output=True)
    environment = {
        "PRIME_SPARK_HOME": str(tmp_path / "home"),
        "PRIME_SPARK_API__TLS_CERTIFICATE": str(certificate),
        "PRIME_SPARK_API__TLS_KEY": str(key),
        "PYTHONPATH": str(ROOT),
    }
    told = tmp_path / "home" / "run" / "api.json"
    command = [sys.executable, "-m", "serving.api"]
    with subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE) as server:
        try:
            wait_until(told.exists, 30.0, "it tells where it listens")
            url = json.loads(told.read_text())["url"]
            answer = httpx.get(f"{url}/health/live", verify=False)
        finally:
            server.terminate()
            server.communicate(timeout=20.0)
    assert url.startswith("https://")
    assert answer.json() == {"live": True}
