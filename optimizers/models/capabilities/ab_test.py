"""`ab_test`: try a version that passed its benchmark on a share of the live traffic.

Trigger: the life-cycle's plan asks for a trial, or for going on with one whose controller died.
Effect: a run of the flow `ab_test`, which splits the traffic and decides by sequential tests.
Undoing it ends the run, and that gives all traffic back to the champion.
"""

from __future__ import annotations

from collections.abc import Sequence

from config.settings import Settings
from optimizers.capability import Effects, Job, Tools
from optimizers.job_effects import JobEffects
from optimizers.models.capabilities.priors import PRIORS
from optimizers.models.capabilities.steps import finding_of, job_proposal, moved_on, steps_of
from optimizers.models.facts import TARGET
from optimizers.models.lifecycle import StepKind
from optimizers.models.model_tools import model_tools
from optimizers.view import View
from registry.agent_records import Action, Effect, Finding, Proposal, Verdict
from registry.records import ExperimentState, TrialVerdict

# Beside the test itself: starting, publishing, and waiting for servers that are away.
_MARGIN_S = 900.0


class AbTest:
    """Tries challengers on live traffic."""

    type = "ab_test"
    target = TARGET
    prior = PRIORS["ab_test"]

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.deadline_s = settings.experiment.duration_seconds + _MARGIN_S
        self.effects: Effects = JobEffects("ab_test", _judge, _outdated)

    def detect(self, view: View) -> Sequence[Finding]:
        """Versions accepted by their benchmark, and tests that nobody looks after."""
        steps = steps_of(view, self._settings, StepKind.AB_TEST)
        return [finding_of(self.type, step, view.at) for _, step in steps]

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:  # noqa: ARG002 - the seam's
        """Try the version on a share of the traffic."""
        version, champion = finding.parameters["version"], finding.parameters["champion"]
        share = self._settings.experiment.traffic_split
        words = (
            f"A/B test of {finding.subject}: version {version} on {share:.0%} of the traffic "
            f"against version {champion}"
        )
        return [
            job_proposal(
                self.type,
                finding,
                self._settings,
                self.prior,
                description=words,
                parameters={"traffic_split": share, "test_id": finding.parameters["test_id"]},
            )
        ]


def _outdated(action: Action, tools: Tools) -> str:
    known = model_tools(tools).desk.experiments.get(str(action.proposal.parameters["test_id"]))
    if known is None:
        return moved_on(action, tools, StepKind.AB_TEST)
    return "" if known.state is ExperimentState.RUNNING else f"test {known.id} is over"


def _judge(action: Action, tools: Tools, job: Job) -> Effect:
    """It did what it is for once the test has a verdict; a kept champion is one."""
    desk = model_tools(tools).desk
    trial = desk.experiments.get(str(action.proposal.parameters["test_id"]))
    if trial is None or trial.verdict is None:
        return Effect(Verdict.INCONCLUSIVE, f"the test has no verdict: {job.message}")
    reason = f"{trial.verdict}: {trial.reason}"
    if trial.verdict in {TrialVerdict.CANCELLED, TrialVerdict.INVALIDATED}:
        return Effect(Verdict.NO_DATA, reason)
    return Effect(Verdict.IMPROVED, reason)
