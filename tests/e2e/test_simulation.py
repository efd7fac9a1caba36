"""Simulation on real servers that call for changes: all of them are shown, and none is made.

A resident agent, with the performance capabilities and all targets, meets a Redis that refuses
writes and one that misses, a listening queue that overflows, a predictor with a worker and a model
too many, and a process in another's way. The world is read before and after: by the targets, and
by the servers' and the kernel's own means.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from redis.exceptions import OutOfMemoryError

from benchmarks.tcp_namespaces import all_knobs, missing, two_namespaces
from config.clock import SystemClock
from config.loader import load_settings
from flows.agent import AutonomousAgent
from flows.deployments import deploy
from flows.names import ACTION, FLOWS, OPTIMIZE, WATCH_MODELS, deployment_of
from flows.resident.studying import known_studies
from registry.agent_records import Action, ActionState
from registry.knobs import KnobStore
from registry.mlflow_models import ModelRegistry
from tests.services import plain_reading as plain
from tests.services.busy_programs import rivals
from tests.services.namespaces import namespaces_needed
from tests.services.predictor import (
    FEATURES,
    RunningPredictor,
    running_predictor,
    write_classifier,
    write_heavy,
)
from tests.services.prefect_server import PrefectServer, worker
from tests.services.processes import free_port, wait_until
from tests.services.redis_server import RunningRedis, running_redis
from tests.services.resident_agent import FAST, AgentScene
from tests.services.tcp_children import BESIEGED, crowded_listener

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

POOL = "simulation"
WORKERS = 2
MEGABYTES = 60
IDLE = "idle_unload_seconds"
PERFORMANCE = "PRIME_SPARK_PERFORMANCE__"
KINDS = ("cache_resize", "cpu_optimization", "memory_cleanup")
TRIGGERS = {
    "CACHE_RESIZE__REDIS_SECONDS": "1",
    "CPU_OPTIMIZATION__CPU_PERCENT": "100",
    "CPU_OPTIMIZATION__IDLE_CPU_PERCENT": "100",
    "MEMORY_CLEANUP__MEMORY_PERCENT": "0.1",
    "MEMORY_CLEANUP__IDLE_SECONDS": "1",
    "RESOURCE_REALLOCATION__SCORE": "100",
}
# Closer looks that there is no doing without.
STUDIED = {("cache_resize", "missing/keys"), ("memory_cleanup", "")}
MOST_CYCLES = 5
SCHEDULED = (OPTIMIZE, WATCH_MODELS)
# What an action may write besides the agent's own notes.
TABLES = (
    *("knobs", "routes", "experiments", "lifecycle", "alias_moves", "alias_state"),
    *("approvals", "advice", "held_knobs", "learned"),
)


@dataclass(frozen=True, slots=True)
class Town:
    """Everything that calls for a change.

    Attributes:
        namespace: with a listening queue that overflows; None where none can be made.
        named: command line parts of the process that waits and of its rival.
        pids: these two.
    """

    predictor: RunningPredictor
    models: tuple[str, str]
    full: RunningRedis
    missing: RunningRedis
    namespace: str | None
    named: tuple[str, str]
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What there was after a while of simulation.

    Attributes:
        actions: all there are, the newest first.
        shown: the same, as a person is shown them.
        studied: the closer looks that were taken, by type and subject.
    """

    before: Mapping[str, object]
    after: Mapping[str, object]
    actions: Sequence[Action]
    shown: list[dict[str, object]]
    studied: set[tuple[str, str]]


@contextmanager
def clients(town: Town) -> Iterator[None]:
    """People who ask one of the models, and both Redis servers, until the block ends."""
    done, failed = threading.Event(), list[Exception]()

    def ask() -> None:
        url, rng = f"{town.predictor.url}/predict/{town.models[0]}", random.Random(1)
        with town.full.client() as full, town.missing.client() as half, httpx.Client() as http:
            while not done.wait(0.02):
                body = {"inputs": [[float(rng.randrange(50))] * FEATURES]}
                http.post(url, json=body, timeout=20).raise_for_status()
                with suppress(OutOfMemoryError):
                    full.set("key", "value")
                keys = [f"key-{rng.randrange(20_000)}" for _ in range(100)]
                found = half.mget(keys)
                lost = {key: "x" * 400 for key, value in zip(keys, found, strict=True) if not value}
                if lost:
                    half.mset(lost)

    def work() -> None:
        try:
            ask()
        except Exception as error:  # noqa: BLE001 - told where the block ends
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert failed == []


