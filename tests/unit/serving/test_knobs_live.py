"""Knobs written to the ledger and followed by the real predictor, under load."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import Engine, text

from config.clock import SystemClock
from registry.knobs import KnobStore
from registry.ledger.database import open_ledger
from registry.mlflow_models import ModelRegistry
from registry.traffic import read_inputs, read_traffic
from tests.services.predictor import (
    FEATURES,
    RunningPredictor,
    running_predictor,
    write_classifier,
    write_heavy,
)
from tests.services.processes import wait_until

CLOCK = SystemClock()
ROW = [[0.0] * FEATURES]
MEGABYTES = 60
WAIT_S = 60


@dataclass(frozen=True, slots=True)
class World:
    """A predictor of one worker that serves a light and a heavy model."""

    predictor: RunningPredictor
    home: Path
    engine: Engine
    light: str
    heavy: str

    def turn(self, scope: str, name: str, value: float | None) -> None:
        store = KnobStore(self.engine, CLOCK)
        store.write(scope, name, store.read(scope).get(name), value, "a test", "to see")

    def arm(self, model: str) -> dict[str, object]:
        with self.predictor.client() as client:
            arms: list[dict[str, object]] = client.get("/models").json()["models"][model]["arms"]
            return arms[0]

    def knob(self, model: str, name: str) -> object:
        knobs = self.arm(model)["knobs"]
        assert isinstance(knobs, dict)
        return knobs[name]

    def metric(self, name: str) -> float:
        with self.predictor.client() as client:
            found = re.search(rf"prime_spark_{name}\{{[^}}]*\}} (\S+)", client.get("/metrics").text)
        assert found is not None, name
        return float(found[1])

    def await_asleep(self, model: str) -> None:
        wait_until(lambda: self.arm(model)["loaded"] is False, WAIT_S, f"{model} to be unloaded")

    @contextmanager
    def load(self, model: str) -> Iterator[Counter[int]]:
        """Ask from four clients without a pause; statuses are counted."""
        done, seen = threading.Event(), Counter[int]()

        def ask() -> None:
            with self.predictor.client() as client:
                while not done.is_set():
                    seen[client.post(f"/predict/{model}", json={"inputs": ROW}).status_code] += 1

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: seen.total() > 0, WAIT_S, "the load to begin")
            yield seen
            answered = seen.total()
            wait_until(lambda: seen.total() > answered + len(threads), WAIT_S, "it to go on")
        finally:
            done.set()
            for thread in threads:
                thread.join()


@pytest.fixture(scope="module")
def world(mlflow_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("predictor")
    light, heavy = (f"{name}-{uuid4().hex[:8]}" for name in ("light", "heavy"))
    registry = ModelRegistry(mlflow_uri, CLOCK)
    registry.register(light, write_classifier(home / "light.onnx", 1))
    registry.register(heavy, write_heavy(home / "heavy.onnx", 2, megabytes=MEGABYTES))
    for model in (light, heavy):
        registry.set_alias(model, "champion", 1)
    engine = open_ledger(f"sqlite:///{home}/ledger.db")
    names = f"{light},{heavy}"
    with running_predictor(home, mlflow_uri, SERVING__MODELS=names) as predictor:
        found = World(predictor, home, engine, light, heavy)
        with predictor.client() as client:
            wait_until(lambda: len(client.get("/models").json()["models"]) == 2, 40, "both models")
        yield found
    engine.dispose()
    assert list((home / "run" / "serving" / "traffic").glob("*-*")) == []


def test_threads_are_swapped_under_load_without_a_lost_request(world: World) -> None:
    scope = f"serving/{world.light}"
    with world.load(world.light) as seen:
        for value in (2, 3, 2, None):
            loads = world.metric("model_loads_total")
            world.turn(scope, "intra_op_threads", value)
            world.turn(scope, "allow_spinning", None if value is None else 0)
            wait_until(
                lambda loads=loads: world.metric("model_loads_total") > loads,  # type: ignore[misc]
                WAIT_S,
                "a session with other threads",
            )
            assert world.knob(world.light, "intra_op_threads") == (value or 1)
    assert set(seen) == {200}
    wait_until(lambda: world.knob(world.light, "allow_spinning") == 1, WAIT_S, "the settings")


def test_memory_falls_when_an_idle_model_leaves_and_requests_bring_it_back(world: World) -> None:
    bytes_before = world.metric("worker_memory_bytes")
    world.turn(f"serving/{world.heavy}", "idle_unload_seconds", 0.1)
    world.await_asleep(world.heavy)
    wait_until(
        lambda: world.metric("worker_memory_bytes") < bytes_before - 0.8 * MEGABYTES * 2**20,
        WAIT_S,
        "memory to fall",
    )
    assert world.metric("models_idle") == 1
    assert world.metric("model_unloads_total") == 1
    wrong = {"inputs": [[0.0] * (FEATURES + 1)]}
    with world.predictor.client() as client:
        assert client.post(f"/predict/{world.heavy}", json=wrong).status_code == 422
    assert world.arm(world.heavy)["loaded"] is False
    loads = world.metric("model_loads_total")
    answers: list[httpx.Response] = []

    def ask() -> None:
        with world.predictor.client() as client:
            answers.append(client.post(f"/predict/{world.heavy}", json={"inputs": ROW}))

    world.turn(f"serving/{world.heavy}", "idle_unload_seconds", None)
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["outputs"]["label"][0] for answer in answers} == {2}
    wait_until(lambda: world.arm(world.heavy)["loaded"] is True, WAIT_S, "the model to be back")
    assert world.metric("model_loads_total") == loads + 1


def test_a_wish_for_memory_is_followed_and_serving_goes_on(world: World) -> None:
    with world.load(world.light) as seen:
        world.turn("serving", "release_memory", 1)
        wait_until(lambda: "memory was given back" in world.predictor.log, WAIT_S, "the release")
    world.turn("serving", "release_memory", None)
    assert set(seen) == {200}


def test_traffic_is_recorded_as_it_comes(world: World) -> None:
    folder = world.home / "run" / "serving" / "traffic"
    world.turn(f"serving/{world.light}", "cache_entries", 10)
    wait_until(lambda: world.knob(world.light, "cache_entries") == 10, WAIT_S, "the cache")
    with world.predictor.client() as client:
        for number in (7.0, 7.0, 8.0):
            body = {"inputs": [[number] * FEATURES]}
            client.post(f"/predict/{world.light}", json=body).raise_for_status()

    def last_keys() -> list[int]:
        [records] = read_traffic(folder, world.light).values()
        return [int(key) for key in records["key"][-3:]]

    wait_until(lambda: len(last_keys()) == 3 and all(last_keys()), WAIT_S, "the requests")
    first, second, third = last_keys()
    assert (first == second, first == third) == (True, False)
    wait_until(lambda: len(read_inputs(folder, world.light)) > 0, WAIT_S, "an input")
    assert read_inputs(folder, world.light)[0]["X"].shape == (1, FEATURES)
    world.turn(f"serving/{world.light}", "cache_entries", None)


def test_a_knobs_table_that_somebody_filled_with_nonsense_costs_nothing(world: World) -> None:
    rows = [
        ("serving", "intra_op_threads", "a hundred"),
        ("serving", "idle_unload_seconds", 9e999),
        (f"serving/{world.light}", "max_batch_size", -5.0),
        (f"serving/{world.light}", "queue_limit", 1e18),
        ("serving///", "no_such_knob", 1.0),
    ]
    insert = text("INSERT INTO knobs VALUES (:scope, :name, :value, 0, 'somebody', 'for fun')")
    with world.engine.begin() as connection:
        for scope, name, value in rows:
            connection.execute(insert, {"scope": scope, "name": name, "value": value})
    wait_until(lambda: world.knob(world.light, "max_batch_size") == 1, WAIT_S, "the bounds")
    assert world.knob(world.light, "queue_limit") == 100_000
    assert world.knob(world.light, "intra_op_threads") == 1
    assert world.knob(world.light, "idle_unload_seconds") == 0
    with world.predictor.client() as client:
        answer = client.post(f"/predict/{world.light}", json={"inputs": ROW})
    assert answer.status_code == 200
    with world.engine.begin() as connection:
        connection.execute(text("DELETE FROM knobs WHERE \"by\" = 'somebody'"))
    wait_until(lambda: world.knob(world.light, "max_batch_size") == 32, WAIT_S, "the settings")
