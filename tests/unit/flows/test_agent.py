"""The agent as a process: light, quick to end whatever hangs, and followed by the next."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.loader import load_settings
from flows.context import Context
from flows.resident.leadership import LEASE
from flows.resident.world import AgentWorld
from tests.services.prefect_server import ROOT
from tests.services.processes import LOOPBACK, wait_until

_HEAVY = ("prefect", "mlflow", "scipy", "onnxruntime", "onnx", "matplotlib", "fastapi", "typer")


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server((LOOPBACK, 0), backlog=64) as server:
        yield f"http://{LOOPBACK}:{server.getsockname()[1]}"


def variables(home: Path, **more: str) -> dict[str, str]:
    return {
        "PRIME_SPARK_HOME": str(home),
        "PRIME_SPARK_MONITORING__INTERVAL_SECONDS": "0.2",
        "PRIME_SPARK_MONITORING__EXECUTION_INTERVAL_SECONDS": "0.2",
        "PRIME_SPARK_AGENT__LEASE_SECONDS": "2",
    } | {f"PRIME_SPARK_{name}": value for name, value in more.items()}


@contextmanager
def running(settings: dict[str, str], *command: str) -> Iterator[subprocess.Popen[bytes]]:
    command = command or ("-m", "flows.agent", "--quiet")
    process = subprocess.Popen(
        [sys.executable, "-P", *command],
        env=os.environ | settings | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def log_of(home: Path) -> str:
    file = home / "logs" / "agent.log"
    return file.read_text() if file.exists() else ""


def test_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, flows.agent, flows.resident.agent, optimizers.models.builtin, "
        "optimizers.targets.builtin, optimizers.notifications.webhook; "
        f"print([name for name in {_HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_within_five_seconds_although_its_servers_hang(
    tmp_path: Path, silent: str, number: signal.Signals
) -> None:
    settings = variables(tmp_path, MLFLOW__TRACKING_URI=silent, PREFECT__API_URL=f"{silent}/api")
    with running(settings) as process:
        wait_until(lambda: "this agent leads" in log_of(tmp_path), 60, "the agent leads")
        asked = time.monotonic()
        process.send_signal(number)
        assert process.wait(5.0) == 0
        assert time.monotonic() - asked < 5.0
    assert log_of(tmp_path).rstrip().endswith("stopped")


def test_the_next_agent_takes_over_from_one_that_was_killed(tmp_path: Path) -> None:
    settings = variables(tmp_path)
    context = Context(load_settings(environ=settings))
    world = AgentWorld(context)

    def leader() -> str:
        lease = world.leases.current(LEASE)
        return lease.holder if lease is not None else ""

    with running(settings) as first:
        wait_until(lambda: bool(leader()), 60, "the first agent leads")
        before = leader()
        with running(settings):
            wait_until(lambda: "standing by" in log_of(tmp_path), 60, "the second stands by")
            assert leader() == before
            first.kill()
            wait_until(lambda: leader() != before, 60, "the second leads")
    world.close()


def test_it_runs_as_a_command_and_shows_signs_of_life(tmp_path: Path) -> None:
    settings = variables(tmp_path, AGENT__LOG_FORMAT="json")
    world = AgentWorld(Context(load_settings(environ=settings)))
    with running(settings, "-m", "flows.cli", "agent", "--quiet") as process:
        wait_until(lambda: world.stores.control.fact("beat") is not None, 60, "it shows life")
        process.send_signal(signal.SIGTERM)
        assert process.wait(5.0) == 0
    beat = world.stores.control.fact("beat")
    assert beat is not None
    assert isinstance(beat.value, dict)
    assert (beat.value["state"], beat.value["pid"]) == ("stopped", process.pid)
    assert (beat.value["automatic"], beat.value["simulation"]) == (True, False)
    assert beat.value["plugins_off"] == []
    messages = [json.loads(line)["message"] for line in log_of(tmp_path).splitlines()]
    assert messages[0].startswith("agent agent-")
    world.close()


def test_a_wrong_setting_is_one_sentence(tmp_path: Path) -> None:
    settings = variables(tmp_path, AGENT__TARGETS="nonsense")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "flows.agent"],
        env=os.environ | settings | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "agent.targets names nonsense" in done.stderr
    assert "Traceback" not in done.stderr
