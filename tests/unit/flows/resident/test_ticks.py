"""The ticks on a real ledger, with a target and a capability of the tests' own."""

# ruff: noqa: ARG002 - the seams name their arguments

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config.clock import ManualClock
from config.errors import UnavailableError
from config.ids import SeededIds
from config.loader import load_settings
from flows.agent import AutonomousAgent
from flows.context import Context
from flows.resident.analysing import Analyst
from flows.resident.monitoring import Monitor
from flows.resident.optimising import CYCLE, Optimiser, cycle
from flows.resident.world import AgentWorld
from optimizers.capability import Capability
from optimizers.plugins import Installed
from optimizers.targets.base import Observed, ObserveOnly
from registry.agent_records import ActionState, Effect, Observation, StartLimits, Verdict
from registry.ledger.events import EventLog
from tests.services.agent_samples import SampleCapability, numbered

LIMITS = StartLimits(max_concurrent=3, changes_per_hour=100, changes_per_day=100, cooldown_s=0.0)


class Dial(ObserveOnly):
    """A target that shows one number, unless it is away."""

    def __init__(self) -> None:
        self.name = "dial"
        self.value: float | None = 1.0

    def observe(self, at: float, timeout_s: float) -> Observed:
        if self.value is None:
            raise UnavailableError("the dial does not answer; check that it is up")
        return Observed((Observation("dial", "cache_hit_rate", self.value, at),))


class Prefect:
    """Knows only whether the schedule is paused."""

    def __init__(self) -> None:
        self.paused = False

    def schedule_paused(self, deployment: str) -> bool:
        assert deployment == "optimize/prime-spark"
        return self.paused

    def close(self) -> None:
        """Nothing is open."""


class Scene:
    """A world with one target and one capability."""

    def __init__(self, home: Path, clock: ManualClock, **settings: str) -> None:
        variables = {
            "PRIME_SPARK_HOME": str(home),
            "PRIME_SPARK_PREFECT__API_URL": "http://127.0.0.1:9/api",
        }
        variables |= {f"PRIME_SPARK_{name}": value for name, value in settings.items()}
        self.clock = clock
        self.prefect = Prefect()
        context = Context(load_settings(environ=variables), clock, SeededIds(1))
        vars(context)["prefect"] = self.prefect
        self.world = AgentWorld(context)
        self.dial = Dial()
        advice = numbered(1, type="cache_resize", target="serving", finding_ids=("finding-1",))
        self.capability = SampleCapability([advice])
        capabilities: dict[str, Capability] = {self.capability.type: self.capability}
        vars(self.world)["installed"] = Installed({"dial": self.dial}, capabilities, {})
        self.monitor = Monitor(self.world)

    @property
    def actions(self) -> list[tuple[str, ActionState]]:
        found = self.world.stores.actions.list(newest_first=False)
        return [(one.proposal.advice_id, one.state) for one in found]


@pytest.fixture
def scene(tmp_path: Path, clock: ManualClock) -> Iterator[Scene]:
    made = Scene(tmp_path / "home", clock)
    yield made
    made.world.close()


def test_monitoring_records_what_it_sees_and_how_targets_answer(scene: Scene) -> None:
    scene.monitor.tick()
    scene.dial.value = None
    scene.clock.advance(30)
    assert "0 values from 0 of 1 targets" in scene.monitor.tick().text
    now = scene.world.now
    history = scene.world.observations.history(now - 60, now)
    assert [one.value for one in history["dial", "cache_hit_rate"]] == [1.0]
    health = scene.world.health.all()["dial"]
    assert not health.ok
    assert "does not answer" in health.reason


def test_a_dead_target_is_a_finding_that_goes_when_it_answers_again(scene: Scene) -> None:
    analyst = Analyst(scene.world, scene.monitor)
    found = []
    for value in (1.0, None, 1.0, None, 1.0):
        scene.dial.value = value
        scene.monitor.tick()
        analyst.tick()
        opened = scene.world.stores.findings.open()
        found.append([one.rule for one in opened if one.target == "dial"])
        scene.clock.advance(60)
    assert found == [[], *[["target_dead"]] * 4], "what flaps stays open"
    scene.clock.advance(300)
    analyst.tick()
    assert [one.target for one in scene.world.stores.findings.open()] == ["serving"]
    log = EventLog(scene.world.context.engine, scene.clock)
    events = log.list(subject="target_dead:dial")
    assert [one.body["state"] for one in events] == ["opened", "cleared"]


