"""The targets of MLflow, its registry, Prefect and Prometheus, on real servers where there are."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from config.clock import ManualClock, SystemClock, epoch
from config.errors import RegistryUnavailable, UnavailableError
from optimizers.targets.base import Observed
from optimizers.targets.mlflow import MlflowFacts, MlflowTarget
from optimizers.targets.prefect import PrefectTarget, credentials
from optimizers.targets.prometheus import PrometheusTarget
from optimizers.targets.registry import RegistryFacts, RegistryTarget
from registry.mlflow_models import ModelRegistry
from tests.services.paged_server import PagedServer, paged_server
from tests.services.predictor import write_classifier
from tests.services.prefect_server import PrefectServer

CLOCK = SystemClock()


def numbers(observed: Observed) -> dict[str, float]:
    return {one.metric: one.value for one in observed.observations if not one.labels}


def test_the_registry_tells_its_models_and_champions(mlflow_uri: str, tmp_path: Path) -> None:
    target = RegistryTarget(mlflow_uri, CLOCK)
    before = numbers(target.observe(time.time(), 5.0))
    model = f"seen-{uuid4().hex[:8]}"
    registry = ModelRegistry(mlflow_uri, CLOCK, "test")
    registry.register(model, write_classifier(tmp_path / "a.onnx", 1))
    without = numbers(target.observe(time.time(), 5.0))
    assert without["registered_models"] == before["registered_models"] + 1
    assert without["models_without_champion"] == before["models_without_champion"] + 1
    registry.register(model, write_classifier(tmp_path / "b.onnx", 2))
    registry.set_alias(model, "champion", 2)
    observed = target.observe(time.time(), 5.0)
    assert numbers(observed)["models_without_champion"] == before["models_without_champion"]
    [champion] = [one for one in observed.observations if one.labels == (("model", model),)]
    assert (champion.metric, champion.value) == ("champion_version", 2.0)
    assert isinstance(observed.facts, RegistryFacts)
    assert observed.facts.aliases[model] == {"champion": 2}


def test_mlflow_tells_how_fast_it_answers_and_its_version(mlflow_uri: str) -> None:
    observed = MlflowTarget(mlflow_uri, CLOCK).observe(time.time(), 5.0)
    assert 0 < numbers(observed)["answer_ms"] < 5000
    assert isinstance(observed.facts, MlflowFacts)
    assert observed.facts.version[0].isdigit()


def test_a_registry_without_an_end_is_given_up() -> None:
    page = {"registered_models": [], "next_page_token": "again"}
    path = "/api/2.0/mlflow/registered-models/search"
    with paged_server({path: json.dumps(page).encode()}) as server:
        target = RegistryTarget(server.url, CLOCK)
        begun = time.monotonic()
        with pytest.raises(RegistryUnavailable, match="end of its models"):
            target.observe(time.time(), 0.2)
        assert time.monotonic() - begun < 3.0


def test_prefect_tells_runs_and_workers(prefect_api: PrefectServer) -> None:
    target = PrefectTarget(prefect_api.api_url, CLOCK, f"pool-{uuid4().hex[:8]}")
    without_pool = target.observe(time.time(), 5.0)
    assert numbers(without_pool)["workers_online"] == 0.0
    assert "no work pool" in without_pool.troubles[0]
    pool = f"pool-{uuid4().hex[:8]}"
    with httpx.Client(base_url=prefect_api.api_url, timeout=20.0) as client:
        body = {"name": pool, "type": "process"}
        client.post("/work_pools/", json=body).raise_for_status()
        target = PrefectTarget(prefect_api.api_url, CLOCK, pool)
        before = numbers(target.observe(time.time(), 5.0))
        assert before["workers_online"] == 0.0
        heartbeat = {"name": "w1", "heartbeat_interval_seconds": 30}
        client.post(f"/work_pools/{pool}/workers/heartbeat", json=heartbeat).raise_for_status()
        flow = client.post("/flows/", json={"name": f"flow-{uuid4().hex[:8]}"}).json()["id"]
        for state in ("RUNNING", "FAILED", "CRASHED", "COMPLETED"):
            run = {"flow_id": flow, "state": {"type": state}}
            client.post("/flow_runs/", json=run).raise_for_status()
    after = numbers(target.observe(time.time() + 1, 5.0))
    assert after["workers_online"] == 1.0
    assert after["flow_runs_running"] == before["flow_runs_running"] + 1
    assert after["flow_runs_failed_1h"] == before["flow_runs_failed_1h"] + 2
    assert after["flow_runs_late"] >= 0.0
    assert after["answer_ms"] > 0.0


def test_prefects_credentials_come_from_the_environment() -> None:
    assert credentials({}) == {}
    assert credentials({"PREFECT_API_KEY": "k"}) == {"Authorization": "Bearer k"}
    basic = credentials({"PREFECT_API_AUTH_STRING": "user:word"})
    assert basic == {"Authorization": "Basic dXNlcjp3b3Jk"}


@pytest.fixture
def prometheus() -> Iterator[PagedServer]:
    with paged_server({}) as server:
        yield server


def vector(*samples: tuple[dict[str, str], float, str]) -> bytes:
    result = [{"metric": labels, "value": [at, value]} for labels, at, value in samples]
    return json.dumps(
        {"status": "success", "data": {"resultType": "vector", "result": result}}
    ).encode()


def asked(server: PagedServer, clock: ManualClock, *metrics: str) -> Observed:
    queries = {metric: f"sum({metric})" for metric in metrics or ("rps",)}
    target = PrometheusTarget("shop", server.url, queries, clock)
    return target.observe(epoch(clock.now()), 5.0)


def test_each_series_of_a_query_becomes_a_value(
    prometheus: PagedServer, clock: ManualClock
) -> None:
    now = epoch(clock.now())
    prometheus.pages["/api/v1/query"] = vector(
        ({"__name__": "rps", "job": "a"}, now, "12.5"), ({"job": "b"}, now, "-3")
    )
    observed = asked(prometheus, clock)
    assert [(one.target, one.metric, one.value, one.labels) for one in observed.observations] == [
        ("shop", "rps", 12.5, (("job", "a"),)),
        ("shop", "rps", -3.0, (("job", "b"),)),
    ]
    assert "query=sum%28rps%29" in prometheus.asked[0]


def test_a_scalar_is_a_value_and_an_empty_vector_is_missing(
    prometheus: PagedServer, clock: ManualClock
) -> None:
    prometheus.pages["/api/v1/query"] = json.dumps(
        {
            "status": "success",
            "data": {"resultType": "scalar", "result": [epoch(clock.now()), "4"]},
        }
    ).encode()
    assert numbers(asked(prometheus, clock)) == {"rps": 4.0}
    prometheus.pages["/api/v1/query"] = vector()
    observed = asked(prometheus, clock)
    assert list(observed.observations) == []
    assert list(observed.troubles) == []


def test_nan_clock_skew_and_floods_are_troubles(
    prometheus: PagedServer, clock: ManualClock
) -> None:
    now = epoch(clock.now())
    flood = [({"id": str(number)}, now - 3600, "1") for number in range(300)]
    prometheus.pages["/api/v1/query"] = vector(
        ({"x": "1"}, now - 3600, "NaN"), ({"x": "2"}, now - 3600, "lots"), *flood
    )
    observed = asked(prometheus, clock)
    assert len(observed.observations) == 198
    told = " ".join(observed.troubles)
    for word in ("302 series", "-3600 s off", "rps is nan"):
        assert word in told


def test_one_failed_query_is_a_trouble_and_all_are_an_outage(
    prometheus: PagedServer, clock: ManualClock
) -> None:
    now = epoch(clock.now())
    prometheus.pages["/api/v1/query"] = b'{"status": "error", "error": "bad"}'
    with pytest.raises(UnavailableError):
        asked(prometheus, clock, "a", "b")
    prometheus.pages["/api/v1/query?query=sum%28a%29"] = vector(({}, now, "1"))
    observed = asked(prometheus, clock, "a", "b")
    assert numbers(observed) == {"a": 1.0}
    assert observed.troubles[0].startswith("b: the Prometheus server shop")


def test_no_target_of_this_file_imports_what_the_agent_cannot_pay_for() -> None:
    import subprocess
    import sys

    script = (
        "import sys, optimizers.detection, registry.goals, registry.observations;"
        "from optimizers.targets import host, serving, registry, prefect, mlflow, prometheus;"
        "heavy = {'mlflow', 'scipy', 'onnxruntime', 'prefect', 'numpy', 'bentoml'};"
        "found = heavy & set(sys.modules); assert not found, found"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
