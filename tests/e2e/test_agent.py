"""The agent on real servers: what it finds, proposes, asks, carries out, and leaves alone.

One story on one worker, for the servers are slow to start: nothing changes while it simulates; a
new version is benchmarked once a person has said yes in Prefect; a pause stops what comes next; a
person who cancels a flow run has its action undone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from config.clock import SystemClock
from config.loader import load_settings
from flows.deployments import deploy
from flows.names import ACTION, BENCHMARK, OPTIMIZE, deployment_of
from registry.agent_records import Action, ActionState
from registry.mlflow_models import ModelRegistry
from registry.records import CHAMPION_ALIAS
from tests.services.prefect_server import PrefectServer, process_of, worker
from tests.services.resident_agent import FAST, AgentScene
from tests.services.toy_models import classifier, evaluation

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

MODEL = "agent-toy"
POOL = "agent"


class World(AgentScene):
    """Everything a person could look at or do."""

    def __init__(self, settings: Mapping[str, str], prefect: PrefectServer, folder: Path) -> None:
        super().__init__(settings, prefect, folder)
        self.registry = ModelRegistry(self.context.tracking_uri, SystemClock())

    def register(self, noise: float) -> int:
        file = classifier(self.folder / f"noise-{noise}.onnx", noise)
        made = self.registry.register(
            MODEL, file, evaluation=evaluation(), metrics={}, description="toy", tags={}
        )
        return made.version

    def everything(self) -> dict[str, object]:
        """All that an action of the agent could change."""
        desk = self.context.desk()
        search = {"filter_string": ""}
        models = f"{self.context.tracking_uri}/api/2.0/mlflow/model-versions/search"
        return {
            "aliases": self.registry.aliases(MODEL),
            "versions": httpx.get(models, params=search, timeout=20).json(),
            "stages": desk.lifecycle.all(MODEL),
            "route": desk.routes.current(MODEL),
            "moves": self.context.alias_history.list(MODEL),
            "runs": [self.runs(flow) for flow in (BENCHMARK, ACTION)],
            "knobs": self.knobs(),
        }


@pytest.fixture(scope="module")
def world(
    mlflow_uri: str, prefect_api: PrefectServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("agent")
    variables = {
        "PRIME_SPARK_HOME": str(folder / "home"),
        "PRIME_SPARK_MLFLOW__TRACKING_URI": mlflow_uri,
        "PRIME_SPARK_PREFECT__API_URL": prefect_api.api_url,
        "PRIME_SPARK_PREFECT__WORK_POOL": POOL,
        "PRIME_SPARK_MODELS__NAMES": MODEL,
        "PRIME_SPARK_MODELS__DRIVER": "agent",
        "PRIME_SPARK_GATE__SECONDS": "0.5",
        "PRIME_SPARK_GATE__SAMPLES": "40",
        # A busy machine and its network are no business of this story.
        "PRIME_SPARK_AGENT__CAPABILITIES": "model_benchmark,model_promote",
        "PRIME_SPARK_AGENT__TARGETS": "host,models,registry,mlflow,prefect",
        "PRIME_SPARK_AGENT__COOLDOWN_SECONDS": "0",
        "PRIME_SPARK_AGENT__LEASE_SECONDS": "10",
    }
    slow = load_settings(environ=variables)
    deploy(slow)
    with worker(prefect_api, POOL, folder / "worker.out", variables):
        found = World(variables | FAST, prefect_api, folder)
        yield found
        found.agent.close()


def test_simulation_leaves_everything_as_it_was(world: World) -> None:
    world.register(0.1)
    before = world.everything()
    with world.running_agent(PRIME_SPARK_SAFETY__SIMULATION_MODE="true"):
        action = world.action("model_benchmark", ActionState.SIMULATED)
        world.await_tick("execute")
    assert action.proposal.subject == MODEL
    assert action.decision.run
    assert world.everything() == before


@pytest.fixture(scope="module")
def asking(world: World) -> Iterator[None]:
    """An agent that asks before everything, for all that follows."""
    with world.running_agent(PRIME_SPARK_SAFETY__ENABLE_AUTOMATIC_ACTIONS="false"):
        yield


@pytest.mark.usefixtures("asking")
def test_a_new_version_is_benchmarked_once_a_person_says_yes_in_prefect(world: World) -> None:
    waiting = world.action("model_benchmark", ActionState.WAITING_APPROVAL)
    run = world.until("its flow run is suspended", lambda: suspended(world, waiting))
    world.until("nobody waits for it", lambda: process_of(run["id"]) is None or None)
    assert world.runs(BENCHMARK) == []
    assert "Benchmark" in shown(world, run)
    resume(world, run)
    done = world.action("model_benchmark", ActionState.COMPLETED)
    log = world.folder / "home" / "logs" / "agent.log"
    told = f"Action completed: {done.id}"
    world.until("the agent tells", lambda: told in log.read_text() or None)
    (approval,) = world.agent.stores.approvals.of_action(done.id)
    assert (approval.by, approval.way, approval.approved) == ("Ada", "prefect", True)
    assert approval.digest == done.proposal.digest
    assert [one["state_type"] for one in world.runs(BENCHMARK)] == ["COMPLETED"]
    published = world.until("it is published", lambda: published_run(world, done))
    tags = {one["key"]: one["value"] for one in published["data"]["tags"]}
    assert (tags["action"], tags["state"]) == (done.id, "completed")


@pytest.mark.usefixtures("asking")
def test_a_pause_stops_what_comes_next_and_so_does_one_of_the_schedule(world: World) -> None:
    stores = world.agent.stores
    waiting = world.action("model_promote", ActionState.WAITING_APPROVAL)
    world.until("its flow run is suspended", lambda: suspended(world, waiting))
    stores.control.pause("Ada", "a look around")
    stores.approvals.decide(waiting.id, waiting.proposal.digest, True, "Ada", "cli")
    approved_at = world.agent.now
    world.until(
        "it has ticked a second later",
        lambda: world.beats("execute").get("at", 0.0) > approved_at + 1.0 or None,
    )
    held = stores.actions.get(waiting.id)
    assert held is not None
    assert held.state is ActionState.SCHEDULED
    assert world.registry.aliases(MODEL) == {}
    assert "paused" in str(world.beats("optimize").get("skipped"))

    schedule(world, active=False)
    stores.control.resume("Ada")
    world.until(
        "the cycles rest",
        lambda: "Prefect" in str(world.beats("optimize").get("skipped")) or None,
    )
    schedule(world, active=True)
    world.until("they go on", lambda: not world.beats("optimize").get("skipped") or None)


@pytest.mark.usefixtures("asking")
def test_a_flow_run_that_a_person_cancels_has_its_action_undone(world: World) -> None:
    promoted = world.action("model_promote", ActionState.APPLIED)
    assert world.registry.aliases(MODEL) == {CHAMPION_ALIAS: 1}
    assert promoted.flow_run_id is not None
    world.context.prefect.cancel(promoted.flow_run_id)
    ended = world.action("model_promote", ActionState.ROLLED_BACK)
    told = [str(one.body) for one in world.agent.stores.actions.stories(ended.id)]
    assert any("a person cancelled its flow run" in one for one in told)
    assert world.registry.aliases(MODEL) == {}, "put back exactly as it was"
    moves = [one.after for one in world.context.alias_history.list(MODEL)]
    assert sorted(moves, key=str) == [1, None], "moved there and back, once each"
    world.until("Prefect shows it", lambda: cancelled(world, promoted) or None)
    world.until("it is not proposed again", lambda: left_out(world, "declined") or None)


def suspended(world: World, action: Action) -> dict[str, Any] | None:
    """The flow run of an action, once it waits for a person."""
    for run in world.runs(ACTION):
        if run["parameters"]["action_id"] == action.id and run["state_name"] == "Suspended":
            return run
    return None


def cancelled(world: World, action: Action) -> bool:
    """Whether the flow run that carried an action out stands there as cancelled."""
    states = {run["id"]: run["state_type"] for run in world.runs(ACTION)}
    return bool(states[action.flow_run_id] == "CANCELLED")


def left_out(world: World, kind: str) -> bool:
    """Whether the last cycle left something out for a reason of that kind."""
    cycle = world.agent.stores.control.fact("cycle")
    return cycle is not None and f"'kind': '{kind}'" in str(cycle.value)


def resume(world: World, run: Mapping[str, Any]) -> None:
    """Answer as Prefect's UI does."""
    answer = {"run_input": {"approved": True, "by": "Ada", "note": "go on"}}
    world.ask("POST", f"/flow_runs/{run['id']}/resume", answer)


def shown(world: World, run: Mapping[str, Any]) -> str:
    """What Prefect's UI shows beside the form of a suspended run."""
    state = run["state"]["state_details"]["run_input_keyset"]
    return str(world.ask("GET", f"/flow_runs/{run['id']}/input/{state['description']}").json())


def published_run(world: World, action: Action) -> dict[str, Any] | None:
    found = world.agent.stores.actions.get(action.id)
    if found is None or found.run_id is None:
        return None
    url = f"{world.context.tracking_uri}/api/2.0/mlflow/runs/get"
    answer = httpx.get(url, params={"run_id": found.run_id}, timeout=20)
    run: dict[str, Any] = answer.raise_for_status().json()["run"]
    return run


def schedule(world: World, *, active: bool) -> None:
    """Switch the schedule of the deployment `optimize`, as Prefect's UI does."""
    found = world.ask("GET", f"/deployments/name/{deployment_of(OPTIMIZE)}").json()
    (one,) = found["schedules"]
    world.ask("PATCH", f"/deployments/{found['id']}/schedules/{one['id']}", {"active": active})
