"""Nothing is promoted on data that is missing or may be wrong, and the run says why.

The first part moves time itself and publishes on a real MLflow server; the second one takes real
servers away from a running flow.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from config.clock import SystemClock
from config.loader import load_settings
from flows.context import Context
from optimizers.models.desk import Decision, Desk
from optimizers.models.trial import run_trial
from optimizers.models.trial_end import conclude_trial
from optimizers.models.trial_report import trial_run
from registry.ledger.database import writing
from registry.ledger.schema import feedback_minutes
from registry.mlflow_models import ModelRegistry
from registry.mlflow_runs import RunLog, RunRef
from registry.records import Experiment, RouteMode, Stage, TrialVerdict
from tests.services.mlflow_server import mlflow_server
from tests.services.prefect_server import PrefectServer, prefect_server
from tests.services.processes import free_port, wait_until
from tests.services.scripted_traffic import Behaviour, ScriptedTraffic
from tests.services.toy_models import classifier, evaluation
from tests.services.trial_world import MODEL, TrialWorld, trial_config

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

WINS = {1: Behaviour(accuracy=0.7), 2: Behaviour(accuracy=0.97)}


@dataclass(frozen=True, slots=True)
class Lack:
    """A way in which data may be missing from a test that would be won with it."""

    words: str
    behaviours: Mapping[int, Behaviour]
    metric: str = "accuracy"
    later: Mapping[float, Callable[[TrialWorld], object]] | None = None


def _infinite(world: TrialWorld) -> None:
    """Let the sums hold what is no number, as a broken writer might."""
    with writing(world.engine) as connection:
        connection.execute(update(feedback_minutes).values(total=float("inf")))


LACKS = {
    "no labels": Lack(
        "no values of accuracy",
        {1: Behaviour(labels=False), 2: Behaviour(labels=False)},
    ),
    "no traffic": Lack("no requests", {1: Behaviour(silent=True), 2: Behaviour(silent=True)}),
    "one arm silent": Lack("challenger", {1: Behaviour(accuracy=0.7), 2: Behaviour(silent=True)}),
    "no labels for one arm": Lack(
        "challenger", {1: Behaviour(accuracy=0.7), 2: Behaviour(labels=False)}
    ),
    "not a number": Lack("not a number", WINS, later={15: _infinite, 25: _infinite}),
    "metric renamed": Lack("is it sent under this name", WINS, metric="top1"),
    "clock stepped": Lack(
        "clock was stepped", WINS, later={5: lambda world: world.clock.step_wall(7200)}
    ),
    "registry away": Lack(
        "the registry is away",
        WINS,
        later={15: lambda world: world.registry.fail(), 130: lambda world: world.registry.mend()},
    ),
}


@pytest.mark.parametrize("name", LACKS)
def test_nothing_is_promoted_and_the_run_says_why(
    name: str, tmp_path: Path, mlflow_uri: str
) -> None:
    lack = LACKS[name]
    log = RunLog(mlflow_uri)

    def publish(desk: Desk, experiment: Experiment, decision: Decision) -> RunRef:
        return log.log(trial_run(desk, experiment, decision))

    world = TrialWorld(
        tmp_path, behaviours=lack.behaviours, metric=lack.metric, publisher=publish, rate=30
    ).prepare()
    for at, event in (lack.later or {}).items():
        world.later[at] = lambda event=event: event(world)  # type: ignore[misc]
    config = trial_config(
        test_id=f"lack-of-{name.replace(' ', '-')}", duration_seconds=120, look_seconds=10
    )
    run_trial(world.desk, config, "run")
    end = conclude_trial(world.desk, config.test_id, "run")
    assert end.decision.verdict is not TrialVerdict.PROMOTE
    assert lack.words in end.decision.reason
    assert world.stage() is not Stage.WON
    assert world.registry.aliases(MODEL) == {"champion": 1}
    assert world.desk.routes.current(MODEL).mode is RouteMode.NONE
    assert end.run is not None
    tags = tags_of(mlflow_uri, end.run.run_id)
    assert tags["reason"] == end.decision.reason
    assert tags["verdict"] == end.decision.verdict
    world.close()


def test_with_complete_data_the_same_test_is_won(tmp_path: Path) -> None:
    """Without this, the tests above could pass because nothing is ever won."""
    world = TrialWorld(tmp_path, behaviours=WINS, rate=30).prepare()
    config = trial_config(duration_seconds=120, look_seconds=10)
    assert run_trial(world.desk, config, "run").verdict is TrialVerdict.PROMOTE
    world.close()


def test_mlflow_away_during_the_test(tmp_path: Path, prefect_api: PrefectServer) -> None:
    folder, port = tmp_path / "mlflow", free_port()
    folder.mkdir()
    with ExitStack() as away:
        uri = away.enter_context(mlflow_server(folder, port))
        scene = Scene(tmp_path, uri, prefect_api, duration_s=15)
        with scene.running_test() as process:
            scene.wait_for_looks()
            away.close()
            scene.let_traffic_in()
            scene.wait_for("the split is closed", scene.split_is_closed)
            assert scene.stage() is Stage.TRIAL, "not ended before it is on record"
            with mlflow_server(folder, port):
                assert process.wait(120) == 0
                trial = scene.trial()
                assert trial.verdict is TrialVerdict.INCONCLUSIVE
                assert "MLflow" in trial.reason
                assert scene.stage() is Stage.KEPT
                assert scene.context.reader.aliases(MODEL) == {"champion": 1}
                assert tags_of(uri, str(trial.run_id))["reason"] == trial.reason


def test_prefect_away_during_the_test(tmp_path: Path, mlflow_uri: str) -> None:
    folder = tmp_path / "prefect"
    folder.mkdir()
    with ExitStack() as away:
        server = away.enter_context(prefect_server(folder))
        scene = Scene(tmp_path, mlflow_uri, server, duration_s=60, model="prefect-away")
        with scene.running_test() as process:
            scene.wait_for_looks()
            away.close()
            scene.let_traffic_in()
            scene.wait_for("the test is over", lambda: scene.trial().verdict is not None)
            scene.wait_for("the stage says so", lambda: scene.stage() is Stage.WON)
            process.wait(120)
            trial = scene.trial()
            assert trial.verdict is TrialVerdict.PROMOTE, "its data are complete"
            assert scene.split_is_closed()
            aliases = scene.context.reader.aliases("prefect-away")
            assert aliases == {"champion": 1}, "nothing is promoted"
    assert tags_of(mlflow_uri, str(trial.run_id))["reason"] == trial.reason
    assert "left to watch_models" in (tmp_path / "flow.out").read_text()


class Scene:
    """Two real versions, real servers, and the flow in a process of its own."""

    def __init__(
        self,
        folder: Path,
        mlflow_uri: str,
        prefect: PrefectServer,
        *,
        duration_s: float,
        model: str = MODEL,
    ) -> None:
        self.folder = folder
        self.model = model
        self.let_traffic_in: Callable[[], None] = lambda: None
        self.environment = {
            **prefect.environment,
            "PRIME_SPARK_HOME": str(folder / "home"),
            "PRIME_SPARK_MLFLOW__TRACKING_URI": mlflow_uri,
            "PRIME_SPARK_PREFECT__API_URL": prefect.api_url,
            "PRIME_SPARK_EXPERIMENT__DURATION_SECONDS": str(duration_s),
            "PRIME_SPARK_EXPERIMENT__LOOK_SECONDS": "1",
            "PRIME_SPARK_EXPERIMENT__TRAFFIC_SPLIT": "0.4",
            "PRIME_SPARK_EXPERIMENT__PLANNED_SAMPLES": "3000",
            "PREFECT_CLIENT_MAX_RETRIES": "0",
        }
        self.context = Context(load_settings(environ=self.environment))
        self.desk = self.context.desk()
        registry = ModelRegistry(mlflow_uri, SystemClock())
        for noise in (0.15, 0.05):
            file = classifier(folder / f"{noise}.onnx", noise)
            registry.register(
                model, file, evaluation=evaluation(), metrics={}, description="", tags={}
            )
        registry.set_alias(model, "champion", 1)
        self.desk.lifecycle.put(model, 1, None, Stage.CHAMPION, "the first")
        self.desk.lifecycle.put(model, 2, None, Stage.ACCEPTED, "passed")

    @contextmanager
    def running_test(self) -> Iterator[subprocess.Popen[bytes]]:
        """The flow at work until the block ends; traffic comes when it is let in."""
        test = json.dumps({"model": self.model, "model_b": 2, "test_id": f"{self.model}-test"})
        code = (
            "import sys; from flows.ab_test import ab_test; from flows.forms import ABTest; "
            f"ab_test(ABTest.model_validate_json({test!r}))"
        )
        stop = threading.Event()
        traffic = ScriptedTraffic(self.context.engine, self.model, 1, WINS)
        thread = threading.Thread(target=traffic.run, args=(stop,), kwargs={"per_second": 80})
        self.let_traffic_in = thread.start
        with (self.folder / "flow.out").open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                env={**os.environ, **self.environment},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            stop.set()
            if thread.ident is not None:
                thread.join()
            self.context.close()

    def trial(self) -> Experiment:
        found = self.desk.experiments.get(f"{self.model}-test")
        assert found is not None
        return found

    def stage(self) -> Stage | None:
        found = self.desk.lifecycle.get(self.model, 2)
        return found.stage if found else None

    def split_is_closed(self) -> bool:
        return self.desk.routes.current(self.model).mode is RouteMode.NONE

    def wait_for_looks(self) -> None:
        test = f"{self.model}-test"
        self.wait_for("a look", lambda: bool(self.desk.experiments.looks(test)))

    def wait_for(self, what: str, ready: Callable[[], bool]) -> None:
        try:
            wait_until(ready, 120, what)
        except BaseException:
            print((self.folder / "flow.out").read_text()[-3000:])
            raise


def tags_of(uri: str, run_id: str) -> dict[str, str]:
    """The tags of an MLflow run."""
    url = f"{uri}/api/2.0/mlflow/runs/get"
    run = httpx.get(url, params={"run_id": run_id}, timeout=20).raise_for_status().json()["run"]
    return {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