def test_a_cycle_proposes_the_same_thing_once(scene: Scene) -> None:
    for _ in range(3):
        cycle(scene.world, scene.monitor.look())
        scene.clock.advance(300)
    assert scene.actions == [("advice-1", ActionState.SCHEDULED)]
    fact = scene.world.stores.control.fact(CYCLE)
    assert fact is not None
    assert "'kind': 'known'" in str(fact.value)
    store = scene.world.stores.actions
    (noted,) = store.grounds(store.live()[0].id)
    assert noted.text == "the cache is too small", "what called for it stands in the ledger"


def test_simulating_it_only_says_what_it_would_do(tmp_path: Path, clock: ManualClock) -> None:
    scene = Scene(tmp_path / "home", clock, SAFETY__SIMULATION_MODE="true")
    for key in ("noon", "five past"):
        advised = scene.capability.proposals
        scene.capability.proposals = [replace(one, key=key) for one in advised]
        cycle(scene.world, scene.monitor.look())
        scene.clock.advance(300)
    assert scene.actions == [("advice-1", ActionState.SIMULATED)], "it is the same advice"
    scene.world.close()


def test_without_automatic_actions_a_person_is_asked(tmp_path: Path, clock: ManualClock) -> None:
    scene = Scene(tmp_path / "home", clock, SAFETY__ENABLE_AUTOMATIC_ACTIONS="false")
    cycle(scene.world, scene.monitor.look())
    assert scene.actions == [("advice-1", ActionState.WAITING_APPROVAL)]
    scene.world.close()


def test_the_agent_s_cycles_rest_while_it_is_paused_here_or_in_prefect(scene: Scene) -> None:
    optimiser = Optimiser(scene.world, scene.monitor)
    assert optimiser.skip() == ""
    scene.prefect.paused = True
    assert "paused in Prefect" in optimiser.skip()
    scene.prefect.paused = False
    scene.world.stores.control.pause("Ada", "a test")
    assert "the agent is paused" in optimiser.skip()


def test_the_agent_does_a_cycle_itself_when_prefect_has_not(scene: Scene) -> None:
    optimiser = Optimiser(scene.world, scene.monitor)
    optimiser.tick()
    assert "fresh" in optimiser.skip()
    scene.clock.advance(300)
    assert "fresh" in optimiser.skip(), "Prefect's own run may be under way"
    scene.clock.advance(151)
    assert optimiser.skip() == ""


def ended(scene: Scene, to: ActionState, **parts: Any) -> None:  # noqa: ANN401
    cycle(scene.world, scene.monitor.look())
    store = scene.world.stores.actions
    (known,) = store.live()
    begun = store.begin(store.claim(known.id, "somebody", 30.0), LIMITS)
    applied = store.move(begun, ActionState.APPLIED, "applied")
    store.move(applied, to, "measured", **parts)


def test_the_specification_s_questions_are_answered(scene: Scene) -> None:
    effect = Effect(Verdict.IMPROVED, "it helped", gain=0.12, low=0.1, high=0.14)
    ended(scene, ActionState.COMPLETED, effect=effect)
    agent = AutonomousAgent(scene.world.context)
    assert agent.get_status()["completed_actions"] == 1
    (recent,) = agent.get_recent_actions(count=10)
    assert (recent["type"], recent["status"]) == ("cache_resize", "completed")
    (done,) = agent.completed_actions
    assert done.status == "completed"
    assert done.result == {"success": True, "actual_improvement": 0.12}


def test_a_failed_action_tells_its_error(scene: Scene) -> None:
    ended(scene, ActionState.FAILED)
    agent = AutonomousAgent(scene.world.context)
    failed = [one for one in agent.completed_actions if one.status == "failed"]
    assert [one.result.get("error") for one in failed] == ["measured"]
