"""What the execute tick starts, and what it leaves alone; on a real ledger, Prefect by script."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from config.clock import ManualClock, epoch
from config.ids import SeededIds
from config.loader import load_settings
from flows.context import Context
from flows.prefect_rest import PrefectRest, Run, Start, StartState
from flows.resident.executing import Executor
from flows.resident.world import AgentWorld
from registry.agent_records import Action, ActionState, StartLimits
from tests.services.agent_samples import action, numbered

LIMITS = StartLimits(max_concurrent=3, changes_per_hour=100, changes_per_day=100, cooldown_s=0.0)


@dataclass
class ScriptedPrefect:
    """Starts a run for each key and keeps their states, which a test may change."""

    runs: dict[str, Run] = field(default_factory=dict)
    answers: StartState | None = None
    cancelled: list[str] = field(default_factory=list)

    def start(
        self, deployment: str, parameters: Mapping[str, Any], *, key: str, tags: Collection[str]
    ) -> Start:
        assert deployment == "action/prime-spark"
        known = self.runs.get(key)
        if self.answers is not None:
            return Start(self.answers, "run-x", "it broke")
        if known is not None:
            return Start(StartState.KNOWN, known.id)
        self.runs[key] = Run(f"run-{len(self.runs)}", "RUNNING")
        return Start(StartState.STARTED, self.runs[key].id)

    def find(self, key: str) -> Run | None:
        return self.runs.get(key)

    def cancel(self, flow_run_id: str) -> None:
        self.cancelled.append(flow_run_id)

    def close(self) -> None:
        """Nothing is open."""

    def suspend(self) -> None:
        self.runs = {key: Run(run.id, "PAUSED") for key, run in self.runs.items()}

    @property
    def started(self) -> list[tuple[str, str]]:
        """Action and purpose of each run, in the order of their start."""
        parts = [key.split(":") for key in self.runs]
        return [(action, purpose) for _, action, _, purpose in parts]


# ruff: noqa: ANN401, ARG002 - parts of records are handed on as they are; the seam names arguments


class Scene:
    """An executor, its ledger, and Prefect."""

    def __init__(self, home: Path, clock: ManualClock) -> None:
        variables = {
            "PRIME_SPARK_HOME": str(home),
            "PRIME_SPARK_AGENT__NOTIFIERS": "",
            "PRIME_SPARK_AGENT__COOLDOWN_SECONDS": "60",
        }
        self.clock = clock
        self.prefect = ScriptedPrefect()
        context = Context(load_settings(environ=variables), clock, SeededIds(1))
        vars(context)["prefect"] = self.prefect
        self.world = AgentWorld(context)
        self.actions = self.world.stores.actions
        self.executor = Executor(self.world, since=self.world.now)

    def propose(
        self, number: int, state: ActionState = ActionState.SCHEDULED, **parts: Any
    ) -> Action:
        at = epoch(self.clock.now())
        made = action(
            numbered(number, **parts),
            id=f"action-{number}",
            state=state,
            created_at=at,
            updated_at=at,
        )
        return self.actions.propose(made)

    def begun(self, number: int, holder: str = "somebody") -> Action:
        """An action in flight, on which `holder` works for 30 seconds."""
        claimed = self.actions.claim(self.propose(number).id, holder, 30.0)
        return self.actions.begin(claimed, LIMITS)

    def tick(self) -> list[tuple[str, str]]:
        self.executor.tick()
        return self.prefect.started

    def state(self, action: Action) -> ActionState:
        found = self.actions.get(action.id)
        assert found is not None
        return found.state


@pytest.fixture
def scene(tmp_path: Path, clock: ManualClock) -> Iterator[Scene]:
    made = Scene(tmp_path / "home", clock)
    assert cast(PrefectRest, made.prefect) is made.world.context.prefect
    yield made
    made.world.close()


def test_what_is_due_is_started_once(scene: Scene) -> None:
    scene.propose(1)
    assert scene.tick() == [("action-1", "do")]
    assert scene.tick() == [("action-1", "do")]


def test_no_more_than_may_run_at_once(scene: Scene) -> None:
    scene.begun(0)
    for number in range(1, 5):
        scene.propose(number)
    assert len(scene.tick()) == 2


def test_nothing_that_conflicts_with_what_is_in_flight(scene: Scene) -> None:
    scene.begun(0)
    scene.propose(1, goal_metric="metric-0")
    scene.propose(2)
    assert scene.tick() == [("action-2", "do")]


def test_nothing_before_its_time_or_within_the_cooldown(scene: Scene) -> None:
    begun = scene.begun(0, "somebody")
    scene.propose(1, type=begun.proposal.type, target=begun.proposal.target, goal_metric="other")
    scene.actions.move(begun, ActionState.ROLLED_BACK, "a test")
    assert scene.tick() == []
    scene.clock.advance(61)
    assert scene.tick() == [("action-1", "do")]


def test_what_a_process_is_about_to_begin_is_left_to_it(scene: Scene) -> None:
    scene.actions.claim(scene.propose(1).id, "somebody", 30.0)
    assert scene.tick() == []
    scene.clock.advance(31)
    assert scene.tick() == [("action-1", "do")]


def test_a_dead_process_is_replaced_once_its_lease_is_over(scene: Scene) -> None:
    scene.begun(1)
    assert scene.tick() == []
    scene.clock.advance(31)
    assert scene.tick() == [("action-1", "do")]


def test_a_pause_stops_what_is_due_but_not_the_way_to_a_safe_state(scene: Scene) -> None:
    scene.begun(1)
    scene.propose(2)
    scene.propose(3, ActionState.WAITING_APPROVAL)
    scene.world.stores.control.pause("Ada", "a test")
    scene.clock.advance(31)
    assert scene.tick() == [("action-1", "do")]


def test_the_pause_file_counts_as_well(scene: Scene) -> None:
    scene.propose(1)
    scene.world.settings.home_dir.pause_file.touch()
    assert scene.tick() == []


def test_an_approval_given_elsewhere_ends_the_run_that_asks(scene: Scene) -> None:
    waiting = scene.propose(1, ActionState.WAITING_APPROVAL)
    assert scene.tick() == [("action-1", "ask")]
    scene.prefect.suspend()
    assert scene.tick() == [("action-1", "ask")]
    digest = waiting.proposal.digest
    scene.world.stores.approvals.decide(waiting.id, digest, True, "Ada", "cli")
    assert scene.tick() == [("action-1", "ask"), ("action-1", "do")]
    assert scene.prefect.cancelled == ["run-0"]


def test_an_approval_given_in_prefect_is_carried_out_by_the_run_that_asked(scene: Scene) -> None:
    waiting = scene.propose(1, ActionState.WAITING_APPROVAL)
    scene.tick()
    digest = waiting.proposal.digest
    scene.world.stores.approvals.decide(waiting.id, digest, True, "Ada", "prefect")
    assert scene.tick() == [("action-1", "ask")]
    assert scene.prefect.cancelled == []


def test_a_rejection_ends_the_suspended_run(scene: Scene) -> None:
    waiting = scene.propose(1, ActionState.WAITING_APPROVAL)
    scene.tick()
    scene.prefect.suspend()
    scene.actions.link(waiting.id, flow_run_id="run-0")
    scene.world.stores.approvals.decide(waiting.id, waiting.proposal.digest, False, "Ada", "api")
    scene.tick()
    assert scene.prefect.cancelled == ["run-0"]


def test_a_proposal_that_nobody_approved_in_time_expires(scene: Scene) -> None:
    waiting = scene.propose(1, ActionState.WAITING_APPROVAL)
    scene.clock.advance(86_401)
    scene.tick()
    assert scene.state(waiting) is ActionState.EXPIRED


def test_what_could_not_begin_in_time_expires_and_frees_its_advice(scene: Scene) -> None:
    scene.world.stores.control.pause("Ada", "a test")
    stuck = scene.propose(1)
    scene.clock.advance(86_401)
    scene.tick()
    assert scene.state(stuck) is ActionState.EXPIRED


def test_nothing_is_started_outside_the_maintenance_windows(scene: Scene) -> None:
    now = scene.clock.now()
    begin, end = now + timedelta(hours=1), now + timedelta(hours=2)
    window = f"{begin:%H:%M}-{end:%H:%M}"
    agent = scene.world.settings.agent.model_copy(update={"maintenance_windows": (window,)})
    scene.world.context.settings = scene.world.settings.model_copy(update={"agent": agent})
    scene.propose(1)
    assert scene.tick() == []
    scene.clock.advance(3660)
    assert scene.tick() == [("action-1", "do")]


def test_cancelling_the_flow_run_is_a_person_s_word(scene: Scene) -> None:
    scheduled, begun = scene.propose(1), scene.begun(2)
    scene.clock.advance(31)
    scene.prefect.answers = StartState.CANCELLED
    scene.tick()
    assert scene.state(scheduled) is ActionState.REJECTED
    assert scene.state(begun) is ActionState.ROLLING_BACK
    declined = scene.world.stores.control.all_declined()
    gains = {one.proposal.advice_id: one.proposal.expected.mean for one in (scheduled, begun)}
    assert declined == gains, "what a person stopped is not begun again by itself"


def test_cancelling_the_run_that_asks_declines_the_advice(scene: Scene) -> None:
    waiting = scene.propose(1, ActionState.WAITING_APPROVAL)
    scene.prefect.answers = StartState.CANCELLED
    scene.tick()
    assert scene.state(waiting) is ActionState.REJECTED
    assert scene.world.stores.control.declined("advice-1") is not None


def test_a_question_that_cannot_be_asked_in_prefect_stays_open(scene: Scene) -> None:
    waiting = scene.propose(1, ActionState.WAITING_APPROVAL)
    scene.prefect.answers = StartState.GIVEN_UP
    scene.tick()
    assert scene.state(waiting) is ActionState.WAITING_APPROVAL


def test_a_run_that_fails_for_ever_does_not_hold_its_action(scene: Scene) -> None:
    scheduled, begun = scene.propose(1), scene.begun(2)
    scene.clock.advance(31)
    scene.prefect.answers = StartState.GIVEN_UP
    scene.tick()
    assert scene.state(scheduled) is ActionState.FAILED
    assert scene.state(begun) is ActionState.HANDED_OVER


def test_what_came_of_actions_is_told_once(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    begun = scene.begun(1)
    scene.actions.move(begun, ActionState.FAILED, "no answer")
    with caplog.at_level(logging.INFO, "prime_spark.agent"):
        for _ in range(3):
            scene.tick()
            scene.clock.advance(10)
    (record,) = [one for one in caplog.records if "Action failed" in one.getMessage()]
    assert "action-1" in record.getMessage()
    assert "no answer" in record.getMessage()
    assert vars(record)["action"] == "action-1"
