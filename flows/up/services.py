"""The servers of `prime-spark up`: how each is started and how one sees that it answers."""

from __future__ import annotations

import http.client
import json
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from config.paths import Home
from config.settings import Settings

PREFECT, MLFLOW, PREDICTOR = "Prefect", "MLflow", "predictor"
DEPLOYMENTS, WORKER, WAKE = "deployments", "worker", "wake-up"
AGENT, API = "agent", "agent API"

# Stop first what asks, then what answers.
CLIENTS, SERVERS = 0, 1

_PROBE_TIMEOUT_S = 2.0

Probe = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Service:
    """One process to start.

    Attributes:
        name: what the user sees.
        command: the command line.
        probe: tells whether it answers; `None` if there is nothing that could be asked.
        needs: services that have to answer before this one is started.
        once: it is a step that is done when it has ended well.
        stage: `CLIENTS` are stopped before `SERVERS`.
        deadline_s: longest wait until it answers.
        grace_s: longest wait until it has stopped by itself.
        output: name of the log file for what it prints; by default its own name.
    """

    name: str
    command: tuple[str, ...]
    probe: Probe | None
    needs: tuple[str, ...] = ()
    once: bool = False
    stage: int = CLIENTS
    deadline_s: float = 120.0
    grace_s: float = 5.0
    output: str = ""


def python(*arguments: str) -> tuple[str, ...]:
    """Return the command line of this Python; the working directory is no source of modules."""
    return (sys.executable, "-P", *arguments)


def prefect_server(settings: Settings, port: int) -> Service:
    """Prefect's server and UI on SQLite."""
    host = settings.serving.host
    return Service(
        PREFECT,
        python("-m", "prefect", "server", "start", "--host", host, "--port", str(port)),
        answers(f"http://{host}:{port}/api/health"),
        stage=SERVERS,
    )


def mlflow_server(settings: Settings, port: int) -> Service:
    """MLflow's tracking server, registry and UI with one worker on SQLite."""
    folder = settings.home_dir.root / "mlflow"
    folder.mkdir(mode=0o700, exist_ok=True)
    host = settings.serving.host
    return Service(
        MLFLOW,
        python(
            *("-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
            *("--artifacts-destination", str(folder / "artifacts")),
            *("--uvicorn-opts", "--log-level warning --timeout-graceful-shutdown 2"),
        ),
        answers(f"http://{host}:{port}/health"),
        stage=SERVERS,
        # Its command line lingers for seconds after its server has ended.
        grace_s=2.0,
    )


def predictor(settings: Settings, port: int) -> Service:
    """The predictor; it answers as soon as its process does, with or without models."""
    host = settings.serving.host
    return Service(
        PREDICTOR,
        python(
            *("-m", "bentoml", "serve", "serving.service:Predictor"),
            *("--host", host, "--port", str(port)),
            # Longer than clients keep idle connections, or a request could meet a closing one.
            *("--timeout-keep-alive", "75"),
        ),
        answers(f"http://{host}:{port}/livez"),
    )


def deployments(needs: tuple[str, ...]) -> Service:
    """The step that makes the flows known to Prefect."""
    return Service(DEPLOYMENTS, python("-m", "flows.cli", "deploy"), None, needs, once=True)


def worker(settings: Settings, api_url: str, name: str) -> Service:
    """The Prefect worker that runs each flow run in a process of its own."""
    pool = settings.prefect.work_pool
    return Service(
        WORKER,
        python(
            *("-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"),
            *("--name", name, "--install-policy", "never"),
        ),
        lambda: worker_is_online(api_url, pool, name),
        (DEPLOYMENTS,),
    )


def wake(needs: tuple[str, ...]) -> Service:
    """The poller that starts the life-cycle as soon as something is new in the registry.

    It has no port to ask: it counts as up while it runs.
    """
    return Service(WAKE, python("-m", "flows.wake"), lambda: True, needs)


def agent(needs: tuple[str, ...]) -> Service:
    """The resident agent. It has no port to ask: it counts as up while it runs.

    It keeps a log of its own, agent.log; what it prints is only why it could not start.
    """
    command = python("-m", "flows.agent", "--quiet")
    return Service(AGENT, command, lambda: True, needs, output="agent-output")


def api(settings: Settings) -> Service:
    """The agent's API; it takes the port of the settings, or a free one, and tells which."""
    home = settings.home_dir
    return Service(API, python("-m", "serving.api"), lambda: api_answers(home), output="agent-api")


def api_url(home: Home) -> str | None:
    """Where the agent's API says that it listens; None while it does not."""
    try:
        return str(json.loads(home.api_file.read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def api_answers(home: Home) -> bool:
    """Ask the agent's API whether it lives; with TLS, whether it takes connections.

    A certificate need not be one that this machine trusts by itself.
    """
    url = api_url(home)
    if url is None:
        return False
    parts = urlsplit(url)
    if parts.scheme != "https":
        return _request("GET", f"{url}/health/live") is not None
    try:
        address = (parts.hostname or "", parts.port or 443)
        with socket.create_connection(address, timeout=_PROBE_TIMEOUT_S):
            return True
    except OSError:
        return False


def answers(url: str) -> Probe:
    """Return a probe that asks for `url` and is content with status 200."""
    return lambda: _request("GET", url) is not None


def worker_is_online(api_url: str, pool: str, name: str) -> bool:
    """Ask the Prefect server whether the worker has reported itself."""
    body = _request("POST", f"{api_url}/work_pools/{pool}/workers/filter", b"{}")
    if body is None:
        return False
    try:
        workers = json.loads(body)
    except ValueError:
        return False
    return any(
        isinstance(worker, dict) and worker.get("name") == name and worker.get("status") == "ONLINE"
        for worker in workers
    )


def _request(method: str, url: str, body: bytes | None = None) -> bytes | None:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_PROBE_TIMEOUT_S)
    try:
        headers = {"Content-Type": "application/json"} if body else {}
        connection.request(method, parts.path or "/", body, headers)
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return content if response.status == http.HTTPStatus.OK else None
