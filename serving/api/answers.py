"""The shapes of the API's answers and requests about actions, goals and the agent itself.

Times are ISO 8601 in UTC. What is not known is null, never 0. Actions, as in the specification,
are named by `action_id`, and their state is their `status`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Item = TypeVar("Item")

Way = Literal["minimize", "maximize"]


class Answer(BaseModel):
    """What the API gives; built from records that were checked already."""

    model_config = ConfigDict(frozen=True)


class Question(BaseModel):
    """What the API takes; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Page(Answer, Generic[Item]):
    """One page of a list; `next` is the `after` of the next page, null on the last one."""

    items: list[Item]
    next: str | None = None


class GoalShort(Answer):
    """A goal within the status."""

    metric: str
    target: float
    current: float | None
    achieved: bool


class Stats(Answer):
    """What has become of the actions that were carried out.

    `failed_actions` are those that failed, were rolled back or handed over; `total_improvement` is
    the sum of the measured relative improvements.
    """

    total_actions: int
    successful_actions: int
    failed_actions: int
    total_improvement: float


class Status(Answer):
    """The agent at a glance; `state` is `down` while no agent runs, `paused` while it is held."""

    state: str
    uptime_seconds: int
    pending_actions: int
    active_actions: int
    completed_actions: int
    goals: list[GoalShort]
    stats: Stats


class ActionResult(Answer):
    """How an action ended; `error` is there only if it did not succeed."""

    success: bool
    actual_improvement: float | None
    error: str | None = Field(default=None, exclude_if=lambda error: error is None)


class RecentAction(Answer):
    """An action in a few words."""

    action_id: str
    type: str
    description: str
    status: str
    executed_at: datetime | None
    result: ActionResult | None


class GoalAnswer(Answer):
    """A goal and how far it is reached; `progress` is 0 to 1."""

    goal_id: str
    metric_name: str
    target_value: float
    current_value: float | None
    direction: Way
    weight: float
    achieved: bool
    progress: float | None


class GoalQuestion(Question):
    """A goal as it should be from now on."""

    goal_id: str | None = Field(default=None, min_length=1, max_length=200)
    metric_name: str = Field(min_length=1, max_length=200)
    target_value: float
    direction: Way
    weight: float = Field(default=1.0, ge=0.0, le=1000.0)


class GoalsQuestion(Question):
    """All goals that hold from now on."""

    goals: list[GoalQuestion] = Field(max_length=100)


class ApproveQuestion(Question):
    """A person's word on an action.

    Attributes:
        digest: the proposal that was looked at; if the action is another by now, it is refused.
        note: why, for the record.
    """

    action_id: str = Field(min_length=1, max_length=200)
    approved: bool
    digest: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    note: str = Field(default="", max_length=1000)


class ApproveAnswer(Answer):
    """What has become of the action through a person's word."""

    action_id: str
    approved: bool
    status: str
    by: str
    digest: str


class PauseQuestion(Question):
    """Why the agent is to stop."""

    reason: str = Field(default="", max_length=1000)


class PauseAnswer(Answer):
    """Whether the agent is held, and by whom."""

    paused: bool
    by: str
    reason: str
    at: datetime | None


class LoopAnswer(Answer):
    """When a loop of the agent was last through, and how long that took.

    Attributes:
        trouble: why its last turn failed; empty when it did not.
        skipped: why it rests; empty when it does not.
    """

    at: datetime | None
    seconds: float | None
    trouble: str = ""
    skipped: str = ""


class AgentAnswer(Answer):
    """The agent's process: whether it lives, and what its loops do.

    Attributes:
        up: it has shown a sign of life lately.
        reason: a sentence about why it is not up, or does not act.
        score: how far all goals are reached together, 0 to 100; null when nothing is known.
        plugins_off: plugins that did not load and are left out, with the reason.
    """

    up: bool
    state: str
    reason: str
    agent_id: str | None
    pid: int | None
    version: str | None
    started_at: datetime | None
    last_beat_at: datetime | None
    uptime_seconds: int
    loops: dict[str, LoopAnswer]
    paused: PauseAnswer
    score: float | None = None
    automatic_actions: bool
    simulation_mode: bool
    plugins_off: list[str] = []


class EstimateAnswer(Answer):
    """A relative gain (0.12 is 12 %) with its interval."""

    mean: float
    low: float
    high: float


class ChangeAnswer(Answer):
    """A knob's value before and after."""

    knob: str
    before: JsonValue
    after: JsonValue


class ProposalAnswer(Answer):
    """What is, or was, to be done; `digest` is what an approval is bound to."""

    digest: str
    advice_id: str
    key: str
    parameters: dict[str, JsonValue]
    change: ChangeAnswer | None
    goal_metric: str
    goal_direction: Way
    guardrails: list[str]
    domains: list[str]
    finding_ids: list[str]


class DecisionAnswer(Answer):
    """The numbers of the decision formula as they were."""

    run: bool
    approval: str
    expected_improvement: float
    success_probability: float
    success_low: float
    success_high: float
    exposure: float
    risk: float
    expected_value: float
    score: float
    reasons: list[str]
    would_change: list[str]


class EffectAnswer(Answer):
    """What an action did to its goal metric."""

    verdict: str
    reason: str
    gain: float | None
    low: float | None
    high: float | None
    worsened: list[str]


class ActionSummary(RecentAction):
    """An action as lists show it; its success is as probable as between `…_low` and `…_high`."""

    target: str
    priority: str
    risk: float
    expected_improvement: EstimateAnswer
    success_probability: float
    success_low: float
    success_high: float
    reversible: bool
    approval: str
    reason: str
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None


class EventAnswer(Answer):
    """One entry of the ledger."""

    id: int
    at: datetime
    kind: str
    subject: str
    body: dict[str, JsonValue]
    previous_hash: str
    hash: str


class ActionStory(ActionSummary):
    """Everything known of an action, and what happened to it, oldest first."""

    proposal: ProposalAnswer
    decision: DecisionAnswer
    effect: EffectAnswer | None
    intent: dict[str, JsonValue]
    progress: dict[str, JsonValue]
    undo_failures: int
    due_at: datetime | None
    deadline_at: datetime | None
    holder: str | None
    approved_by: str | None
    approval_id: str | None
    flow_run_id: str | None
    run_id: str | None
    events: list[EventAnswer]


class FindingAnswer(Answer):
    """Why something should be done: the rule and the numbers that led to it."""

    id: str
    rule: str
    target: str
    subject: str
    severity: str
    text: str
    metrics: dict[str, float]
    parameters: dict[str, JsonValue]
    first_at: datetime
    last_at: datetime
    cleared_at: datetime | None


class ExplainAnswer(Answer):
    """Why an action was decided as it was, and what would have turned the decision round."""

    action_id: str
    type: str
    target: str
    description: str
    status: str
    reason: str
    findings: list[FindingAnswer]
    decision: DecisionAnswer
    formula: str
    text: str


class TokenQuestion(Question):
    """A token that is to be made."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9._-]{0,63}$")
    scope: Literal["read", "approve", "admin"]


class TokenAnswer(Answer):
    """A token without its secret."""

    name: str
    scope: str
    created_at: datetime


class NewTokenAnswer(TokenAnswer):
    """A token that was just made; its secret is shown this once."""

    token: str
