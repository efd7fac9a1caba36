"""`model_rollback`: bring the former champion back when late labels show that it was better.

Trigger: the life-cycle's plan asks for it, on the labels of the test that was won too early.
Effect: the alias `@champion` back on the version behind `@previous`. Verified like a promotion;
undone by moving the alias forward again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from config.settings import Settings
from optimizers.capability import Effects
from optimizers.models.capabilities.priors import PRIORS
from optimizers.models.capabilities.steps import (
    alias_proposal,
    finding_of,
    step_in,
    steps_of,
)
from optimizers.models.champion_effects import ACTOR, UNSEEN, ChampionEffects
from optimizers.models.desk import Desk
from optimizers.models.facts import TARGET, facts_of
from optimizers.models.lifecycle import StepKind
from optimizers.models.promotion import Promotion, roll_back
from optimizers.view import View
from registry.agent_records import Action, Finding, Proposal, Severity

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
        step = step_in(finding)
        seen = facts_of(view).views.get(step.model)
        back = seen.previous if seen is not None else None
        if back is None or back == step.version:
            return []
        return [
            alias_proposal(
                self.type,
                finding,
                self._settings,
                self.prior,
                to=back,
                description=f"Roll {step.model} back to version {back}: {step.reason}",
                parameters={"reason": step.reason},
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
