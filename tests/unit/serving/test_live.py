"""The predictor as its users see it: the real server, the real registry, the real ledger."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from uuid import uuid4

import httpx
import numpy as np
import pytest

from registry import version_tags
from registry.aliases import AliasHistory
from registry.exposures import ExposureStore
from registry.feedback import FeedbackStore
from registry.knobs import KnobStore
from registry.ledger.database import open_ledger
from registry.mlflow_models import ModelRegistry
from registry.records import RouteMode, Variant
from registry.splitter import bucket
from tests.services.live_predictor import CLOCK, ROW, World, label
from tests.services.predictor import FEATURES, running_predictor, write_classifier
from tests.services.processes import wait_until

WORKERS = 2


@pytest.fixture(scope="module")
def world(mlflow_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("predictor")
    ledger = open_ledger(f"sqlite:///{home}/ledger.db")
    with running_predictor(home, mlflow_uri, SERVING__WORKERS=WORKERS) as predictor:
        yield World(ModelRegistry(mlflow_uri, CLOCK), predictor, home, ledger, WORKERS)
    ledger.dispose()


@pytest.fixture
def model() -> str:
    return f"model-{uuid4().hex[:8]}"


def test_the_champion_answers_on_every_route(world: World, model: str) -> None:
    world.publish(model, 2)
    world.await_arms(model, ("champion", 1))
    tensor = {"name": "X", "shape": [1, FEATURES], "datatype": "FP32", "data": ROW[0]}
    raw = {
        "content-type": "application/octet-stream",
        "x-prime-spark-dtype": "float32",
        "x-prime-spark-shape": f"1,{FEATURES}",
    }
    with world.predictor.client() as client:
        answer = client.post(f"/predict/{model}", json={"inputs": ROW, "key": "user-17"})
        octets = client.post(
            f"/predict/{model}", content=np.zeros((1, FEATURES), "<f4").tobytes(), headers=raw
        )
        v2 = client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor], "id": "mine"})
        metadata = client.get(f"/v2/models/{model}").json()
        missing = client.post("/predict/nobody", json={"inputs": ROW})
    assert label(answer) == label(octets) == 2
    assert {"model", "version", "variant", "request_id", "outputs"} == set(answer.json())
    assert (answer.json()["version"], answer.json()["variant"]) == (1, "champion")
    assert v2.json()["outputs"][0] == {
        "name": "label",
        "datatype": "INT64",
        "shape": [1],
        "data": [2],
    }
    assert (v2.json()["id"], v2.json()["model_version"]) == ("mine", "1")
    assert metadata["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, FEATURES]}]
    assert missing.status_code == 404
    assert model in missing.json()["error"]


def test_a_split_is_the_same_in_all_workers_and_ends_when_a_person_moves_the_alias(
    world: World, model: str
) -> None:
    world.publish(model, 0, 1)
    route = world.route(model, RouteMode.AB, 0.5)
    world.await_arms(model, ("champion", 1), ("challenger", 2))
    wanted = {
        f"user-{n}": "challenger" if bucket(route.salt, f"user-{n}") < 0.5 else "champion"
        for n in range(40)
    }
    for _ in range(3):  # new connections, so that both workers answer
        with world.predictor.client() as client:
            found = {
                key: client.post(f"/predict/{model}", json={"inputs": ROW, "key": key}).json()
                for key in wanted
            }
            by_header = client.post(
                f"/predict/{model}", json={"inputs": ROW}, headers={"x-prime-spark-key": "user-3"}
            ).json()
        if all(answer["variant"] == wanted[key] for key, answer in found.items()):
            break
    assert {key: answer["variant"] for key, answer in found.items()} == wanted
    assert by_header["variant"] == wanted["user-3"]
    world.registry.set_alias(model, "champion", 2)
    world.await_arms(model, ("champion", 2))
    with world.predictor.client() as client:
        assert label(client.post(f"/predict/{model}", json={"inputs": ROW})) == 1
    history = AliasHistory(world.ledger, CLOCK)
    wait_until(
        lambda: (
            [(m.before, m.after) for m in history.list(model) if m.alias == "champion"][-1:]
            == [(1, 2)]
        ),
        40,
        "the outside move in the alias history",
    )
    assert all(move.outside for move in history.list(model))


def test_exposures_and_feedback_reach_the_ledger_once(world: World, model: str) -> None:
    world.publish(model, 0, 1)
    world.route(model, RouteMode.AB, 0.5)
    world.await_arms(model, ("champion", 1), ("challenger", 2))
    with world.predictor.client() as client:
        answers = [
            client.post(f"/predict/{model}", json={"inputs": ROW, "key": n}).json()
            for n in range(60)
        ]
        items = [{"request_id": answer["request_id"], "label": 1} for answer in answers]
        first = client.post("/feedback", json={"items": items}).json()
        again = client.post("/feedback", json={"items": items[:10]}).json()
        forged = client.post("/feedback", json={"request_id": "x" * 80, "label": 1})
        score = {"request_id": items[0]["request_id"], "score": 0.5, "metric": "clicks"}
        scored = client.post("/feedback", json=score).json()
    assert (first["accepted"], first["duplicate"], first["refused"]) == (60, 0, 0)
    assert (again["accepted"], again["duplicate"]) == (0, 10)
    assert forged.status_code == 422
    assert "not given out" in forged.json()["reasons"][0]["reason"]
    assert scored["accepted"] == 1
    said = Counter(answer["variant"] for answer in answers)
    store = ExposureStore(world.ledger)

    def counted() -> dict[str, int]:
        totals = store.totals(f"exp-{model}")
        return {str(variant): total.count for variant, total in totals.items()}

    wait_until(lambda: sum(counted().values()) == 60, 40, "60 exposures")
    assert counted() == dict(said)
    accuracy = FeedbackStore(world.ledger).totals(f"exp-{model}", "accuracy")
    assert accuracy[Variant.CHALLENGER].total == said["challenger"]
    assert accuracy[Variant.CHAMPION].total == 0
    assert accuracy[Variant.CHAMPION].count == said["champion"]


def test_an_arm_that_fails_is_counted_for_its_errors(world: World, model: str) -> None:
    world.publish(model, 0, fails=True)
    world.await_arms(model, ("champion", 1))
    with world.predictor.client() as client:
        good = client.post(f"/predict/{model}", json={"inputs": ROW})
        bad = client.post(f"/predict/{model}", json={"inputs": [[99.0] * FEATURES]})
    assert label(good) == 0
    assert bad.status_code == 500
    assert bad.json()["error"].startswith("the model failed on this input")
    store = ExposureStore(world.ledger)
    wait_until(lambda: store.version_totals(model, 1, 0.0).count == 2, 40, "two exposures")
    assert store.version_totals(model, 1, 0.0).errors == 1


def test_a_shadow_scores_copies_and_answers_nobody(world: World, model: str) -> None:
    world.publish(model, 0, 1)
    world.route(model, RouteMode.SHADOW)
    world.await_arms(model, ("champion", 1), ("shadow", 2))
    feedback = FeedbackStore(world.ledger)
    with world.predictor.client() as client:
        answers = [client.post(f"/predict/{model}", json={"inputs": ROW}).json() for _ in range(5)]
        assert {answer["variant"] for answer in answers} == {"champion"}
        labels = [{"request_id": answer["request_id"], "label": 1} for answer in answers]
        client.post("/feedback", json={"items": labels})
    wait_until(lambda: feedback.paired(f"exp-{model}", "accuracy").n == 5, 40, "five paired scores")
    paired = feedback.paired(f"exp-{model}", "accuracy")
    assert (paired.compared, paired.agreed, paired.diff_sum) == (5, 0, 5.0)


def test_a_challenger_with_other_inputs_gets_no_traffic(world: World, model: str) -> None:
    world.publish(model, 0)
    other = write_classifier(world.home / f"{uuid4().hex}.onnx", 1, inputs="Y")
    world.registry.register(model, other)
    world.await_arms(model, ("champion", 1))
    world.route(model, RouteMode.AB, 0.5)
    with world.predictor.client() as client:
        wait_until(
            lambda: (
                "other" in client.get("/models").json()["problems"].get(model, "other")
                or "it takes Y" in client.get("/models").json()["problems"][model]
            ),
            40,
            "the reason",
        )
    assert world.arms(model) == [("champion", 1)]


def test_a_champion_that_is_refused_leaves_the_last_good_one(
    world: World, mlflow_uri: str, model: str
) -> None:
    world.publish(model, 2)
    world.await_arms(model, ("champion", 1))
    unpinned(world, mlflow_uri, model)
    world.registry.set_alias(model, "champion", 2)
    with world.predictor.client() as client:
        wait_until(
            lambda: "no pinned digest" in client.get("/models").json()["problems"].get(model, ""),
            40,
            "the reason",
        )
        assert label(client.post(f"/predict/{model}", json={"inputs": ROW})) == 2
        wait_until(
            lambda: 'prime_spark_problem{worker="' in client.get("/metrics").text, 5, "a metric"
        )
    world.registry.adopt(model, 2)
    world.await_arms(model, ("champion", 2))


def unpinned(world: World, mlflow_uri: str, model: str) -> None:
    """Register a second version whose digest is not known, as other tools do."""
    world.registry.register(model, write_classifier(world.home / f"{uuid4().hex}.onnx", 1))
    httpx.request(
        "DELETE",
        f"{mlflow_uri}/api/2.0/mlflow/model-versions/delete-tag",
        json={"name": model, "version": "2", "key": version_tags.DIGEST},
    ).raise_for_status()


def test_hot_swaps_lose_no_request(world: World, model: str) -> None:
    world.publish(model, 0, 1)
    world.await_arms(model, ("champion", 1))
    done = threading.Event()
    seen: Counter[object] = Counter()

    def load() -> None:
        with world.predictor.client() as client:
            while not done.is_set():
                answer = client.post(f"/predict/{model}", json={"inputs": ROW})
                seen[answer.json().get("version", answer.text)] += 1

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(6):
            version = 2 - turn % 2
            world.registry.set_alias(model, "champion", version)
            world.await_arms(model, ("champion", version))
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert set(seen) == {1, 2}


def test_knobs_are_turned_while_it_runs(world: World, model: str) -> None:
    world.publish(model, 0)
    world.await_arms(model, ("champion", 1))
    KnobStore(world.ledger, CLOCK).write(
        f"serving/{model}", "cache_entries", None, 10.0, "test", "a test"
    )
    with world.predictor.client() as client:  # one connection, so one worker

        def capacity() -> object:
            plan = client.get("/models").json()["models"].get(model)
            return plan and plan["arms"][0]["knobs"]["cache_entries"]

        wait_until(lambda: capacity() == 10, 40, "the knob")
        labels = {label(client.post(f"/predict/{model}", json={"inputs": ROW})) for _ in range(5)}
        hits = f'cache_hits_total{{worker="[^"]+",model="{model}",version="1"}} 4'
        assert labels == {0}
        assert re.search(hits, client.get("/metrics").text)


def test_metrics_show_all_workers_on_any_of_them(world: World) -> None:
    def workers() -> int:
        with world.predictor.client() as client:
            return len(set(re.findall(r'worker="([^"]+)"', client.get("/metrics").text)))

    wait_until(lambda: workers() == WORKERS, 40, "both workers")
