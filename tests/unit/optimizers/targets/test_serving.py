"""The serving target: against the real predictor, and against pages that lie."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import JsonValue
from sqlalchemy import Engine

from config.clock import ManualClock, SystemClock, epoch
from config.errors import ConflictError, InputError, UnavailableError
from optimizers.targets.base import Observed, Target
from optimizers.targets.serving import ServingFacts, ServingTarget
from optimizers.targets.serving_knobs import ServingKnobs
from optimizers.testing.guards import FreeGuard
from optimizers.testing.targets import check_target
from registry.agent_records import Change
from registry.knobs import KnobStore
from registry.ledger.database import open_ledger
from registry.mlflow_models import ModelRegistry
from tests.services.paged_server import PagedServer, paged_server
from tests.services.predictor import FEATURES, running_predictor, write_classifier
from tests.services.processes import wait_until

MODELS = {"ready": True, "models": {}, "problems": {}, "stale": {}}


def metrics(
    requests: float,
    errors: float = 0,
    seconds: float = 0,
    worker: str = "w",
    others: Mapping[str, float] | None = None,
) -> bytes:
    """The page of a worker that served one version of one model."""
    name = f'worker="{worker}",model="m",version="1"'
    arm = f'{name},variant="champion",experiment=""'
    latency = "prime_spark_request_latency_seconds"
    lines = [
        f"prime_spark_requests_total{{{arm}}} {requests}",
        f"prime_spark_request_errors_total{{{arm}}} {errors}",
        f'{latency}_bucket{{{arm},le="0.01"}} {requests / 2}',
        f'{latency}_bucket{{{arm},le="0.02"}} {requests}',
        f'{latency}_bucket{{{arm},le="+Inf"}} {requests}',
        f"{latency}_sum{{{arm}}} {seconds}",
        f"{latency}_count{{{arm}}} {requests}",
    ]
    lines += [f"prime_spark_{metric}{{{name}}} {value}" for metric, value in (others or {}).items()]
    return ("\n".join(lines) + "\n").encode()


def whole(observed: Observed) -> dict[str, float]:
    return {one.metric: one.value for one in observed.observations if not one.labels}


@pytest.fixture
def server() -> Iterator[PagedServer]:
    with paged_server({"/metrics": b"", "/models": json.dumps(MODELS).encode()}) as one:
        yield one


def look(target: ServingTarget, clock: ManualClock) -> Observed:
    clock.advance(10)
    return target.observe(epoch(clock.now()), 5.0)


def test_rates_are_those_between_two_looks(server: PagedServer, clock: ManualClock) -> None:
    target = ServingTarget(server.url, clock)
    assert isinstance(target, Target)
    cold = {"cache_hits_total": 0.0, "cache_misses_total": 0.0}
    first = {"model_rows_total": 10.0, "model_runs_total": 10.0, "queue_length": 3.0}
    server.pages["/metrics"] = metrics(100, errors=2, seconds=1.5, others=cold | first)
    assert whole(look(target, clock)) == {
        "queue_length": 3.0,
        "models_idle": 0.0,
        "models_served": 0.0,
        "models_with_problems": 0.0,
        "stale_sources": 0.0,
    }
    later = {"model_rows_total": 50.0, "model_runs_total": 20.0, "queue_length": 0.0}
    warm = {"cache_hits_total": 30.0, "cache_misses_total": 10.0}
    server.pages["/metrics"] = metrics(200, errors=12, seconds=4.5, others=warm | later)
    observed = look(target, clock)
    seen = whole(observed)
    assert seen["inference_latency_ms"] == pytest.approx(30.0)
    assert seen["inference_latency_p50_ms"] == pytest.approx(10.0)
    assert seen["inference_latency_p99_ms"] == pytest.approx(10 * 2**0.98)
    assert seen["throughput_rps"] == 10.0
    assert seen["error_rate"] == 0.1
    assert seen["batch_rows"] == 4.0
    assert seen["cache_hit_rate"] == 0.75
    assert seen["queue_length"] == 0.0
    labels = (("model", "m"), ("version", "1"))
    version = {one.metric: one.value for one in observed.observations if one.labels == labels}
    assert version["inference_latency_ms"] == seen["inference_latency_ms"]
    assert version["cache_hit_rate"] == 0.75
    assert list(observed.troubles) == []
    assert len(server.connections) == 1


def test_without_traffic_latency_is_missing_and_throughput_0(
    server: PagedServer, clock: ManualClock
) -> None:
    target = ServingTarget(server.url, clock)
    server.pages["/metrics"] = metrics(
        100, seconds=1, others={"cache_hits_total": 5, "cache_misses_total": 1}
    )
    look(target, clock)
    seen = whole(look(target, clock))
    assert seen["throughput_rps"] == 0.0
    assert {"inference_latency_ms", "error_rate", "cache_hit_rate"}.isdisjoint(seen)


def test_a_restarted_worker_counts_from_0(server: PagedServer, clock: ManualClock) -> None:
    target = ServingTarget(server.url, clock)
    server.pages["/metrics"] = metrics(1000, seconds=10)
    look(target, clock)
    server.pages["/metrics"] = metrics(50, seconds=1, worker="w2")
    seen = whole(look(target, clock))
    assert seen["throughput_rps"] == 5.0
    assert seen["inference_latency_ms"] == pytest.approx(20.0)
    server.pages["/metrics"] = metrics(20, seconds=1, worker="w2")
    assert whole(look(target, clock))["throughput_rps"] == 2.0


def test_lies_become_troubles_and_no_numbers(server: PagedServer, clock: ManualClock) -> None:
    target = ServingTarget(server.url, clock)
    server.pages["/metrics"] = metrics(100, errors=1, seconds=1)
    look(target, clock)
    lies = metrics(110, errors=90, seconds=math.nan, others={"queue_length": math.inf})
    server.pages["/metrics"] = lies + b'prime_spark_requests_total{worker="w} oops\n'
    observed = look(target, clock)
    seen = whole(observed)
    assert seen["throughput_rps"] == 1.0
    assert {"error_rate", "inference_latency_ms", "queue_length"}.isdisjoint(seen)
    told = " ".join(observed.troubles)
    for word in ("error_rate is 8.9", "queue_length is inf", "latency_seconds_sum", "1 lines"):
        assert word in told


@pytest.mark.parametrize("page", [b"{}", b"[]", b'{"ready": true, "models": {"m": 4}}', b"x"])
def test_facts_that_are_no_predictors_are_refused(
    server: PagedServer, clock: ManualClock, page: bytes
) -> None:
    server.pages["/models"] = page
    with pytest.raises(UnavailableError, match="/models"):
        look(ServingTarget(server.url, clock), clock)


def arm(worker: str, version: int = 1, **values: float) -> list[str]:
    labels = f'worker="{worker}",model="m",version="{version}"'
    return [f"prime_spark_{name}{{{labels}}} {value}" for name, value in values.items()]


def test_what_workers_hold_is_put_together(
    server: PagedServer, clock: ManualClock, tmp_path: Path
) -> None:
    one = {"variant": "champion", "version": 1, "knobs": {}, "file_mb": 2.5, "idle_seconds": 9.0}
    other = {"variant": "challenger", "version": 2, "knobs": {}}
    model = {"mode": "ab", "weight": 0.1, "experiment_id": None, "arms": [one, other]}
    server.pages["/models"] = json.dumps(MODELS | {"models": {"m": model}}).encode()

    def page(cpu_s: float) -> bytes:
        lines = [
            *arm("w1", model_idle_seconds=700.0, model_loaded=0, requests_total=5),
            *arm("w2", model_idle_seconds=30.5, model_loaded=1, requests_total=6),
            *arm("w1", 2, model_idle_seconds=math.nan, model_loaded=0, requests_total=math.nan),
            f'prime_spark_worker_memory_bytes{{worker="w1"}} {3 * 2**20}',
            f'prime_spark_worker_memory_bytes{{worker="w2"}} {2**20}',
            f'prime_spark_worker_cpu_seconds_total{{worker="w1"}} {cpu_s}',
        ]
        return ("\n".join(lines) + "\n").encode()

    target = ServingTarget(server.url, clock, traffic=tmp_path / "traffic")
    server.pages["/metrics"] = page(1.0)
    look(target, clock)
    (tmp_path / "traffic").mkdir()
    server.pages["/metrics"] = page(6.0)
    observed = look(target, clock)
    seen = whole(observed)
    assert (seen["memory_mb"], seen["models_idle"], seen["worker_cpu_percent"]) == (4.0, 1.0, 50.0)
    assert isinstance(observed.facts, ServingFacts)
    assert observed.facts.traffic_folder == tmp_path / "traffic"
    first, second = observed.facts.models["m"].arms
    assert (first.idle_seconds, first.loaded, first.requests, first.file_mb) == (
        30.5,
        True,
        11,
        2.5,
    )
    assert (second.idle_seconds, second.loaded, second.requests) == (None, False, 0)


def test_knobs_keep_what_the_seam_promises(
    server: PagedServer, clock: ManualClock, ledger: Engine
) -> None:
    model = {"mode": "none", "weight": 0.0, "experiment_id": None, "arms": []}
    server.pages["/models"] = json.dumps(MODELS | {"models": {"a.b": model}}).encode()
    store = KnobStore(ledger, clock)
    store.write("serving/a.b", "max_wait_ms", None, 1.5, "a person", "by hand")
    target = ServingTarget(server.url, clock, knobs=ServingKnobs(store))
    others: dict[str, JsonValue] = {
        knob: {"max_batch_size": 64, "allow_spinning": 0} if knob.endswith("batching") else 1
        for knob in target.knobs()
    }
    assert {"serving.workers", "serving/a.b.cache_entries", "serving/a.b.batching"} <= set(others)
    assert "serving/a.b.workers" not in others
    check_target(target, others=others)
    assert store.read_all() == {"serving/a.b": {"max_wait_ms": 1.5}}
    assert target.read("serving/a.b.batching") == {"max_wait_ms": 1.5}
    assert target.read("serving/a.b/7.cache_entries") is None


def test_the_values_of_batching_are_written_and_undone_as_one(
    server: PagedServer, clock: ManualClock, ledger: Engine
) -> None:
    store = KnobStore(ledger, clock)
    target = ServingTarget(server.url, clock, knobs=ServingKnobs(store))
    store.write("serving", "max_wait_ms", None, 1.5, "a person", "by hand")
    there: JsonValue = {"max_batch_size": 64, "intra_op_threads": 2}
    target.write(Change("serving.batching", {"max_wait_ms": 1.5}, there), FreeGuard())
    assert store.read("serving") == {"max_batch_size": 64.0, "intra_op_threads": 2.0}
    store.write("serving", "allow_spinning", None, 0, "a person", "by hand")
    back = Change("serving.batching", there, {"max_wait_ms": 1.5})
    with pytest.raises(ConflictError, match="allow_spinning is 0"):
        target.write(back, FreeGuard())
    store.write("serving", "allow_spinning", 0, None, "a person", "by hand")
    target.write(back, FreeGuard())
    assert store.read("serving") == {"max_wait_ms": 1.5}


@pytest.mark.parametrize(
    ("knob", "after"),
    [
        ("serving.queue_limit", True),
        ("serving.queue_limit", "5"),
        ("serving.queue_limit", 0),
        ("serving.batching", {"queue_limit": 5}),
        ("serving.batching", {"max_batch_size": None}),
        ("serving.batching", {}),
        ("serving.batching", 5),
        ("serving.batching", {"max_batch_size": 64, "max_wait_ms": -1}),
        ("serving/m.workers", 2),
        ("serving/.queue_limit", 2),
        ("storage.queue_limit", 2),
        ("serving.", 2),
    ],
)
def test_what_no_knob_takes_is_refused(
    server: PagedServer, clock: ManualClock, tmp_path: Path, knob: str, after: JsonValue
) -> None:
    engine = open_ledger(f"sqlite:///{tmp_path}/ledger.db")
    target = ServingTarget(server.url, clock, knobs=ServingKnobs(KnobStore(engine, clock)))
    with pytest.raises(InputError):
        target.write(Change(knob, None, after), FreeGuard())
    assert KnobStore(engine, clock).read_all() == {}
    engine.dispose()


def test_without_a_ledger_it_has_no_knobs(server: PagedServer, clock: ManualClock) -> None:
    target = ServingTarget(server.url, clock)
    assert target.knobs() == ()
    with pytest.raises(InputError, match="only observed"):
        target.read("max_batch_size")


def test_the_real_predictor_tells_what_it_did(mlflow_uri: str, tmp_path: Path) -> None:
    model = f"seen-{uuid4().hex[:8]}"
    clock = SystemClock()
    registry = ModelRegistry(mlflow_uri, clock, "test")
    registry.register(model, write_classifier(tmp_path / "model.onnx", 1))
    registry.set_alias(model, "champion", 1)
    with running_predictor(tmp_path / "home", mlflow_uri) as predictor:
        target = ServingTarget(predictor.url, clock)

        def served() -> bool:
            facts = target.observe(epoch(clock.now()), 5.0).facts
            return isinstance(facts, ServingFacts) and model in facts.models

        wait_until(served, 30, "the model is served")
        with predictor.client() as client:
            for _ in range(20):
                body = {"inputs": [[0.0] * FEATURES]}
                client.post(f"/predict/{model}", json=body).raise_for_status()
            client.post(f"/predict/{model}", json={"nonsense": 1})
        observed = target.observe(epoch(clock.now()), 5.0)
    assert list(observed.troubles) == []
    labels = (("model", model), ("version", "1"))
    seen = {one.metric: one.value for one in observed.observations if one.labels == labels}
    assert seen["throughput_rps"] > 0
    assert 0 < seen["inference_latency_ms"] < 1000
    assert 0 < seen["inference_latency_p50_ms"] <= seen["inference_latency_p99_ms"]
    assert seen["error_rate"] == 0.0
    assert seen["batch_rows"] >= 1.0
    assert isinstance(observed.facts, ServingFacts)
    [arm] = observed.facts.models[model].arms
    assert (arm.version, arm.knobs["queue_limit"]) == (1, 256)
