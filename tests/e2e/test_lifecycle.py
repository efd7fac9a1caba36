"""The life-cycle on a real Prefect server, worker and MLflow server; traffic by script.

One story, for the servers are slow to start: found, benchmarked and crowned; on trial with a
controller killed half-way; cancelled by a person.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from benchmarks.trial_record import recompute
from config.clock import SystemClock
from config.loader import load_settings
from flows.context import Context
from flows.deployments import deploy
from flows.names import AB_TEST, deployment_of
from flows.wake import Waker
from optimizers.models.desk import Desk
from registry.mlflow_models import ModelRegistry
from registry.records import MoveState, RouteMode, Stage, TrialVerdict
from tests.services.prefect_server import PrefectServer, process_of, worker
from tests.services.scripted_traffic import Behaviour, ScriptedTraffic
from tests.services.toy_models import classifier, evaluation

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

MODEL = "lifecycle-toy"
POOL = "lifecycle"
PATIENCE_S = 120.0
ROOT = Path(__file__).resolve().parents[2]

T = TypeVar("T")


class World:
    """Everything a person could look at or do."""

    def __init__(self, context: Context, prefect: PrefectServer, folder: Path) -> None:
        self.context = context
        self.desk: Desk = context.desk()
        self.prefect = prefect
        self.folder = folder
        self.registry = ModelRegistry(context.tracking_uri, SystemClock())
        self.waker = Waker(context, self.desk)

    def register(self, noise: float) -> int:
        file = classifier(self.folder / f"noise-{noise}.onnx", noise)
        made = self.registry.register(
            MODEL, file, evaluation=evaluation(), metrics={}, description="toy", tags={}
        )
        return made.version

    def until(self, what: str, find: Callable[[], T | None]) -> T:
        """Look as the waker does, until something is so."""
        deadline = time.monotonic() + PATIENCE_S
        while (found := find()) is None:
            if time.monotonic() > deadline:
                pytest.fail(f"waited in vain until {what}; runs: {self.runs()}")
            self.waker.look()
            time.sleep(0.3)
        return found

    def reaches(self, version: int, stage: Stage) -> str:
        """Wait until a version stands at a stage; return the reason."""

        def there() -> str | None:
            now = self.desk.lifecycle.get(MODEL, version)
            return now.reason if now is not None and now.stage is stage else None

        return self.until(f"version {version} is {stage}", there)

    def runs(self) -> list[tuple[str, str]]:
        """Name and state of every flow run there was in our pool, the newest first.

        A shared server has those of other tests besides, and answers with so many only.
        """
        ours = {"work_pools": {"name": {"any_": [POOL]}}, "sort": "START_TIME_DESC"}
        found = self.ask("flow_runs/filter", ours)
        return [(run["name"], run["state_name"]) for run in found]

    def ask(self, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        answer = httpx.post(f"{self.prefect.api_url}/{path}", json=body, timeout=20)
        return answer.raise_for_status().json()

    @contextmanager
    def traffic(self, champion: int, behaviours: Mapping[int, Behaviour]) -> Iterator[None]:
        scripted = ScriptedTraffic(
            self.context.engine, MODEL, champion, behaviours, worker=f"champion-{champion}"
        )
        stop = threading.Event()
        thread = threading.Thread(target=scripted.run, args=(stop,), kwargs={"per_second": 60})
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@pytest.fixture
def world(
    mlflow_uri: str,
    prefect_api: PrefectServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    variables = {
        "PRIME_SPARK_HOME": str(tmp_path / "home"),
        "PRIME_SPARK_MLFLOW__TRACKING_URI": mlflow_uri,
        "PRIME_SPARK_PREFECT__API_URL": prefect_api.api_url,
        "PRIME_SPARK_PREFECT__WORK_POOL": POOL,
        "PRIME_SPARK_MODELS__NAMES": MODEL,
        "PRIME_SPARK_MODELS__WATCH_INTERVAL_SECONDS": "86400",
        "PRIME_SPARK_GATE__SECONDS": "0.5",
        "PRIME_SPARK_GATE__SAMPLES": "40",
        "PRIME_SPARK_GATE__LATENCY_MARGIN_MS": "50",
        "PRIME_SPARK_GATE__THROUGHPUT_MARGIN_RELATIVE": "0.9",
        "PRIME_SPARK_EXPERIMENT__TRAFFIC_SPLIT": "0.4",
        "PRIME_SPARK_EXPERIMENT__DURATION_SECONDS": "300",
        "PRIME_SPARK_EXPERIMENT__LOOK_SECONDS": "1",
        "PRIME_SPARK_EXPERIMENT__LEASE_SECONDS": "6",
        "PRIME_SPARK_EXPERIMENT__PLANNED_SAMPLES": "1500",
        "PRIME_SPARK_EXPERIMENT__MIN_IMPROVEMENT": "0.02",
    }
    for name, value in (variables | dict(prefect_api.environment)).items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    deploy(settings)
    log = tmp_path / "worker.out"
    with worker(prefect_api, POOL, log, variables):
        context = Context(settings)
        yield World(context, prefect_api, tmp_path)
        context.close()


def test_the_life_of_three_versions(world: World) -> None:
    first = world.register(0.15)
    reason = world.reaches(first, Stage.CHAMPION)
    assert "no champion" in reason
    assert world.registry.aliases(MODEL)["champion"] == first

    second = world.register(0.05)
    with world.traffic(first, {first: Behaviour(accuracy=0.75), second: Behaviour(accuracy=0.95)}):
        kill_its_controller(world, second)
        world.reaches(second, Stage.CHAMPION)
    check_the_trial(world, first, second)

    third = world.register(0.0)
    alike = {second: Behaviour(accuracy=0.9), third: Behaviour(accuracy=0.9)}
    with world.traffic(second, alike):
        cancel_its_trial(world, third)
    assert world.registry.aliases(MODEL) == {"champion": second, "previous": first}


def test_what_training_makes_enters_the_same_life(world: World) -> None:
    before = world.register(0.15)
    code = (
        "from flows.retrain import retrain; "
        f"retrain({MODEL!r}, 'a test', 'tests.services.toy_models:retrain')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    made = before + 1
    assert world.context.reader.version(MODEL, made).evaluation_digest is not None
    assert world.desk.events.list(subject=MODEL, kind="retrain_started")
    assert "benchmark follows" in done.stdout + done.stderr


def kill_its_controller(world: World, version: int) -> None:
    """Kill the process of the trial's flow run as soon as it has looked at it."""
    looked = world.until("the trial has been looked at", lambda: _looked(world, version))
    process = world.until("its process is found", lambda: process_of(looked))
    os.kill(process.pid, signal.SIGKILL)


