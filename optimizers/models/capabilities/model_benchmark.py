"""`model_benchmark`: measure a new version against the champion before it meets live traffic.

Trigger: the life-cycle's plan asks for a benchmark. Effect: a run of the flow `benchmark`, which
accepts or rejects the version. Nothing is served differently; undoing it ends the run.
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
from registry.records import Stage

_DECIDED = {Stage.ACCEPTED, Stage.REJECTED, Stage.TRIAL, Stage.WON, Stage.CHAMPION}
# One waits for another's measurements, half an hour at the most, and measures for minutes.
_DEADLINE_S = 3600.0


class ModelBenchmark:
    """Benchmarks new versions."""

    type = "model_benchmark"
    target = TARGET
    prior = PRIORS["model_benchmark"]
    deadline_s = _DEADLINE_S

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.effects: Effects = JobEffects("benchmark", _judge, _outdated)

    def detect(self, view: View) -> Sequence[Finding]:
        """Versions that are new, or whose benchmark stopped half-way."""
        steps = steps_of(view, self._settings, StepKind.BENCHMARK)
        return [finding_of(self.type, step, view.at) for _, step in steps]

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:  # noqa: ARG002 - the seam's
        """Measure the version."""
        version = finding.parameters["version"]
        words = f"Benchmark version {version} of {finding.subject} against the champion"
        return [job_proposal(self.type, finding, self._settings, self.prior, description=words)]


def _outdated(action: Action, tools: Tools) -> str:
    return moved_on(action, tools, StepKind.BENCHMARK)


def _judge(action: Action, tools: Tools, job: Job) -> Effect:
    """It did what it is for once the version is accepted or rejected."""
    model, version = action.proposal.subject, action.proposal.parameters["version"]
    assert isinstance(version, int)
    stage = model_tools(tools).desk.lifecycle.get(model, version)
    if stage is None or stage.stage not in _DECIDED:
        reason = f"no verdict on version {version}: {stage.reason if stage else job.message}"
        return Effect(Verdict.INCONCLUSIVE, reason)
    return Effect(Verdict.IMPROVED, f"version {version} is {stage.stage}: {stage.reason}")