class Scene(AgentScene):
    """The town, an agent that simulates, and a worker for its flow runs."""

    def __init__(
        self, town: Town, settings: Mapping[str, str], prefect: PrefectServer, folder: Path
    ) -> None:
        super().__init__(settings, prefect, folder)
        self.town = town

    def everything(self) -> dict[str, object]:
        """All that an action could change, by our targets and without them."""
        town, home = self.town, self.context.settings.home_dir
        inside = all_knobs(town.namespace) if town.namespace else {}
        return {
            "knobs": self.knobs(),
            "full redis": plain.redis_settings(town.full),
            "missing redis": plain.redis_settings(town.missing),
            "machine": plain.machine_settings(),
            "namespace": inside,
            "rivals": plain.standing_of(town.pids),
            "predictor": plain.family_of(town.predictor.pid),
            "pages": plain.predictor_pages(town.predictor.url),
            "workers": (home.run / "serving" / "workers.json").read_text(),
            "ledger": plain.ledger_rows(home.ledger_file, TABLES),
            "published": plain.published(self.context.tracking_uri),
            "runs": self.runs(*(name for name in FLOWS if name not in SCHEDULED)),
        }

    def study(self) -> set[tuple[str, str]]:
        """Have Prefect run cycles, as its schedule would, until the closer looks are taken."""
        self.until("there is what calls for them", lambda: self._found() >= STUDIED or None)
        for _ in range(MOST_CYCLES):
            if (taken := self._studied()) >= STUDIED:
                break
            started = self.context.prefect.start(
                deployment_of(OPTIMIZE), {}, key=f"cycle-{uuid4().hex}", tags=()
            )
            run = started.flow_run_id
            self.until("a cycle ends", lambda run=run: self._over(run))  # type: ignore[misc]
        return taken

    def _found(self) -> set[tuple[str, str]]:
        return {(one.rule, one.subject) for one in self.agent.stores.findings.open()}

    def _studied(self) -> set[tuple[str, str]]:
        """By type and subject, those that gave something."""
        studies = known_studies(self.agent)
        return {key for key, one in studies.items() if not one.trouble}

    def _over(self, flow_run_id: str) -> bool | None:
        state = self.ask("GET", f"/flow_runs/{flow_run_id}").json()["state"]
        assert state["type"] not in {"FAILED", "CRASHED"}, state["message"]
        return state["type"] in {"COMPLETED", "CANCELLED"} or None


def kinds(town: Town) -> tuple[str, ...]:
    """The action types that are called for here."""
    more = ("tcp_tuning",) if town.namespace else ()
    # To lower a niceness again takes a permission.
    return (*KINDS, *more, *(("resource_reallocation",) if os.geteuid() == 0 else ()))


def settings_of(
    town: Town, mlflow_uri: str, prefect: PrefectServer, folder: Path
) -> dict[str, str]:
    """Settings of an agent that wants to change all of the town, and may not."""
    redis = [("full", town.full), ("missing", town.missing)]
    named = zip(("waiting", "rival"), town.named, strict=True)
    goal = {"metric_name": "answer_ms", "target_value": 1e-4, "direction": "minimize"}
    looks = {f"{kind.upper()}__{one}": "1" for kind in kinds(town) for one in ("SAMPLES", "OF")}
    return {
        "PRIME_SPARK_HOME": str(folder / "home"),
        "PRIME_SPARK_MLFLOW__TRACKING_URI": mlflow_uri,
        "PRIME_SPARK_PREFECT__API_URL": prefect.api_url,
        "PRIME_SPARK_PREFECT__WORK_POOL": POOL,
        "PRIME_SPARK_MODELS__WATCH_INTERVAL_SECONDS": "86400",
        "PRIME_SPARK_SERVING__PORT": town.predictor.url.rpartition(":")[2],
        "PRIME_SPARK_SERVING__WORKERS": str(WORKERS),
        "PRIME_SPARK_SERVING__LATENCY_OBJECTIVE_MS": "10000",
        "PRIME_SPARK_SAFETY__SIMULATION_MODE": "true",
        "PRIME_SPARK_AGENT__CAPABILITIES": ",".join(kinds(town)),
        "PRIME_SPARK_AGENT__STUDY_SECONDS": "12",
        "PRIME_SPARK_AGENT__LEASE_SECONDS": "6",
        "PRIME_SPARK_GOALS": json.dumps([goal]),
        "PRIME_SPARK_REDIS": json.dumps([{"name": n, "url": one.url} for n, one in redis]),
        f"{PERFORMANCE}TCP_TUNING__NAMESPACES": town.namespace or "",
        f"{PERFORMANCE}RESOURCE_REALLOCATION__PROCESSES": json.dumps(
            [{"name": name, "command": part} for name, part in named]
        ),
        **{f"{PERFORMANCE}{name}": value for name, value in (looks | TRIGGERS).items()},
    }


def published_models(mlflow_uri: str, folder: Path) -> tuple[str, str]:
    """A light model that is asked, and a heavy one that is not."""
    registry = ModelRegistry(mlflow_uri, SystemClock())
    asked, idle = (f"{name}-{uuid4().hex[:8]}" for name in ("asked", "idle"))
    registry.register(asked, write_classifier(folder / "asked.onnx", 1))
    registry.register(idle, write_heavy(folder / "idle.onnx", 2, megabytes=MEGABYTES))
    for model in (asked, idle):
        registry.set_alias(model, "champion", 1)
    return asked, idle


