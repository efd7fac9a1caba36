"""A small world on disk for actions to work on: the toy, and a real ledger beside it."""

# ruff: noqa: ARG002 - the seams name the arguments

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import JsonValue
from sqlalchemy import Connection, Engine, event

from config.clock import ManualClock, epoch
from config.errors import UnavailableError
from config.settings import AgentSettings, SafetySettings, Settings
from optimizers import execution, execution_desk
from optimizers.capability import Effects, JobState, Prior, Seen, Sight, Tools
from optimizers.knob_effects import KnobEffects
from optimizers.knob_samples import SampledSides
from optimizers.switching import standing_of
from optimizers.targets.base import Guard
from registry import agent_actions, agent_control, agent_learning
from registry.agent_records import (
    Action,
    ActionState,
    Change,
    Decision,
    Direction,
    Effect,
    Estimate,
    Finding,
    Priority,
    Proposal,
)
from registry.ledger.database import open_ledger
from tests.crash.toys import (
    AFTER,
    BEFORE,
    KNOB,
    PERSONS,
    SWITCH_SETTLE_S,
    TARGET,
    Case,
    Checkpoint,
    FileJobs,
    Gauge,
    Journal,
    Knobs,
)

ACTION = "action-3"
"""Of its pairs the first two begin without the change, the third with it."""

START = datetime(2025, 6, 1, 12, 0, tzinfo=UTC)
PAIRS = 3
ORDER = (BEFORE, AFTER, BEFORE, AFTER, AFTER, BEFORE)
"""How the knob stands, half after half, while the action is measured in pairs."""

LEASE_S = 30.0
BETWEEN_ATTEMPTS_S = 40.0
DEADLINE_S = 900.0
JOB_S = 20.0


class NeverEnds(Exception):
    """An action has gone on far beyond all its deadlines."""


@dataclass
class ScriptedKnob(KnobEffects):
    """Changes the knob for real; what the case says stands in for the judge."""

    case: Case = field(default_factory=lambda: Case("none", frozenset()))

    def __post_init__(self) -> None:
        super().__init__(samples=2, every_s=1.0)

    def verify(self, action: Action, tools: Tools) -> Effect | None:
        if self.case.verdict is None or not isinstance(action.progress.get("before"), dict):
            return None
        return Effect(self.case.verdict, "as scripted", 0.1, 0.05, 0.15, self.case.worsened)


@dataclass
class ScriptedPairs(KnobEffects):
    """Switches the knob for real, pair by pair; what the case says stands in for the judge."""

    case: Case = field(default_factory=lambda: Case("none", frozenset()))

    def __post_init__(self) -> None:
        pairs = PAIRS if self.case.verdict is not None else 1000
        super().__init__(samples=pairs, every_s=6.0, pairs=True, switch_settle_s=SWITCH_SETTLE_S)

    def judge(self, action: Action, sides: SampledSides, *, paired: bool) -> Effect:
        assert self.case.verdict is not None
        return Effect(self.case.verdict, "as scripted", 0.1, 0.05, 0.15, self.case.worsened)


@dataclass
class ScriptedJob:
    """Starts a job, waits for it, and then says what the case says."""

    case: Case

    def look(self, action: Action, tools: Tools) -> Seen:
        match tools.jobs.find("work", action.proposal.key).state:
            case JobState.UNKNOWN:
                return Seen(Sight.BEFORE)
            case JobState.RUNNING:
                return Seen(Sight.UNDER_WAY)
        return Seen(Sight.AFTER)

    def apply(self, action: Action, guard: Guard, tools: Tools) -> Mapping[str, JsonValue]:
        guard.check()
        if self.case.trouble == "deaf":
            raise UnavailableError("no job can be started")
        tools.jobs.start("work", {}, action.proposal.key)
        if self.case.trouble == "lost":
            raise UnavailableError("the answer was lost")
        return {}

    def verify(self, action: Action, tools: Tools) -> Effect | None:
        done = tools.jobs.find("work", action.proposal.key).state is JobState.DONE
        if not done or self.case.verdict is None:
            return None
        return Effect(self.case.verdict, "as scripted", 0.1, 0.05, 0.15, self.case.worsened)

    def undo(self, action: Action, guard: Guard, tools: Tools) -> None:
        guard.check()
        job = tools.jobs.find("work", action.proposal.key)
        if job.state is JobState.RUNNING and job.flow_run_id is not None:
            tools.jobs.cancel(job.flow_run_id)


@dataclass
class ToyCapability:
    """Carries out the one action there is."""

    effects: Effects
    type: str = "toy_change"
    target: str = TARGET
    prior: Prior = field(default_factory=lambda: Prior(0.1, 0.2))
    deadline_s: float = DEADLINE_S

    def detect(self, view: object) -> list[Finding]:
        return []

    def propose(self, finding: Finding, view: object) -> list[Proposal]:
        return []


def effects_of(case: Case) -> Effects:
    """How the case's action touches the world."""
    if case.is_job:
        return ScriptedJob(case)
    return ScriptedPairs(case) if case.pairs else ScriptedKnob(case)


def proposal_of(case: Case) -> Proposal:
    """What the case's action is to do."""
    return Proposal(
        type="toy_change",
        target=TARGET,
        advice_id="advice-1",
        key="key-1",
        priority=Priority.HIGH,
        description="make the toy larger",
        parameters={},
        expected=Estimate(0.1, 0.05, 0.15),
        risk=0.2,
        goal_metric="toy_ms",
        goal_direction=Direction.MINIMIZE,
        reversible=case.kind != "final",
        change=None if case.is_job else Change(KNOB, BEFORE, AFTER),
    )


