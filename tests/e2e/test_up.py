"""`prime-spark up` as a user has it: started, asked, stopped, killed, and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from config.paths import Home
from flows.up.lock import is_held, read_running
from flows.up.session import Urls
from flows.up.sweep import home_mark, marked_with, sweep

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

_START_S = 180.0
_END_S = 20.0


@dataclass(frozen=True, slots=True)
class Up:
    """A home, and what was started on it."""

    home: Home
    output: Path

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        environ = {n: v for n, v in os.environ.items() if not n.startswith("PRIME_SPARK_")}
        with self.output.open("ab") as stream:
            return subprocess.Popen(
                [sys.executable, "-m", "flows.cli", "up", *options],
                env=environ | {"PRIME_SPARK_HOME": str(self.home.root)},
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=self.home.root.parent,
            )

    def processes(self) -> dict[int, str]:
        return marked_with(home_mark(self.home.root))

    def watchdogs(self) -> list[str]:
        commands = [_command(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        mark = home_mark(self.home.root)
        return [
            words[0] for words in commands if "flows.up.watchdog" in words and mark in words[-1]
        ]

    def nothing_is_left(self) -> bool:
        return not self.processes() and not self.watchdogs() and not is_held(self.home)


def _command(entry: Path) -> list[str]:
    try:
        return (entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return [""]


def wait_for(what: str, met: Callable[[], object], seconds: float, output: Path) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {seconds:.0f} s\n{output.read_text()}")
        time.sleep(0.1)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    root = tmp_path_factory.mktemp("up") / "home"
    home = Home(root).create()
    yield Up(home, root.parent / "output.txt")
    sweep(home_mark(root))


def test_nothing_survives_the_sudden_death_of_the_parent(up: Up) -> None:
    parent = up.start()
    # The predictor's own workers are grandchildren: they know nothing of the parent.
    wait_for(
        "grandchildren",
        lambda: any("_bentoml_impl.worker" in command for command in up.processes().values()),
        _START_S,
        up.output,
    )
    parent.kill()
    parent.wait()
    wait_for("everything gone", up.nothing_is_left, _END_S, up.output)


def test_up_serves_refuses_a_second_run_and_leaves_nothing(up: Up) -> None:
    parent = up.start()
    try:
        wait_for("all servers", lambda: _urls(up) is not None, _START_S, up.output)
        urls = _urls(up)
        assert urls is not None
        for url in (
            urls.prefect,
            f"{urls.prefect_api}/health",
            urls.mlflow,
            f"{urls.mlflow}/health",
            f"{urls.predictor}/livez",
            f"{urls.predictor}/v2/health/live",
        ):
            assert httpx.get(url, follow_redirects=True, timeout=10).status_code == 200, url
        mlflow = [command for command in up.processes().values() if "mlflow" in command]
        assert len(mlflow) <= 2, "one MLflow worker and its parent"
        _assert_deployed(urls)
        _assert_second_run_is_refused(up)
        _assert_models_command_finds_the_servers(up)
    finally:
        parent.send_signal(signal.SIGINT)
    assert parent.wait(_END_S) == 0
    assert up.nothing_is_left(), up.output.read_text()
    for url in (urls.prefect, urls.mlflow, urls.predictor):
        _assert_port_is_free(url)
    assert not (up.home.run / "up.lock").exists()
    assert not (up.home.run / "up.json").exists()


def _urls(up: Up) -> Urls | None:
    running = read_running(up.home)
    return running.urls if running else None


def _assert_deployed(urls: Urls) -> None:
    answer = httpx.post(f"{urls.prefect_api}/deployments/filter", json={}, timeout=10)
    names = {deployment["entrypoint"] for deployment in answer.json()}
    assert any("ab_test" in name for name in names), names


def _assert_second_run_is_refused(up: Up) -> None:
    output = up.output.with_name("second.txt")
    second = Up(up.home, output).start()
    assert second.wait(60) == 3
    text = output.read_text()
    assert "already running" in text
    assert "Traceback" not in text
    assert len(text.splitlines()) == 1, text


def _assert_models_command_finds_the_servers(up: Up) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "flows.cli", "models", "--json"],
        env=os.environ | {"PRIME_SPARK_HOME": str(up.home.root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (answer.returncode, answer.stdout.strip()) == (0, "[]"), answer.stderr


def _assert_port_is_free(url: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", int(url.rpartition(":")[2])))
