"""A model's way from a watched folder to a device, each step an action, on real servers.

The file is found and registered, its benchmark accepts it, it becomes the first champion and is
seen served by the real predictor, and a bento of it is built.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

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
from registry.mlflow_models import ModelRegistry
from registry.records import CHAMPION_ALIAS, Stage
from tests.services.predictor import running_predictor
from tests.services.prefect_server import PrefectServer, worker
from tests.services.processes import free_port
from tests.services.toy_models import network

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

MODEL = "folder-net"
POOL = "model-actions"
PLACE = "pi"


@pytest.fixture
def world(
    mlflow_uri: str, prefect_api: PrefectServer, tmp_path: Path
) -> Iterator[tuple[AgentWorld, Path]]:
    """Prefect, its worker, MLflow and a predictor; the model waits in the watched folder."""
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
