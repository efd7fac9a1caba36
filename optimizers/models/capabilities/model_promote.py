"""`model_promote`: make a version the champion after it has its verdict.

Trigger: the life-cycle's plan asks for a promotion: a trial was won, or a first version passed its
benchmark. Effect: the alias `@champion`, and with it all traffic. Verified by the predictor serving
the version and by the guardrails; undone by moving the alias back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from config.settings import Settings
from optimizers.capability import Effects
from optimizers.models.at_work import working_on
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
from optimizers.models.promotion import Promotion, promote
from optimizers.view import View
from registry.agent_records import Action, Finding, Proposal

_MARGIN_S = 120.0


class ModelPromote:
    """Promotes versions that have their verdict."""

    type = "model_promote"
    target = TARGET
    prior = PRIORS["model_promote"]

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        agent = settings.agent
        self.deadline_s = agent.settle_seconds + agent.verify_seconds + _MARGIN_S
        self.effects: Effects = ChampionEffects(_promote)

    def detect(self, view: View) -> Sequence[Finding]:
        """Versions that won; a half-done promotion is left to whoever began it."""
        steps = steps_of(view, self._settings, StepKind.PROMOTE)
        return [
            finding_of(self.type, step, view.at)
            for _, step in steps
            if step.champion != step.version
        ]

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:
        """Move the alias."""
        step = step_in(finding)
        measured = facts_of(view).gains.get((step.model, step.version))
        return [
            alias_proposal(
                self.type,
                finding,
                self._settings,
                self.prior,
                to=step.version,
                description=f"Promote version {step.version} of {step.model}: {step.reason}",
                parameters={"measured": measured is not None},
                expected=measured,
            )
        ]


def _promote(desk: Desk, action: Action, permit: Callable[[], None]) -> Promotion:
    version = action.proposal.parameters["version"]
    assert isinstance(version, int)
    model = action.proposal.subject
    with working_on(desk, model, version):
        return promote(
            desk,
            model,
            version,
            UNSEEN,
            actor=ACTOR,
            flow_run_id=action.flow_run_id,
            permit=permit,
        )
