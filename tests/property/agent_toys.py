"""Some targets with a knob each, and a desk whose process can die anywhere, for property tests."""

# ruff: noqa: ARG002 - the seams name the arguments

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from config.clock import ManualClock
from config.errors import ConflictError
from config.settings import AgentSettings, Settings, ThresholdSettings
from optimizers.capability import Effects, Job, JobState, Prior, Switch, Tools
from optimizers.execution import ActionDesk
from optimizers.knob_effects import KnobEffects
from optimizers.knob_samples import SampledSides
from optimizers.targets.base import Guard, Observed
from registry.agent_actions import ActionStore
from registry.agent_approvals import ApprovalStore
from registry.agent_control import ControlStore
from registry.agent_learning import LearningStore
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
    Verdict,
)
from registry.ledger.database import open_ledger

KNOB = "size"
TYPE = "toy_change"
PAIRED_TYPE = "toy_pairs"
DEADLINE_S = 600.0
MOST_RUNNING = 2
MOST_AN_HOUR = 5
COOLDOWN_S = 2.0


class Killed(BaseException):
    """The process is gone: nobody catches this."""


@dataclass
class ToyTarget:
    """A knob that does what it is told, and complains if that would undo a person's work."""

    name: str
    value: JsonValue = 0
    writes: list[tuple[JsonValue, JsonValue]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def observe(self, at: float, timeout_s: float) -> Observed:
        return Observed()

    def knobs(self) -> Sequence[str]:
        return (KNOB,)

    def read(self, knob: str) -> JsonValue:
        return self.value

    def write(self, change: Change, guard: Guard) -> None:
        guard.check()
        if self.value == change.after:
            return
        if self.value != change.before:
            self.complaints.append(f"{change} would write over {self.value}")
            raise ConflictError(self.complaints[-1])
        self.value = change.after
        self.writes.append((change.before, change.after))


@dataclass
class ToyEffects(KnobEffects):
    """Changes knobs; what verifying says is set from outside, by target."""

    verdicts: Mapping[str, Verdict | None]

    def __post_init__(self) -> None:
        super().__init__(samples=1, every_s=0.0)

    def verify(self, action: Action, tools: Tools) -> Effect | None:
        verdict = self.verdicts[action.proposal.target]
        return Effect(verdict, "as set", 0.1, 0.0, 0.2) if verdict is not None else None


@dataclass
class PairedToyEffects(KnobEffects):
    """The same, in pairs: what the judge says is set from outside."""

    verdicts: Mapping[str, Verdict | None]

    def __post_init__(self) -> None:
        super().__init__(samples=1, every_s=3.0, pairs=True, switch_settle_s=1.0)

    def verify(self, action: Action, tools: Tools) -> Effect | Switch | None:
        known = self.verdicts[action.proposal.target] is not None
        return super().verify(action, tools) if known else None

    def judge(self, action: Action, sides: SampledSides, *, paired: bool) -> Effect:
        verdict = self.verdicts[action.proposal.target]
        assert verdict is not None
        return Effect(verdict, "as set", 0.1, 0.0, 0.2)


@dataclass
class ToyCapability:
    """Carries out every action there is."""

    effects: Effects
    type: str = TYPE
    target: str = ""
    prior: Prior = field(default_factory=lambda: Prior(0.1, 0.2))
    deadline_s: float = DEADLINE_S

    def detect(self, view: object) -> list[Finding]:
        return []

    def propose(self, finding: Finding, view: object) -> list[Proposal]:
        return []


class NoJobs:
    """There is no Prefect here."""

    def start(self, deployment: str, parameters: Mapping[str, JsonValue], key: str) -> Job:
        return Job(JobState.UNKNOWN)

    def find(self, deployment: str, key: str) -> Job:
        return Job(JobState.UNKNOWN)

    def cancel(self, flow_run_id: str) -> None:
        """There is nothing to cancel."""


class MortalStore(ActionStore):
    """A store whose process can be dead: it then gives nothing back."""

    dead = False

    def release(self, action: Action) -> None:
        if not self.dead:
            super().release(action)


class Toys:
    """All of it together, on a ledger in `folder`."""

    def __init__(self, folder: Path, clock: ManualClock, names: Sequence[str]) -> None:
        self.clock = clock
        self.engine = open_ledger(f"sqlite:///{folder}/ledger.db")
        self.actions = MortalStore(self.engine, clock)
        self.approvals = ApprovalStore(self.engine, clock)
        self.control = ControlStore(self.engine, clock)
        self.targets = {name: ToyTarget(name) for name in names}
        self.verdicts: dict[str, Verdict | None] = dict.fromkeys(names, Verdict.IMPROVED)
        self._points_left = 0

    def desk(self, points: int) -> ActionDesk:
        """A desk whose process dies at its `points`-th checkpoint; never at 0."""
        self._points_left = points
        self.actions.dead = False
        return ActionDesk(
            actions=self.actions,
            control=self.control,
            learning=LearningStore(self.engine, self.clock),
            capabilities={
                TYPE: ToyCapability(ToyEffects(self.verdicts)),
                PAIRED_TYPE: ToyCapability(PairedToyEffects(self.verdicts), PAIRED_TYPE),
            },
            tools=Tools(
                targets=dict(self.targets),
                jobs=NoJobs(),
                clock=self.clock,
                wait=self.clock.advance,
                sample=lambda _target, metrics: dict.fromkeys(metrics, 1.0),
            ),
            settings=Settings(
                thresholds=ThresholdSettings(max_concurrent_actions=MOST_RUNNING),
                agent=AgentSettings(
                    changes_per_hour=MOST_AN_HOUR,
                    cooldown_seconds=COOLDOWN_S,
                    settle_seconds=5.0,
                    lease_seconds=30.0,
                ),
            ),
            clock=self.clock,
            paused=lambda: self.control.paused().paused,
            publish=lambda action: f"run-of-{action.id}",
            checkpoint=self._pass,
            poll_s=60.0,
        )

    def _pass(self, _point: str) -> None:
        self._points_left -= 1
        if self._points_left == 0:
            self.actions.dead = True
            raise Killed


def toy_action(
    action_id: str,
    target: ToyTarget,
    after: int,
    goal: str,
    at: float,
    *,
    critical: bool,
    paired: bool,
) -> Action:
    """An action that changes the target's knob from what it is now."""
    proposal = Proposal(
        type=PAIRED_TYPE if paired else TYPE,
        target=target.name,
        advice_id=f"advice of {action_id}",
        key=action_id,
        priority=Priority.CRITICAL if critical else Priority.LOW,
        description="turn the knob",
        parameters={},
        expected=Estimate(0.1, 0.0, 0.2),
        risk=0.2,
        goal_metric=goal,
        goal_direction=Direction.MINIMIZE,
        reversible=True,
        change=Change(KNOB, target.value, after),
    )
    decision = Decision(
        run=True,
        expected_improvement=0.1,
        success_probability=0.8,
        success_low=0.5,
        success_high=0.9,
        exposure=0.1,
        risk=0.2,
        expected_value=0.08,
        score=0.07,
        approval="it is critical" if critical else "",
    )
    state = ActionState.WAITING_APPROVAL if critical else ActionState.SCHEDULED
    return Action(action_id, proposal, decision, state, "as proposed", at, at)
