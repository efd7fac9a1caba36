"""What the capabilities share that follow the life-cycle's plan: finding steps, and proposing them.

The plan itself is `optimizers.models.watching.plan`: pure, and the same that `watch_models` starts
when `models.driver` is `watch`. Here it is only turned into findings, and findings into proposals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from config.settings import Settings
from optimizers.advice import advice_id
from optimizers.capability import Prior, Tools
from optimizers.job_effects import FLOW
from optimizers.models.facts import TARGET, alias_knob, facts_of
from optimizers.models.lifecycle import Step, StepKind, key_of
from optimizers.models.model_tools import model_tools
from optimizers.models.step_parameters import parameters_of
from optimizers.models.watching import ModelView, plan
from optimizers.view import View
from registry.agent_records import (
    Action,
    Change,
    Direction,
    Estimate,
    Finding,
    Priority,
    Proposal,
    Severity,
)
from registry.records import CHAMPION_ALIAS
from registry.trial_config import ABTestConfig
from registry.trial_config import Direction as TrialDirection

_GUARDRAILS = ("error_rate", "inference_latency_ms")
AGENT = "agent"


def steps_of(view: View, settings: Settings, kind: StepKind) -> Iterator[tuple[ModelView, Step]]:
    """The planned steps of one kind; none while `watch_models` drives the life-cycle."""
    if settings.models.driver != AGENT:
        return
    for one in facts_of(view).views.values():
        for step in plan(one, settings.models):
            if step.kind is kind:
                yield one, step


def finding_of(type_: str, step: Step, at: float, severity: Severity = Severity.INFO) -> Finding:
    """A planned step as a finding."""
    return Finding(
        id=f"{type_}:{step.model}:{step.version}",
        rule=type_,
        target=TARGET,
        subject=step.model,
        severity=severity,
        text=f"{step.model} version {step.version}: {step.reason}",
        at=at,
        parameters={
            "version": step.version,
            "champion": step.champion,
            "test_id": step.test_id,
            "key": step.key,
            "reason": step.reason,
            "kind": step.kind.value,
        },
    )


def step_in(finding: Finding) -> Step:
    """The step a finding was made of."""
    of = finding.parameters
    version, champion = of["version"], of["champion"]
    assert isinstance(version, int)
    return Step(
        kind=StepKind(str(of["kind"])),
        model=finding.subject,
        version=version,
        reason=str(of["reason"]),
        key=str(of["key"]),
        champion=champion if isinstance(champion, int) else None,
        test_id=str(of["test_id"]) if of["test_id"] is not None else None,
    )


def believed(prior: Prior) -> Estimate:
    """The gain of a prior: nobody has measured it, so anything up to its double is as likely."""
    return Estimate(prior.improvement, 0.0, 2 * prior.improvement)


@dataclass(frozen=True, slots=True)
class GoalOfModels:
    """The metric that model actions should improve."""

    metric: str
    direction: Direction


def model_goal(settings: Settings) -> GoalOfModels:
    """The success metric of A/B tests, and which way of it is better."""
    metric = settings.experiment.success_metric
    probe = ABTestConfig(test_id="x", model="x", model_a=1, model_b=2, success_metric=metric)
    smaller = probe.better is TrialDirection.MINIMIZE
    return GoalOfModels(metric, Direction.MINIMIZE if smaller else Direction.MAXIMIZE)


def guardrails_beside(goal: GoalOfModels) -> tuple[str, ...]:
    """What a new champion must not make worse, besides its goal."""
    return tuple(one for one in _GUARDRAILS if one != goal.metric)


def job_proposal(  # noqa: PLR0913 - these are the parts of a proposal
    type_: str,
    finding: Finding,
    settings: Settings,
    prior: Prior,
    *,
    description: str,
    priority: Priority = Priority.MEDIUM,
    parameters: Mapping[str, JsonValue] | None = None,
) -> Proposal:
    """A planned step as a job: a run of its flow under the step's own key."""
    step, goal = step_in(finding), model_goal(settings)
    return Proposal(
        type=type_,
        target=TARGET,
        subject=step.model,
        advice_id=advice_id(type_, TARGET, step.model, step.version, step.champion or 0),
        key=step.key,
        priority=priority,
        description=description,
        parameters={
            "model": step.model,
            "version": step.version,
            "champion": step.champion,
            **(parameters or {}),
            FLOW: parameters_of(step),
        },
        expected=believed(prior),
        risk=prior.risk,
        goal_metric=goal.metric,
        goal_direction=goal.direction,
        reversible=True,
        finding_ids=(finding.id,),
    )


def alias_proposal(  # noqa: PLR0913 - these are the parts of a proposal
    type_: str,
    finding: Finding,
    settings: Settings,
    prior: Prior,
    *,
    to: int,
    description: str,
    parameters: Mapping[str, JsonValue],
    expected: Estimate | None = None,
) -> Proposal:
    """A planned step as a change of `@champion`, from the version there is to version `to`."""
    step, goal = step_in(finding), model_goal(settings)
    return Proposal(
        type=type_,
        target=TARGET,
        subject=step.model,
        advice_id=advice_id(type_, TARGET, step.model, to, step.champion or 0),
        key=step.key,
        priority=Priority.HIGH,
        description=description,
        parameters={"model": step.model, "version": step.version, **parameters},
        expected=expected or believed(prior),
        risk=prior.risk,
        goal_metric=goal.metric,
        goal_direction=goal.direction,
        reversible=True,
        change=Change(alias_knob(step.model, CHAMPION_ALIAS), step.champion, to),
        guardrails=guardrails_beside(goal),
        finding_ids=(finding.id,),
    )


def moved_on(action: Action, tools: Tools, kind: StepKind) -> str:
    """Say why a step planned for a version's stage is no longer called for, if it stands elsewhere.

    The key of such a step holds the stage it was planned for.
    """
    model, version = action.proposal.subject, action.proposal.parameters.get("version")
    if not isinstance(version, int):
        return "it names no version"
    stage = model_tools(tools).desk.lifecycle.get(model, version)
    if key_of(kind, model, version, stage) == action.proposal.key:
        return ""
    return f"version {version} of {model} is {stage.stage if stage else 'unseen'} by now"