def check_the_trial(world: World, champion: int, challenger: int) -> None:
    (trial,) = [one for one in world.desk.experiments.all(MODEL) if one.challenger == challenger]
    assert trial.verdict is TrialVerdict.PROMOTE
    looks = world.desk.experiments.looks(trial.id)
    counts = [look.arms["challenger"].exposures for look in looks]  # type: ignore[index]
    assert counts == sorted(counts), "the counts went on after the kill"
    moves = [
        move
        for move in world.context.alias_history.list(MODEL)
        if move.alias == "champion" and move.after == challenger
    ]
    assert [move.state for move in moves] == [MoveState.DONE], "promoted exactly once"
    assert world.registry.aliases(MODEL) == {"champion": challenger, "previous": champion}
    assert world.desk.routes.current(MODEL).mode is RouteMode.NONE
    record = _artefact(world, str(trial.run_id), "decision.json")
    assert recompute(record.decode()).agrees
    assert json.loads(record)["controller"]["verdict"] == "promote"
    assert _artefact(world, str(trial.run_id), "evidence.png").startswith(b"\x89PNG")
    for name, state in (("ab-test", "Promote"), ("promote", "Promoted")):
        run = (f"{name}-{MODEL}-v{challenger}", state)
        world.until(f"Prefect shows {run}", lambda run=run: run in world.runs() or None)  # type: ignore[misc]
    key = f"ab-test-{MODEL}-v{challenger}"
    wanted = {(key, "table"), (f"{key}-run", "markdown")}
    named = {"artifacts": {"key": {"any_": [name for name, _ in wanted]}}}
    shown = {(one["key"], one["type"]) for one in world.ask("artifacts/filter", named)}
    assert shown == wanted


def cancel_its_trial(world: World, version: int) -> None:
    """Cancel the trial's flow run as Prefect's UI does; the split closes, nothing is promoted."""
    flow_run_id = world.until("the trial has been looked at", lambda: _looked(world, version))
    assert world.desk.routes.current(MODEL).mode is RouteMode.AB
    world.context.prefect.cancel(flow_run_id)
    reason = world.reaches(version, Stage.STOPPED)
    assert "cancelled by a person" in reason
    assert world.desk.routes.current(MODEL).mode is RouteMode.NONE
    trial = world.desk.experiments.all(MODEL)[-1]
    assert trial.verdict is TrialVerdict.CANCELLED
    world.until(
        "Prefect shows it as cancelled",
        lambda: (f"ab-test-{MODEL}-v{version}", "Cancelled") in world.runs() or None,
    )


def _looked(world: World, version: int) -> str | None:
    """The flow run of a version's trial, once it has looked a few times."""
    for trial in world.desk.experiments.running(MODEL):
        if trial.challenger == version and len(world.desk.experiments.looks(trial.id)) >= 2:
            return trial.flow_run_id
    return None


def _artefact(world: World, run_id: str, name: str) -> bytes:
    url = f"{world.context.tracking_uri}/get-artifact"
    answer = httpx.get(url, params={"run_id": run_id, "path": name}, timeout=20)
    return answer.raise_for_status().content


def test_prefect_shows_a_form_with_explanations(world: World) -> None:
    name = deployment_of(AB_TEST)
    answer = httpx.get(f"{world.prefect.api_url}/deployments/name/{name}", timeout=20)
    schema = answer.json()["parameter_openapi_schema"]
    form = schema["definitions"]["ABTest"]["properties"]
    assert form["min_improvement"]["title"] == "Minimum improvement"
    assert "0.1 is 10 %" in form["min_improvement"]["description"]
    assert all("title" in field or "$ref" in field for field in form.values())
