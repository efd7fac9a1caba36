"""The agent's records: what was seen, found, proposed, decided and done. No input or output here.

Times are float seconds since the epoch (UTC) unless the name says otherwise. A missing value is
absent or None, never 0.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Self

from pydantic import JsonValue

from registry.metric_names import MetricName


class Priority(StrEnum):
    """How urgent an action is, the most urgent first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 for the most urgent."""
        return list(Priority).index(self)


class Severity(StrEnum):
    """How bad a finding is."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Direction(StrEnum):
    """Which way a metric is better."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


class Verdict(StrEnum):
    """Whether an action helped."""

    IMPROVED = "improved"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no_data"


class ActionState(StrEnum):
    """Where an action is in its life."""

    PROPOSED = "proposed"
    WAITING_APPROVAL = "waiting_approval"
    SCHEDULED = "scheduled"
    INTENT = "intent"
    APPLIED = "applied"
    VERIFYING = "verifying"
    COMPLETED = "completed"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    REJECTED = "rejected"
    EXPIRED = "expired"
    FAILED = "failed"
    HANDED_OVER = "handed_over"
    SIMULATED = "simulated"

    @property
    def final(self) -> bool:
        """Nothing more is done by the agent."""
        return self in _FINAL

    @property
    def in_flight(self) -> bool:
        """The world may have been changed, and the outcome is not settled."""
        return self in _IN_FLIGHT


_FINAL = frozenset(
    {
        ActionState.COMPLETED,
        ActionState.ROLLED_BACK,
        ActionState.REJECTED,
        ActionState.EXPIRED,
        ActionState.FAILED,
        ActionState.HANDED_OVER,
        ActionState.SIMULATED,
    }
)
_IN_FLIGHT = frozenset(
    {
        ActionState.INTENT,
        ActionState.APPLIED,
        ActionState.VERIFYING,
        ActionState.ROLLING_BACK,
    }
)


@dataclass(frozen=True, slots=True)
class Observation:
    """One number seen at a target; a target that has no number reports none.

    Attributes:
        metric: name with its unit, such as `inference_latency_ms`.
        labels: what the number belongs to, sorted by name: `(("model", "digits"),)`.
    """

    target: str
    metric: str
    value: float
    at: float
    unit: str = ""
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TargetHealth:
    """How a target answered when it was last looked at."""

    target: str
    ok: bool
    at: float
    seconds: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A relative gain (0.12 is 12 %) with a central interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Change:
    """A knob's value before and after."""

    knob: str
    before: JsonValue
    after: JsonValue


@dataclass(frozen=True, slots=True)
class Finding:
    """Why something should be done: the rule and the numbers that led to it.

    Attributes:
        id: the same for the same rule, target and subject, however often it is found.
        subject: what of the target is meant, such as a model's name; may be empty.
        metrics: the numbers the rule looked at.
    """

    id: str
    rule: str
    target: str
    subject: str
    severity: Severity
    text: str
    at: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a capability would do: a change of a knob, or a job where `change` is None.

    Attributes:
        type: the action type, such as `model_promote`; the capability of that name carries it out.
        advice_id: the same for the same cause, so that advice is not given twice.
        expected: the expected relative improvement of the goal metric.
        risk: 0 to 1.
        goal_metric: what it should improve; `metric@target` where it is of another target, and
            `metric{label="value"}` where one of several series is meant (`registry.metric_names`).
        guardrails: metrics that must not get worse, named likewise.
        conflicts: names of what it must not share with another running action, besides its target,
            knob and goal metric.
        key: names the effect: doing the same again under the same key changes nothing.
        subject: what of the target is meant, such as a model's name; empty for all of it. Actions
            on different subjects of one target do not conflict.
    """

    type: str
    target: str
    advice_id: str
    key: str
    priority: Priority
    description: str
    parameters: Mapping[str, JsonValue]
    expected: Estimate
    risk: float
    goal_metric: str
    goal_direction: Direction
    reversible: bool
    change: Change | None = None
    guardrails: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    finding_ids: tuple[str, ...] = ()
    subject: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of the whole proposal: what an approval is bound to."""
        return hashlib.sha256(canonical_json(asdict(self)).encode()).hexdigest()

    @property
    def domains(self) -> frozenset[str]:
        """What no two running actions may share: else their effects cannot be told apart."""
        part = f"/{self.subject}" if self.subject else ""
        goal = MetricName.parse(self.goal_metric).metric
        own = {f"target:{self.target}{part}", f"goal:{goal}{part}"}
        if self.change is not None:
            own.add(f"knob:{self.change.knob}")
        return frozenset(own | set(self.conflicts))


