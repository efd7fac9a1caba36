"""The waker stops when it is told to, whatever it is doing, and waits for servers that are away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.loader import load_settings
from flows.context import Context
from flows.up.signals import StopSignals
from flows.wake import Waker
from tests.services.processes import LOOPBACK, free_port, wait_until


@pytest.fixture
def nobody(tmp_path: Path) -> dict[str, str]:
    """Settings by which neither Prefect nor MLflow answers."""
    return {
        "PRIME_SPARK_HOME": str(tmp_path / "home"),
        "PRIME_SPARK_MLFLOW__TRACKING_URI": f"http://{LOOPBACK}:{free_port()}",
        "PRIME_SPARK_PREFECT__API_URL": f"http://{LOOPBACK}:{free_port()}/api",
    }


@pytest.fixture
def context(nobody: dict[str, str]) -> Iterator[Context]:
    made = Context(load_settings(environ=nobody))
    yield made
    made.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_rest_between_two_looks(context: Context, number: signal.Signals) -> None:
    stop = StopSignals()
    rests: list[float] = []

    def wait(seconds: float) -> None:
        rests.append(seconds)
        if len(rests) == 3:
            signal.raise_signal(number)

    with stop.installed():
        Waker(context, context.desk(wait)).run(stop.requested, interval_s=3600.0)
    assert len(rests) == 3, "no rest was begun after the signal"
    assert max(rests) <= 0.1, "a signal that comes in a rest is seen soon"


def test_the_process_says_what_is_missing_and_ends_on_request(
    nobody: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "wake.out"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.wake"], env=os.environ | nobody, stderr=stream
        )
    try:
        wait_until(lambda: log.stat().st_size > 0, 30, "it says that nobody answers")
        asked = time.monotonic()
        process.terminate()
        assert process.wait(20) == 0
        assert time.monotonic() - asked < 10
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()
