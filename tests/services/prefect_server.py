"""A real Prefect server and a process worker for the test run, with a home of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.services.processes import LOOPBACK, free_port, started

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class PrefectServer:
    """A server that answers on `api_url`; `environment` is what its clients are started with."""

    api_url: str
    environment: Mapping[str, str]


@contextmanager
def prefect_server(folder: Path, port: int | None = None) -> Iterator[PrefectServer]:
    """Run a server that keeps everything in `folder`."""
    port = port or free_port()
    api_url = f"http://{LOOPBACK}:{port}/api"
    environment = {
        "PREFECT_API_URL": api_url,
        "PREFECT_HOME": str(folder),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder}/prefect.db",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "DO_NOT_TRACK": "1",
    }
    command = [sys.executable, "-m", "prefect", "server", "start"]
    command += ["--host", LOOPBACK, "--port", str(port), "--no-ui"]

    def ready() -> bool:
        return httpx.get(f"{api_url}/health", timeout=2).status_code == httpx.codes.OK

    log = folder / "server.out"
    with started(command, ready=ready, log=log, env=environment, timeout_s=120):
        yield PrefectServer(api_url, environment)


@contextmanager
def worker(
    server: PrefectServer, pool: str, log: Path, environment: Mapping[str, str]
) -> Iterator[int]:
    """Run a process worker of a pool; gives its process id."""
    command = [sys.executable, "-P", "-m", "prefect", "worker", "start"]
    command += ["--pool", pool, "--type", "process", "--install-policy", "never"]
    clean = {**server.environment, **environment, "PYTHONPATH": _python_path()}

    def ready() -> bool:
        url = f"{server.api_url}/work_pools/{pool}/workers/filter"
        workers = httpx.post(url, json={}, timeout=2).raise_for_status().json()
        return any(one["status"] == "ONLINE" for one in workers)

    with started(command, ready=ready, log=log, env=clean, timeout_s=90) as process:
        yield process.pid


def process_of(flow_run_id: str) -> psutil.Process | None:
    """The process on this machine that carries a flow run out; None when there is none."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT__FLOW_RUN_ID") == flow_run_id:
                return process
        except psutil.Error:
            continue
    return None


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """The Prefect server of this test run; tests use work pools and models of their own."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as server:
        yield server


def _python_path() -> str:
    """This checkout, so that a worker finds what tests register as their own training code."""
    inherited = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join([str(ROOT), *([inherited] if inherited else [])])
