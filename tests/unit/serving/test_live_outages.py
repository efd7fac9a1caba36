"""The predictor while something else is away, and when it ends itself; on the real servers."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from uuid import uuid4

import httpx

from registry.exposures import ExposureStore
from registry.ledger.database import open_ledger
from registry.mlflow_models import ModelRegistry
from registry.records import RouteMode
from tests.services.live_predictor import CLOCK, ROW, World, label
from tests.services.mlflow_server import mlflow_server
from tests.services.predictor import running_predictor, write_classifier
from tests.services.processes import free_port, wait_until


def test_it_serves_on_without_the_registry_and_restarts_without_it(tmp_path: Path) -> None:
    port = free_port()
    folder = tmp_path / "mlflow"
    folder.mkdir()
    home = tmp_path / "home"
    with mlflow_server(folder, port) as uri:
        registry = ModelRegistry(uri, CLOCK)
        for always in (0, 1):
            registry.register("digits", write_classifier(tmp_path / f"{always}.onnx", always))
        registry.set_alias("digits", "champion", 1)
        with running_predictor(home, uri) as predictor:
            ledger = open_ledger(f"sqlite:///{home}/ledger.db")
            world = World(registry, predictor, home, ledger)
            world.route("digits", RouteMode.AB, 0.5)
            world.await_arms("digits", ("champion", 1), ("challenger", 2))
    with running_predictor(home, uri) as predictor:  # the registry is down now
        world = World(registry, predictor, home, ledger)
        world.await_arms("digits", ("champion", 1), ("challenger", 2))
        with predictor.client() as client:
            wait_until(lambda: "registry" in client.get("/models").json()["stale"], 40, "the news")
            assert label(client.post("/predict/digits", json={"inputs": ROW, "key": "a"})) in (0, 1)
        # The ledger still answers: a trial can be stopped while the registry is away.
        world.route("digits", RouteMode.NONE)
        world.await_arms("digits", ("champion", 1))
        with mlflow_server(folder, port):
            registry.set_alias("digits", "champion", 2)
            world.await_arms("digits", ("champion", 2))
    ledger.dispose()


def test_counts_are_written_when_it_is_asked_to_stop(mlflow_uri: str, tmp_path: Path) -> None:
    registry = ModelRegistry(mlflow_uri, CLOCK)
    name = f"model-{uuid4().hex[:8]}"
    registry.register(name, write_classifier(tmp_path / "m.onnx", 0))
    registry.set_alias(name, "champion", 1)
    home = tmp_path / "home"
    with (
        running_predictor(
            home, mlflow_uri, SERVING__FLUSH_SECONDS=60, SERVING__MODELS=name
        ) as predictor,
        predictor.client() as client,
    ):
        for _ in range(7):
            assert label(client.post(f"/predict/{name}", json={"inputs": ROW})) == 0
    ledger = open_ledger(f"sqlite:///{home}/ledger.db")
    assert ExposureStore(ledger).version_totals(name, 1, 0.0).count == 7
    ledger.dispose()


def test_workers_end_when_their_supervisor_is_killed(mlflow_uri: str, tmp_path: Path) -> None:
    with running_predictor(tmp_path / "home", mlflow_uri) as predictor:
        os.kill(predictor.pid, signal.SIGKILL)

        def gone() -> bool:
            try:
                httpx.get(f"{predictor.url}/livez", timeout=1.0)
            except httpx.ConnectError:
                return True
            except httpx.HTTPError:
                return False  # it went down while it was asked
            return False

        wait_until(gone, 40, "the port to be free")
