"""A model's way from a watched folder to a device and on, each step an action, on real servers.

The file is found and registered, its benchmark accepts it, it becomes the first champion and is
seen served by the real predictor, and a bento of it is built. Then users' labels show that it is
right too seldom: it is trained anew, the new version is tried on the live traffic, and wins.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import httpx
import pytest

from config.clock import SystemClock
from config.loader import load_settings
from flows.context import Context
from flows.deployments import deploy
from flows.resident.acting import carry_out
from flows.resident.world import AgentWorld
from optimizers.decision import decide
from optimizers.learning import believe
from optimizers.models.facts import TARGET
from optimizers.view import View
from registry.agent_records import Action, ActionState, Proposal
from registry.evaluation import EvaluationData
from registry.mlflow_models import ModelRegistry
from registry.records import CHAMPION_ALIAS, PREVIOUS_ALIAS, RouteMode, Stage, TrialVerdict
from tests.services.predictor import running_predictor
from tests.services.prefect_server import PrefectServer, worker
from tests.services.processes import LOOPBACK, free_port, wait_until
from tests.services.toy_models import BY_NOW, network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

MODEL = "folder-net"
POOL = "model-actions"
PLACE = "pi"


@pytest.fixture(scope="module")
def world(
    mlflow_uri: str, prefect_api: PrefectServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[AgentWorld, Path]]:
    """Prefect, its worker, MLflow and a predictor; the model waits in the watched folder."""
    tmp_path = tmp_path_factory.mktemp("model-actions")
    drop, device = tmp_path / "drop" / MODEL, tmp_path / "device"
    drop.mkdir(parents=True)
    device.mkdir()
    path, rows = network(drop / "net.onnx")
    path.with_suffix(".npz").write_bytes(rows.to_bytes())
    (drop / "net.pkl").write_bytes(b"\x80\x04N.")
    for file in (path, drop / "net.pkl"):
        os.utime(file, (1.0, 1.0))
    target = {"name": PLACE, "kind": "edge", "folder": str(device), "models": [MODEL]}
    port = free_port()
    variables = {
        "PRIME_SPARK_HOME": str(tmp_path / "home"),
        "PRIME_SPARK_MLFLOW__TRACKING_URI": mlflow_uri,
        "PRIME_SPARK_PREFECT__API_URL": prefect_api.api_url,
        "PRIME_SPARK_PREFECT__WORK_POOL": POOL,
        "PRIME_SPARK_GATE__SECONDS": "0.5",
        "PRIME_SPARK_GATE__SAMPLES": "40",
        "PRIME_SPARK_MODELS__NAMES": MODEL,
        "PRIME_SPARK_MODELS__DRIVER": "agent",
        "PRIME_SPARK_MODELS__WATCHED_FOLDER": str(drop.parent),
        "PRIME_SPARK_MODELS__WATCH_INTERVAL_SECONDS": "86400",
        "PRIME_SPARK_MODELS__DEGRADED_MIN_LABELS": "50",
        "PRIME_SPARK_MODELS__RETRAIN_ENTRYPOINT": "tests.services.toy_models:retrain_network",
        "PRIME_SPARK_GATE__LATENCY_MARGIN_MS": "50",
        "PRIME_SPARK_GATE__THROUGHPUT_MARGIN_RELATIVE": "0.9",
        "PRIME_SPARK_EXPERIMENT__TRAFFIC_SPLIT": "0.5",
        "PRIME_SPARK_EXPERIMENT__DURATION_SECONDS": "120",
        "PRIME_SPARK_EXPERIMENT__LOOK_SECONDS": "1",
        "PRIME_SPARK_EXPERIMENT__PLANNED_SAMPLES": "1000",
        "PRIME_SPARK_AGENT__SETTLE_SECONDS": "0",
        "PRIME_SPARK_AGENT__VERIFY_SECONDS": "1",
        "PRIME_SPARK_AGENT__COOLDOWN_SECONDS": "0",
        "PRIME_SPARK_DEPLOYMENT_TARGETS": json.dumps([target]),
        "PRIME_SPARK_SERVING__PORT": str(port),
        "PRIME_SPARK_SERVING__MODELS": MODEL,
    }
    settings = load_settings(environ=variables)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in prefect_api.environment.items():
            patch.setenv(name, value)
        deploy(settings)
        with (
            worker(prefect_api, POOL, tmp_path / "worker.out", variables),
            running_predictor(tmp_path / "home", mlflow_uri, port=port, SERVING__MODELS=MODEL),
        ):
            made = AgentWorld(Context(settings))
            yield made, device
            made.close()


def proposals(world: AgentWorld) -> dict[str, Proposal]:
    """What the model actions would do now, by type."""
    observed = world.targets[TARGET].observe(world.now, 10.0)
    assert observed.troubles == ()
    view = View(at=world.now, facts={TARGET: observed.facts})
    found = {}
    for one in world.capabilities.values():
        for finding in one.detect(view) if one.target == TARGET else ():
            for proposal in one.propose(finding, view):
                found[proposal.type] = proposal
    return found


def done(world: AgentWorld, proposal: Proposal) -> Action:
    """Decide on a proposal as the agent does, and carry it out."""
    capability = world.capabilities[proposal.type]
    belief = believe(proposal, capability.prior, world.stores.learning.all())
    decision = decide(proposal, belief, world.settings, world.settings.agent.exposure)
    assert decision.run, decision.reasons
    id_ = world.context.ids.new("action")
    state, now = ActionState.SCHEDULED, world.now
    world.stores.actions.propose(Action(id_, proposal, decision, state, "decided", now, now))
    after = carry_out(world, id_, holder="tester")
    assert after.state is ActionState.COMPLETED, after
    return after


def test_from_a_folder_to_a_device(world: tuple[AgentWorld, Path]) -> None:
    agent, device = world
    first = proposals(agent)
    assert list(first) == ["model_update"], "the pickle beside it is refused"
    updated = done(agent, first["model_update"])
    assert updated.effect is not None
    assert updated.effect.reason == "registered as version 1"

    second = proposals(agent)
    assert list(second) == ["model_benchmark"], "what is registered is no update any more"
    done(agent, second["model_benchmark"])
    desk = agent.context.desk()
    stage = desk.lifecycle.get(MODEL, 1)
    assert stage is not None
    assert stage.stage is Stage.ACCEPTED, stage.reason

    third = proposals(agent)
    assert list(third) == ["model_promote"]
    promoted = done(agent, third["model_promote"])
    assert promoted.effect is not None
    assert promoted.effect.reason.startswith("version 1 is served")
    registry = ModelRegistry(agent.context.tracking_uri, SystemClock())
    assert registry.aliases(MODEL) == {CHAMPION_ALIAS: 1}

    fourth = proposals(agent)
    assert list(fourth) == ["model_deploy"]
    done(agent, fourth["model_deploy"])
    manifest = json.loads((device / MODEL / "manifest.json").read_text())
    assert (manifest["version"], manifest["quantized"]) == (1, True)
    assert (device / MODEL / manifest["bento"]).stat().st_size > 0
    assert proposals(agent) == {}
    records = agent.stores.learning.all()
    assert records["model_promote", TARGET].successes == 1


@contextmanager
def users(port: int, rows: EvaluationData) -> Iterator[None]:
    """People who ask the predictor and tell it afterwards what would have been right."""
    stop = threading.Event()
    known = list(zip(rows.inputs.tolist(), rows.labels.tolist(), strict=True))

    def visit() -> None:
        url = f"http://{LOOPBACK}:{port}"
        with httpx.Client(base_url=url, timeout=20.0) as client:
            for visit in count():
                row, label = known[visit % len(known)]
                body = {"inputs": [row], "key": f"user-{visit}"}
                answer = client.post(f"/predict/{MODEL}", json=body).raise_for_status().json()
                said = {"request_id": answer["request_id"], "label": label}
                client.post("/feedback", json=said).raise_for_status()
                if stop.wait(0.01):
                    return

    with ThreadPoolExecutor(1) as pool:
        visits = pool.submit(visit)
        try:
            yield
        finally:
            stop.set()
    visits.result()


def test_a_champion_that_degrades_is_trained_anew_tried_and_replaced(
    world: tuple[AgentWorld, Path], tmp_path: Path
) -> None:
    agent, _ = world
    desk = agent.context.desk()
    _, rows = network(tmp_path / "by-now.onnx", BY_NOW)
    with users(agent.settings.serving.port, rows):
        wait_until(lambda: "model_retrain" in proposals(agent), 60.0, "labels show it degraded")
        found = proposals(agent)
        assert list(found) == ["model_retrain"]
        assert "below 0.8" in found["model_retrain"].description
        trained = done(agent, found["model_retrain"])
        assert trained.effect is not None
        assert trained.effect.reason.startswith("training made version 2")

        found = proposals(agent)
        assert list(found) == ["model_benchmark"], "it is not trained again at once"
        done(agent, found["model_benchmark"])

        found = proposals(agent)
        assert list(found) == ["ab_test"]
        tried = done(agent, found["ab_test"])
        assert tried.effect is not None
        assert tried.effect.reason.startswith("promote:")
        (trial,) = desk.experiments.all(MODEL)
        assert trial.verdict is TrialVerdict.PROMOTE
        assert desk.routes.current(MODEL).mode is RouteMode.NONE, "all traffic went back"

        found = proposals(agent)
        assert list(found) == ["model_promote"]
        promoted = done(agent, found["model_promote"])
    assert promoted.effect is not None
    assert promoted.effect.gain == pytest.approx(promoted.proposal.expected.mean)
    assert tried.proposal.expected.mean < promoted.proposal.expected.mean, (
        "its gain is the one the test has measured"
    )
    registry = ModelRegistry(agent.context.tracking_uri, SystemClock())
    assert registry.aliases(MODEL) == {CHAMPION_ALIAS: 2, PREVIOUS_ALIAS: 1}
    assert list(proposals(agent)) == ["model_deploy"], "the device still has the former one"
