"""The field of the serving benchmark: every server that is compared, started and stopped here.

All servers are pinned to the same core and the load client to another, where there are two, so
that each has the same machine and the client takes nothing from them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from config.clock import SystemClock
from registry.knobs import KnobStore
from registry.ledger.database import open_ledger
from registry.records import CHAMPION_ALIAS, RouteMode
from registry.routing import RouteStore

_RIVALS = Path(__file__).parent / "rivals"
_START_S = 120.0
# Workers read knobs each second.
_POLLED_S = 3.0


def cores() -> tuple[str, str]:
    """Return the cores for servers and client, as lists for taskset."""
    free = sorted(os.sched_getaffinity(0))
    return (str(free[0]), ",".join(map(str, free[1:])) or str(free[0]))


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Server:
    """A server under test: its port and the path a model is asked at."""

    name: str
    port: int
    path: Callable[[str], str]
    process: subprocess.Popen[bytes]


@dataclass(slots=True)
class Field:
    """The servers that run, by name, and the folder of their files."""

    folder: Path
    servers: dict[str, Server] = field(default_factory=dict)

    def start(  # noqa: PLR0913 - what it takes to start a server
        self,
        name: str,
        command: list[str],
        *,
        port: int,
        path: Callable[[str], str],
        ready: str,
        environment: Mapping[str, str] | None = None,
        pinned: bool = True,
    ) -> Server:
        """Start a server and wait until `ready` answers with 200.

        Raises:
            RuntimeError: it ended, or did not answer in time; with the end of its log.
        """
        log = self.folder / f"{name}.log"
        prefix = ["taskset", "-c", cores()[0]] if pinned and shutil.which("taskset") else []
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*prefix, sys.executable, "-m", *command],
                env={**os.environ, "BENTOML_DO_NOT_TRACK": "True", **(environment or {})},
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Server(name, port, path, process)
        self.servers[name] = server
        deadline = time.monotonic() + _START_S
        while not _answers(f"http://127.0.0.1:{port}{ready}"):
            if process.poll() is not None or time.monotonic() > deadline:
                end = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{name} did not start:\n{end}")
            time.sleep(0.2)
        return server

    def stop_but(self, *kept: str) -> None:
        """Stop all servers but those named, with everything they started."""
        for name in [name for name in reversed(self.servers) if name not in kept]:
            _stop(self.servers.pop(name).process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10.0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def open_field(folder: Path) -> Iterator[Field]:
    """Yield an empty field; all its servers are stopped at the end."""
    found = Field(folder)
    try:
        yield found
    finally:
        found.stop_but()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


def start_starlette(field: Field, models: Mapping[str, Path]) -> Server:
    """Start plain Starlette under uvicorn."""
    port = free_port()
    named = ",".join(f"{name}={path}" for name, path in models.items())
    return field.start(
        "starlette",
        [
            *("uvicorn", "starlette_app:app", "--app-dir", str(_RIVALS)),
            *("--port", str(port), "--no-access-log", "--log-level", "warning"),
        ],
        port=port,
        path=lambda model: f"/predict/{model}",
        ready="/ready",
        environment={"RIVAL_MODELS": named},
    )


def start_bentoml(field: Field, model: Path) -> Server:
    """Start a default BentoML service with a typed API."""
    folder = field.folder / "bentoml-typed"
    folder.mkdir()
    shutil.copy(_RIVALS / "bentoml_typed.txt", folder / "typed.py")
    port = free_port()
    return field.start(
        "bentoml",
        [
            *("bentoml", "serve", "typed:Typed", "--working-dir", str(folder)),
            *("--port", str(port), "--host", "127.0.0.1"),
        ],
        port=port,
        path=lambda _model: "/predict",
        ready="/readyz",
        environment={"RIVAL_MODEL": str(model), "BENTOML_HOME": str(field.folder / "bento-home")},
    )


def start_mlflow_serve(field: Field, model: Path) -> Server:
    """Start `mlflow models serve` with one worker."""
    folder = field.folder / "mlflow-model"
    script = field.folder / "mlflow_model.py"
    shutil.copy(_RIVALS / "mlflow_model.txt", script)
    subprocess.run([sys.executable, str(script), str(model), str(folder)], check=True)
    port = free_port()
    return field.start(
        "mlflow",
        [
            *("mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local"),
            *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        ],
        port=port,
        path=lambda _model: "/invocations",
        ready="/ping",
    )


def start_registry(field: Field) -> str:
    """Start an MLflow server; return its address."""
    port = free_port()
    folder = field.folder / "registry"
    folder.mkdir()
    field.start(
        "registry",
        [
            *("mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
            *("--artifacts-destination", str(folder / "artifacts")),
        ],
        port=port,
        path=lambda _model: "/",
        ready="/health",
        environment={"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        pinned=False,
    )
    return f"http://127.0.0.1:{port}"


def register(uri: str, model: str, files: list[Path]) -> None:
    """Register versions of a model and put the champion alias on the first."""
    # mlflow is heavy: only the process that needs it, when it needs it.
    from registry.mlflow_models import ModelRegistry  # noqa: PLC0415

    registry = ModelRegistry(uri, SystemClock())
    versions = [registry.register(model, path).version for path in files]
    registry.set_alias(model, CHAMPION_ALIAS, versions[0])


def set_champion(client: httpx.Client, model: str, version: int) -> None:
    """Move the champion alias through MLflow's REST API, as a person's tool would."""
    client.post(
        "/api/2.0/mlflow/registered-models/alias",
        content=json.dumps({"name": model, "alias": CHAMPION_ALIAS, "version": str(version)}),
        headers={"content-type": "application/json"},
    ).raise_for_status()


@dataclass(frozen=True, slots=True)
class Predictor:
    """A running predictor and its home."""

    server: Server
    home: Path


def start_predictor(
    field: Field, name: str, uri: str, models: list[str], *, pinned: bool = True, **settings: object
) -> Predictor:
    """Start the predictor and wait until it serves the models; unpinned it has all cores."""
    port = free_port()
    home = field.folder / name
    values = {"HOME": home, "MLFLOW__TRACKING_URI": uri, "SERVING__PORT": port, **settings}
    server = field.start(
        name,
        ["bentoml", "serve", "serving.service:Predictor", "--timeout-keep-alive", "75"],
        port=port,
        path=lambda model: f"/predict/{model}",
        ready=f"/v2/models/{models[-1]}/ready",
        pinned=pinned,
        environment={
            **{f"PRIME_SPARK_{key}": str(value) for key, value in values.items()},
            "BENTOML_HOME": str(home / "bentoml"),
        },
    )
    return Predictor(server, home)


def split(home: Path, model: str, weight: float) -> None:
    """Ask for a split between version 1 and 2 of a model."""
    engine = open_ledger(f"sqlite:///{home / 'ledger.db'}")
    RouteStore(engine, SystemClock()).put(
        model,
        expected_revision=0,
        mode=RouteMode.AB,
        champion=1,
        challenger=2,
        weight=weight,
        experiment_id="benchmark",
        salt="benchmark",
        by="benchmarks.serving",
        reason="measures what a split costs",
    )
    engine.dispose()


def join_at_most(predictor: Predictor, requests: int) -> None:
    """Turn the knob that limits how many requests a run joins, and wait until it is read."""
    engine = open_ledger(f"sqlite:///{predictor.home / 'ledger.db'}")
    KnobStore(engine, SystemClock()).write(
        "serving",
        "max_batch_size",
        expected=None,
        value=requests,
        by="benchmarks.serving",
        reason="measures the split without micro-batching",
    )
    engine.dispose()
    time.sleep(_POLLED_S)