@contextmanager
def running_town(mlflow_uri: str, folder: Path) -> Iterator[Town]:
    """Start all of it; it is served, and waits, when the block begins."""
    with ExitStack() as stack:
        run = stack.enter_context
        full = run(running_redis("--maxmemory", "1kb", "--maxmemory-policy", "noeviction"))
        half = run(running_redis("--maxmemory", "5mb", "--maxmemory-policy", "allkeys-lru"))
        namespace = None if missing() else run(two_namespaces("sim")).sender
        if namespace:
            subprocess.run(
                ["ip", "netns", "exec", namespace, "sysctl", "-qw", "net.core.somaxconn=4"],
                check=True,
            )
            run(crowded_listener(namespace, BESIEGED))
        models = published_models(mlflow_uri, folder)
        named = {"SERVING__WORKERS": WORKERS, "SERVING__MODELS": ",".join(models)}
        predictor = run(running_predictor(folder / "home", mlflow_uri, port=free_port(), **named))
        marks, pids = run(rivals())
        yield Town(predictor, models, full, half, namespace, marks, pids)


@pytest.fixture(scope="module")
def scene(
    mlflow_uri: str, prefect_api: PrefectServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("simulation")
    with running_town(mlflow_uri, folder) as town:
        variables = settings_of(town, mlflow_uri, prefect_api, folder)
        deploy(load_settings(environ=variables))
        with worker(prefect_api, POOL, folder / "worker.out", variables):
            found = Scene(town, variables | FAST, prefect_api, folder)
            # Somebody has turned a knob already; it is not the agent's to turn back either.
            KnobStore(found.context.engine, SystemClock()).write(
                "serving", IDLE, None, 3600.0, "Ada", "to see"
            )
            await_served(town)
            with clients(town):
                yield found
            found.agent.close()


def await_served(town: Town) -> None:
    """Wait until both workers serve both models as the knobs say."""

    def served() -> bool:
        arms = plain.predictor_pages(town.predictor.url)["arms"]
        assert isinstance(arms, dict)
        return len(arms) == 2 and all(knobs[IDLE] == 3600 for _, knobs, _ in arms.values())

    wait_until(served, 60.0, "both models to be served, with the knob")


@pytest.fixture(scope="module")
def seen(scene: Scene) -> Seen:
    """The world before and after an agent has simulated all that is called for."""
    before = scene.everything()
    with scene.running_agent():
        studied = scene.study()
        scene.until("all of it is proposed", lambda: proposed(scene) or None)
        for loop in ("optimize", "execute"):
            scene.await_tick(loop)
        shown = AutonomousAgent(scene.context).get_recent_actions(100)
    after = scene.everything()
    actions = scene.agent.stores.actions.list(limit=100)
    return Seen(before, after, actions, [dict(one) for one in shown], studied)


def proposed(scene: Scene) -> bool:
    """Whether every type is, or something is to be done that was only to be simulated."""
    found = scene.agent.stores.actions.list(limit=100)
    done = any(one.state is not ActionState.SIMULATED for one in found)
    return done or {one.proposal.type for one in found} >= set(kinds(scene.town))


@pytest.mark.parametrize("kind", ["cache_resize", "cpu_optimization", "memory_cleanup"])
def test_what_the_servers_call_for_is_decided_and_shown(seen: Seen, kind: str) -> None:
    assert_simulated(seen, kind)


def test_so_is_what_a_network_calls_for(seen: Seen) -> None:
    namespaces_needed()
    assert_simulated(seen, "tcp_tuning")


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to take a niceness back")
def test_so_is_what_a_waiting_process_calls_for(seen: Seen) -> None:
    assert_simulated(seen, "resource_reallocation")


def test_the_same_is_shown_once(seen: Seen) -> None:
    advice = [one.proposal.advice_id for one in seen.actions]
    assert sorted(set(advice)) == sorted(advice)


def test_closer_looks_were_taken(seen: Seen) -> None:
    assert seen.studied >= STUDIED


def test_every_target_has_the_knobs_it_had(seen: Seen) -> None:
    knobs = seen.before["knobs"]
    assert isinstance(knobs, dict)
    with_knobs = {name.partition(":")[0] for name in knobs}
    assert with_knobs >= {"serving", "replicas", "full", "missing", "processes"}
    assert seen.after["knobs"] == knobs


def test_the_world_is_as_it_was(scene: Scene, seen: Seen) -> None:
    assert seen.after == seen.before
    assert scene.runs(ACTION) == []


def assert_simulated(seen: Seen, kind: str) -> None:
    """It would have been done, and what would have been done is told; it was not begun."""
    found = [one for one in seen.actions if one.proposal.type == kind]
    assert found, f"{kind} was not proposed"
    knobs = seen.before["knobs"]
    assert isinstance(knobs, dict)
    for action in found:
        change = action.proposal.change
        assert action.state is ActionState.SIMULATED
        assert action.decision.run, action.decision.reasons
        assert change is not None
        assert change.after != change.before
        assert change.before == knobs[f"{action.proposal.target}: {change.knob}"]
        assert (action.executed_at, action.intent) == (None, {})
        told = [one["status"] for one in seen.shown if one["action_id"] == action.id]
        assert told == ["simulated"]
