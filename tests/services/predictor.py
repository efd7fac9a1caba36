"""Starts the real `bentoml serve serving.service:Predictor` on a free port, and stops it whole."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
_START_S = 60.0
_STOP_S = 15.0


@dataclass(slots=True)
class RunningPredictor:
    """A predictor that answers on `url`; `log` is everything it printed."""

    process: subprocess.Popen[bytes]
    url: str
    home: Path
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=20.0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Poll until the condition holds; fail with what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.02)


def predictor_environment(
    home: Path, mlflow_uri: str, settings: Mapping[str, object]
) -> dict[str, str]:
    """Return the environment of a predictor; settings are keys such as `SERVING__WORKERS`."""
    values = {
        "HOME": home,
        "MLFLOW__TRACKING_URI": mlflow_uri,
        "SERVING__POLL_SECONDS": 0.1,
        "SERVING__FLUSH_SECONDS": 0.1,
        **settings,
    }
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PRIME_SPARK_")}
    return {
        **kept,
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(home / "bentoml"),
        **{f"PRIME_SPARK_{name}": str(value) for name, value in values.items()},
    }


@contextlib.contextmanager
def running_predictor(
    home: Path, mlflow_uri: str, **settings: object
) -> Iterator[RunningPredictor]:
    """Start a predictor and yield it once it is ready to serve."""
    port = free_port()
    home.mkdir(parents=True, exist_ok=True)
    log_file = home / f"predictor-{port}.log"
    environment = predictor_environment(home, mlflow_uri, {**settings, "SERVING__PORT": port})
    command = [sys.executable, "-m", "bentoml", "serve", "serving.service:Predictor"]
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--timeout-keep-alive", "75"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = RunningPredictor(process, f"http://127.0.0.1:{port}", home, log_file)
    try:
        wait_until(lambda: _ready(running), f"a predictor on port {port}", _START_S)
        yield running
    finally:
        stop(process)


def _ready(running: RunningPredictor) -> bool:
    if running.process.poll() is not None:
        raise AssertionError(f"the predictor ended at its start:\n{running.log}")
    try:
        return httpx.get(f"{running.url}/readyz", timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process group: asked first, killed after a while."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
