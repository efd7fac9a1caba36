"""`model_rollback`: bring the former champion back when late labels show that it was better.

Trigger: the life-cycle's plan asks for it, on the labels of the test that was won too early.
Effect: the alias `@champion` back on the version behind `@previous`. Verified like a promotion;
undone by moving the alias forward again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from config.settings import Settings
from optimizers.advice import advice_id
from optimizers.capability import Effects
from optimizers.models.capabilities.priors import PRIORS
from optimizers.models.capabilities.steps import (
    believed,
    finding_of,
    guardrails_beside,
    model_goal,
    step_in,
    steps_of,
)
from optimizers.models.champion_effects import ACTOR, UNSEEN, ChampionEffects
from optimizers.models.desk import Desk
from optimizers.models.facts import TARGET, alias_knob, facts_of
from optimizers.models.lifecycle import StepKind
from optimizers.models.promotion import Promotion, roll_back
from optimizers.view import View
from registry.agent_records import Action, Change, Finding, Priority, Proposal, Severity
from registry.records import CHAMPION_ALIAS

_MARGIN_S = 120.0


class ModelRollback:
    """Takes champions back that late labels show to be worse than the former one."""

    type = "model_rollback"
    target = TARGET
    prior = PRIORS["model_rollback"]

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        agent = settings.agent
        self.deadline_s = agent.settle_seconds + agent.verify_seconds + _MARGIN_S
        self.effects: Effects = ChampionEffects(_roll_back)

    def detect(self, view: View) -> Sequence[Finding]:
        """Champions that do worse than the version they replaced."""
        steps = steps_of(view, self._settings, StepKind.ROLLBACK)
        return [finding_of(self.type, step, view.at, Severity.CRITICAL) for _, step in steps]

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:
        """Move the alias back; nothing where no version stands behind @previous."""
        step, goal = step_in(finding), model_goal(self._settings)
        seen = facts_of(view).views.get(step.model)
        back = seen.previous if seen is not None else None
        if back is None or back == step.version:
            return []
        return [
            Proposal(
                type=self.type,
                target=TARGET,
                subject=step.model,
                advice_id=advice_id(self.type, TARGET, step.model, step.version, back),
                key=step.key,
                priority=Priority.HIGH,
                description=f"Roll {step.model} back to version {back}: {step.reason}",
                parameters={"model": step.model, "version": step.version, "reason": step.reason},
                expected=believed(self.prior),
                risk=self.prior.risk,
                goal_metric=goal.metric,
                goal_direction=goal.direction,
                reversible=True,
                change=Change(alias_knob(step.model, CHAMPION_ALIAS), step.version, back),
                guardrails=guardrails_beside(goal),
                finding_ids=(finding.id,),
            )
        ]


def _roll_back(desk: Desk, action: Action, permit: Callable[[], None]) -> Promotion:
    version, reason = action.proposal.parameters["version"], action.proposal.parameters["reason"]
    assert isinstance(version, int)
    return roll_back(
        desk,
        action.proposal.subject,
        version,
        UNSEEN,
        actor=ACTOR,
        reason=str(reason),
        flow_run_id=action.flow_run_id,
        permit=permit,
    )
