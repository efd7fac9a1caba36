"""`model_retrain`: train a new version when the champion's accuracy on live labels is too low.

Trigger: the life-cycle's plan asks for retraining (accuracy below `models.accuracy_threshold` on
enough labels, outside of the cool-down). Effect: a run of the flow `retrain`, which calls the
user's own training; the version it makes goes through benchmark and trial like any other. Undoing
it ends the run.
"""

from __future__ import annotations

from collections.abc import Sequence

from config.settings import Settings
from optimizers.capability import Effects, Job, Tools
from optimizers.job_effects import JobEffects
from optimizers.models.capabilities.priors import PRIORS
from optimizers.models.capabilities.steps import finding_of, job_proposal, steps_of
from optimizers.models.facts import TARGET, facts_of
from optimizers.models.lifecycle import StepKind
from optimizers.models.model_tools import model_tools
from optimizers.view import View
from registry.agent_records import Action, Effect, Finding, Priority, Proposal, Severity, Verdict
from registry.records import CHAMPION_ALIAS

# Training is the user's own and may take hours; it runs in its own process all the while.
_DEADLINE_S = 12 * 3600.0


class ModelRetrain:
    """Has degraded champions trained anew."""

    type = "model_retrain"
    target = TARGET
    prior = PRIORS["model_retrain"]
    deadline_s = _DEADLINE_S

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.effects: Effects = JobEffects("retrain", _judge, _outdated)

    def detect(self, view: View) -> Sequence[Finding]:
        """Champions that are right too seldom."""
        steps = steps_of(view, self._settings, StepKind.RETRAIN)
        return [finding_of(self.type, step, view.at, Severity.WARNING) for _, step in steps]

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:
        """Train a new version."""
        versions = facts_of(view).views[finding.subject].versions
        newest = max((one.version for one in versions), default=0)
        return [
            job_proposal(
                self.type,
                finding,
                self._settings,
                self.prior,
                description=f"Retrain {finding.subject}: {finding.parameters['reason']}",
                priority=Priority.HIGH,
                parameters={"newest": newest},
            )
        ]


def _outdated(action: Action, tools: Tools) -> str:
    model, version = action.proposal.subject, action.proposal.parameters["version"]
    champion = model_tools(tools).desk.registry.aliases(model).get(CHAMPION_ALIAS)
    if champion == version:
        return ""
    return f"@champion of {model} is version {champion} by now, not the degraded {version}"


def _judge(action: Action, tools: Tools, job: Job) -> Effect:
    """It did what it is for once there is a new version; whether that is better, a trial says."""
    model, newest = action.proposal.subject, action.proposal.parameters["newest"]
    assert isinstance(newest, int)
    versions = model_tools(tools).desk.registry.versions(model)
    made = [one.version for one in versions if one.version > newest]
    if not made:
        return Effect(Verdict.INCONCLUSIVE, f"training made no new version: {job.message}")
    return Effect(
        Verdict.IMPROVED, f"training made version {max(made)}; benchmark and trial follow"
    )