DECISION = Decision(
    run=True,
    expected_improvement=0.1,
    success_probability=0.8,
    success_low=0.6,
    success_high=0.9,
    exposure=0.1,
    risk=0.2,
    expected_value=0.08,
    score=0.07,
)


_engines: dict[Path, Engine] = {}
_opened: list[Path] = []


def ledger_of(folder: Path) -> Engine:
    """The ledger in a folder, by the one engine of this bench, which has its statements compiled.

    Every place of a bench holds a copy of the same ledger; only one of them is open at a time.
    """
    _opened[:] = [folder / "ledger.db"]
    engine = _engines.get(folder.parent)
    if engine is None:
        engine = _engines[folder.parent] = open_ledger(f"sqlite:///{folder}/ledger.db")
        engine.dispose()

        @event.listens_for(engine, "do_connect")
        def _elsewhere(_dialect: object, _record: object, args: list[str], _rest: object) -> None:
            args[0] = str(_opened[0])

    return engine


class AgentWorld:
    """The ledger, the toy and a desk, as one process sees them.

    Args:
        folder: where everything is kept.
        case: what is to happen in it.
        attempt: how many processes worked on it before; each comes after the last one's lease.
        checkpoint: called at every named point, and before each commit of the ledger.
        engine: the ledger; the one in the folder by default.
    """

    def __init__(
        self,
        folder: Path,
        case: Case,
        *,
        attempt: int = 0,
        checkpoint: Checkpoint = lambda _point: None,
        engine: Engine | None = None,
    ) -> None:
        self.case = case
        self._checkpoint = checkpoint
        self.clock = ManualClock(START + timedelta(seconds=BETWEEN_ATTEMPTS_S * attempt))
        self.engine = ledger_of(folder) if engine is None else engine
        event.listen(self.engine, "commit", self._before_commit)
        self.actions = agent_actions.ActionStore(self.engine, self.clock)
        self.control = agent_control.ControlStore(self.engine, self.clock)
        self.learning = agent_learning.LearningStore(self.engine, self.clock)
        self.knobs = Knobs(folder, case, self.clock, self.checkpoint)
        job_s = 10 * DEADLINE_S if case.trouble == "hangs" else JOB_S
        self.jobs = FileJobs(folder, self.clock, self.checkpoint, job_s)
        self.knobs.ledger_state = self.jobs.ledger_state = self._state
        self.published = Journal(folder / "published.log")
        self.happened = Journal(folder / "happened.log")

    def close(self) -> None:
        event.remove(self.engine, "commit", self._before_commit)
        self.engine.dispose()

    def propose(self) -> None:
        """Schedule the case's action."""
        now = epoch(self.clock.now())
        self.actions.propose(
            Action(ACTION, proposal_of(self.case), DECISION, ActionState.SCHEDULED, "", now, now)
        )

    def run(self, holder: str) -> Action:
        """Let one process work on the action as long as it can."""
        return execution.run_action(self.desk(), ACTION, holder)

    def desk(self) -> execution_desk.ActionDesk:
        case = self.case
        return execution_desk.ActionDesk(
            actions=self.actions,
            control=self.control,
            learning=self.learning,
            capabilities={"toy_change": ToyCapability(effects_of(case))},
            tools=Tools(
                targets={TARGET: self.knobs},
                jobs=self.jobs,
                clock=self.clock,
                wait=self._wait,
                sample=Gauge(self.knobs, self.clock).sample,
            ),
            settings=Settings(
                agent=AgentSettings(lease_seconds=LEASE_S, settle_seconds=10.0),
                safety=SafetySettings(
                    rollback_on_failure=case.rollback, simulation_mode=case.simulated
                ),
            ),
            clock=self.clock,
            paused=lambda: self.control.paused().paused,
            publish=self._publish,
            checkpoint=self.checkpoint,
            poll_s=60.0 if case.verdict is None or case.trouble == "hangs" else 5.0,
        )

    def checkpoint(self, point: str) -> None:
        """Let happen what happens at this point, undisturbed, then pass it on."""
        where, what = self.case.at
        if point == where and not self.happened.lines():
            passes, self._checkpoint = self._checkpoint, lambda _point: None
            if what == "pause":
                self.control.pause("a person", "to see")
            else:
                other = AFTER if self.knobs.value() == BEFORE else BEFORE
                self.knobs.turn(PERSONS if what == "edit" else other)
            self.happened.add({"what": what})
            self._checkpoint = passes
        self._checkpoint(point)

    def _wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        if self.clock.monotonic() > 10 * DEADLINE_S:
            raise NeverEnds

    def _before_commit(self, connection: Connection) -> None:
        if connection.get_execution_options().get("ledger_write"):
            self._checkpoint("commit")

    def _state(self) -> str:
        """What the ledger says of the action: its state, and the switch that is noted."""
        action = self.actions.get(ACTION)
        if action is None:
            return "none"
        to = standing_of(action).to
        if action.state is not ActionState.VERIFYING or to is None:
            return action.state.value
        return f"to {to}, paused" if self.control.paused().paused else f"to {to}"

    def _publish(self, action: Action) -> str:
        self.published.add({"action": action.id, "state": action.state.value})
        return f"run-of-{action.id}"
