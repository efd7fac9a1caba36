"""The flows beside the main story, on a real Prefect server, worker and MLflow server.

Each is started as a person would, by its deployment; each test has a model of its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from pydantic import JsonValue

from config.clock import SystemClock, epoch
from config.loader import load_settings
from flows.context import Context
from flows.deployments import deploy
from flows.names import RETRAIN, ROLLBACK, SHADOW, deployment_of
from optimizers.models.desk import Desk
from registry.mlflow_models import ModelRegistry
from registry.records import (
    ExperimentState,
    FeedbackItem,
    MoveState,
    Route,
    RouteMode,
    ShadowScore,
    Stage,
    Variant,
)
from tests.services.prefect_server import PrefectServer, worker
from tests.services.toy_models import classifier, evaluation

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

POOL = "other-flows"
EXPERIMENT = "other-flows"
PATIENCE_S = 90.0
TRAINING = "train-toy/of-a-user"
PAIRS, BETTER = 40, 12

T = TypeVar("T")


class World:
    """What a person could start and look at."""

    def __init__(self, context: Context, prefect: PrefectServer, folder: Path) -> None:
        self.context = context
        self.desk: Desk = context.desk()
        self.prefect = prefect
        self.folder = folder
        self.registry = ModelRegistry(context.tracking_uri, SystemClock())

    def register(self, model: str, *noises: float) -> None:
        for noise in noises:
            file = classifier(self.folder / f"noise-{noise}.onnx", noise)
            self.registry.register(model, file, evaluation=evaluation())

    def start(self, flow: str, parameters: dict[str, JsonValue]) -> str:
        """Start a flow by its deployment; return the flow run's id."""
        name = deployment_of(flow)
        return self.context.prefect.start(name, parameters, key=f"{flow}-e2e", tags=()).flow_run_id

    def ends(self, flow_run_id: str) -> tuple[str, str]:
        """Wait for a flow run's end; return the name and the message of its state."""

        def ended() -> tuple[str, str] | None:
            url = f"{self.prefect.api_url}/flow_runs/{flow_run_id}"
            state = httpx.get(url, timeout=20).raise_for_status().json()["state"]
            over = state["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
            return (state["name"], state["message"]) if over else None

        return self.until(f"flow run {flow_run_id} ends", ended)

    def until(self, what: str, find: Callable[[], T | None]) -> T:
        deadline = time.monotonic() + PATIENCE_S
        while (found := find()) is None:
            if time.monotonic() > deadline:
                log = (self.folder / "worker.out").read_text(errors="replace")
                pytest.fail(f"waited in vain until {what}; the worker said:\n{log[-3000:]}")
            time.sleep(0.2)
        return found

    def published(self, kind: str) -> Run:
        """The one MLflow run of that kind."""
        client = MlflowClient(self.context.tracking_uri)
        experiment = client.get_experiment_by_name(f"{EXPERIMENT}/{kind}")
        assert experiment is not None, "mlflow.experiment names it"
        (run,) = client.search_runs([experiment.experiment_id])
        return run


@pytest.fixture(scope="module")
def world(
    mlflow_uri: str, prefect_api: PrefectServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("other-flows")
    variables = {
        "PRIME_SPARK_HOME": str(folder / "home"),
        "PRIME_SPARK_MLFLOW__TRACKING_URI": mlflow_uri,
        "PRIME_SPARK_MLFLOW__EXPERIMENT": EXPERIMENT,
        "PRIME_SPARK_PREFECT__API_URL": prefect_api.api_url,
        "PRIME_SPARK_PREFECT__WORK_POOL": POOL,
        "PRIME_SPARK_GATE__SECONDS": "0.5",
        "PRIME_SPARK_GATE__SAMPLES": "40",
        "PRIME_SPARK_MODELS__WATCH_INTERVAL_SECONDS": "86400",
    }
    settings = load_settings(environ=variables)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in prefect_api.environment.items():
            patch.setenv(name, value)
        deploy(settings)
        deploy_training(prefect_api)
        with worker(prefect_api, POOL, folder / "worker.out", variables):
            context = Context(settings)
            yield World(context, prefect_api, folder)
            context.close()


def deploy_training(prefect: PrefectServer) -> None:
    """Deploy a user's training flow, as `prefect deploy` would."""
    flow, name = TRAINING.split("/")
    with httpx.Client(base_url=prefect.api_url, timeout=20) as http:
        made = http.post("/flows/", json={"name": flow}).raise_for_status().json()
        deployment = {
            "name": name,
            "flow_id": made["id"],
            "entrypoint": "tests.services.training_flow.train_toy",
            "work_pool_name": POOL,
            "job_variables": {"command": f"{sys.executable} -m prefect.engine"},
            "pull_steps": [],
        }
        http.post("/deployments/", json=deployment).raise_for_status()


def test_a_rollback_brings_the_previous_champion_back(world: World) -> None:
    model = "rollback-toy"
    world.register(model, 0.15, 0.05)
    world.registry.set_alias(model, "previous", 1)
    world.registry.set_alias(model, "champion", 2)
    flow_run_id = world.start(ROLLBACK, {"model": model, "reason": "it is rude"})
    name, message = world.ends(flow_run_id)
    assert name == "Rolled back", message
    assert world.registry.aliases(model) == {"champion": 1, "previous": 2}
    stages = {one.version: (one.stage, one.reason) for one in world.desk.lifecycle.all(model)}
    assert stages[1] == (Stage.CHAMPION, "rolled back from version 2: it is rude")
    assert stages[2][0] is Stage.STOPPED
    moves = [one for one in world.context.alias_history.list(model) if not one.outside]
    (move,) = [one for one in moves if one.alias == "champion"]
    assert (move.before, move.after, move.state) == (2, 1, MoveState.DONE)
    assert "it is rude" in move.reason
    tags = world.published("rollback").data.tags
    assert (tags["flow_run_id"], tags["model_version"]) == (flow_run_id, "1")


def test_a_shadow_compares_in_pairs_and_leaves_no_route(world: World) -> None:
    model = "shadow-toy"
    world.register(model, 0.15, 0.05)
    world.registry.set_alias(model, "champion", 1)
    form: JsonValue = {"model": model, "challenger": 2, "duration_seconds": 3}
    flow_run_id = world.start(SHADOW, {"test": form})
    route = world.until("requests are copied", lambda: _shadow_route(world, model))
    assert (route.champion, route.challenger) == (1, 2)
    answer_in_pairs(world, route)
    name, message = world.ends(flow_run_id)
    assert name == "Compared", message
    assert f"{PAIRS} requests answered in the shadow, 0 with an error" in message
    assert f"accuracy differs by +{BETTER / PAIRS:.4g}" in message
    assert world.desk.routes.current(model).mode is RouteMode.NONE
    assert world.registry.aliases(model) == {"champion": 1}, "a shadow promotes nothing"
    (test,) = world.desk.experiments.all(model)
    run = world.published("shadow")
    assert (test.state, test.run_id) == (ExperimentState.FINISHED, run.info.run_id)
    assert run.data.metrics == {"scored": PAIRS, "agreed": PAIRS - BETTER, "challenger.errors": 0}


def test_a_training_deployment_makes_a_version_that_is_judged(world: World) -> None:
    model = "retrain-toy"
    world.register(model, 0.15)
    world.registry.set_alias(model, "champion", 1)
    parameters: dict[str, JsonValue] = {
        "model": model,
        "reason": "it is old",
        "entrypoint": TRAINING,
    }
    name, message = world.ends(world.start(RETRAIN, parameters))
    assert (name, message) == ("Trained", f"version 2 of {model} by {TRAINING}: it is old")
    assert world.context.reader.version(model, 2).description == "trained: it is old"
    (event,) = world.desk.events.list(subject=model, kind="retrain_started")
    assert event.body["entrypoint"] == TRAINING
    reason = world.until("the benchmark has judged it", lambda: _rejected(world, model, 2))
    assert "accuracy" in reason, "it is wrong more often than the champion"
    assert world.registry.aliases(model) == {"champion": 1}


def answer_in_pairs(world: World, route: Route) -> None:
    """Both versions answer requests alike but some, where only the challenger is right."""
    now, test = epoch(SystemClock().now()), route.experiment_id
    nonces = [f"{test}-{number}" for number in range(PAIRS)]
    said = ["0" if number < BETTER else "1" for number in range(PAIRS)]
    world.desk.feedback.record_shadow(
        [
            ShadowScore(nonce, route.model, 2, test, "1", old, False, 3.0, 2.0, now)
            for nonce, old in zip(nonces, said, strict=True)
        ]
    )
    world.desk.feedback.record(
        [
            FeedbackItem(
                nonce,
                route.model,
                1,
                Variant.CHAMPION,
                test,
                "accuracy",
                float(old == "1"),
                "1",
                now,
            )
            for nonce, old in zip(nonces, said, strict=True)
        ]
    )


def _shadow_route(world: World, model: str) -> Route | None:
    route = world.desk.routes.current(model)
    return route if route.mode is RouteMode.SHADOW else None


def _rejected(world: World, model: str, version: int) -> str | None:
    now = world.desk.lifecycle.get(model, version)
    return now.reason if now is not None and now.stage is Stage.REJECTED else None
