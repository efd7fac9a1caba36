"""The demo's story in small, on the real servers: the chapters a user would miss most."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.clock import SystemClock
from config.loader import load_settings
from config.paths import Home
from flows.demo.chapters import (
    Chapter,
    better_version,
    broken_version,
    first_champion,
    moved_by_hand,
)
from flows.demo.pace import demo_variables
from flows.demo.story import run_story
from flows.up.lock import read_running
from flows.up.screen import PlainScreen
from flows.up.session import UpSession

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

START_SECONDS = 90.0
STOP_SECONDS = 30.0
CHAPTERS = (
    Chapter("v1 becomes champion", first_champion),
    Chapter("v2 is better and takes over", better_version),
    Chapter("v3 fails on some images and is stopped", broken_version),
    Chapter("a person moves @champion", moved_by_hand),
)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[UpSession]:
    """Start `prime-spark up` as a user would; hand over what its story would be given."""
    home = Home(tmp_path / "home")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PRIME_SPARK_", "PREFECT_", "MLFLOW_"))
    }
    environment |= {"PRIME_SPARK_HOME": str(home.root), **demo_variables({})}
    log = tmp_path / "up.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "up"],
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _opened(process, home, environment, log)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(STOP_SECONDS)


def _opened(
    process: subprocess.Popen[bytes], home: Home, environment: dict[str, str], log: Path
) -> UpSession:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        running = read_running(home)
        if running is not None and running.urls is not None:
            urls = running.urls
            found = {
                "PRIME_SPARK_MLFLOW__TRACKING_URI": urls.mlflow,
                "PRIME_SPARK_PREFECT__API_URL": urls.prefect_api,
                "PRIME_SPARK_SERVING__PORT": urls.predictor.rpartition(":")[2],
            }
            settings = load_settings(environ=environment | found)
            return UpSession(settings, urls, environment | found)
        time.sleep(0.2)
    pytest.fail(f"the servers did not answer: {log.read_text()}")


def test_the_life_cycle_on_live_traffic(session: UpSession) -> None:
    told = io.StringIO()
    try:
        result = run_story(session, PlainScreen(SystemClock(), told), CHAPTERS)
    finally:
        session.stop.set()
    print(told.getvalue())
    assert result.ok, f"{result.reason}\n{told.getvalue()}"
    assert told.getvalue().count(" ok: ") == len(CHAPTERS)