@dataclass(frozen=True, slots=True)
class Decision:
    """The numbers and the outcome of the decision formula, kept as they were.

    Attributes:
        run: the formula says yes.
        approval: why a person has to approve; empty when nobody has to.
        reasons: each criterion in a sentence, met or not.
        would_change: what would turn the decision round.
    """

    run: bool
    expected_improvement: float
    success_probability: float
    success_low: float
    success_high: float
    exposure: float
    risk: float
    expected_value: float
    score: float
    reasons: tuple[str, ...] = ()
    would_change: tuple[str, ...] = ()
    approval: str = ""


@dataclass(frozen=True, slots=True)
class Effect:
    """What an action did to its goal metric, as the effect judge found it.

    Attributes:
        gain: relative improvement, positive is better; None without data.
        low, high: its interval.
        worsened: guardrail metrics that got worse.
    """

    verdict: Verdict
    reason: str
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    worsened: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Action:
    """A proposal under its own id, and what has become of it.

    Attributes:
        token: fencing token: grows with each holder that works on it.
        intent: how it is to be carried out and undone, committed before any effect.
        progress: what the steps have noted for whoever goes on after them.
        undo_failures: attempts to put the value back that failed.
    """

    id: str
    proposal: Proposal
    decision: Decision
    state: ActionState
    reason: str
    created_at: float
    updated_at: float
    due_at: float | None = None
    deadline_at: float | None = None
    holder: str | None = None
    token: int = 0
    lease_expires_at: float | None = None
    approved_by: str | None = None
    approval_id: str | None = None
    flow_run_id: str | None = None
    run_id: str | None = None
    intent: Mapping[str, JsonValue] = field(default_factory=dict)
    progress: Mapping[str, JsonValue] = field(default_factory=dict)
    effect: Effect | None = None
    undo_failures: int = 0
    executed_at: float | None = None
    finished_at: float | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write, for a time; the token, not the clock, decides who may.

    Attributes:
        ttl_s: for how long it is taken and renewed, seconds.
    """

    name: str
    holder: str
    token: int
    expires_at: float
    ttl_s: float = 30.0


@dataclass(frozen=True, slots=True)
class StartLimits:
    """What may be started at all, whoever starts it.

    Attributes:
        max_concurrent: actions in flight at the same time.
        changes_per_hour, changes_per_day: actions started within the last hour and day.
        cooldown_s: seconds between two starts of one action type on one target.
    """

    max_concurrent: int
    changes_per_hour: int
    changes_per_day: int
    cooldown_s: float


@dataclass(frozen=True, slots=True)
class Learned:
    """What is known of an action type (on a target, or over all: `target` empty).

    A Beta posterior of success and a Normal one of the improvement; see `optimizers.learning`.
    """

    type: str
    target: str
    successes: float
    failures: float
    mean: float
    weight: float
    sum_sq: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class Goal:
    """A metric, the value wanted, which way is better, and how much it counts."""

    goal_id: str
    metric_name: str
    target_value: float
    direction: Direction
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class GoalProgress:
    """A goal and where it stands; `current` None when the metric is missing."""

    goal: Goal
    current: float | None
    achieved: bool
    progress: float | None

    @classmethod
    def of(cls, goal: Goal, current: float | None) -> Self:
        """Compare a goal with its metric's present value.

        Progress is the share of the target that is reached, 0 to 1: target / current where less is
        better, current / target where more is. Where a ratio says nothing, because one of the two
        is not above 0, it is 1 for an achieved goal and 0 for any other.
        """
        if current is None or not math.isfinite(current):
            return cls(goal, None, False, None)
        target = goal.target_value
        less = goal.direction is Direction.MINIMIZE
        achieved = current <= target if less else current >= target
        if achieved or target <= 0 or current <= 0:
            return cls(goal, current, achieved, float(achieved))
        return cls(goal, current, False, target / current if less else current / target)


def canonical_json(value: object) -> str:
    """Return the one JSON text of a value: keys sorted, no spaces, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
