"""`model_update`: bring models in that appear in a watched folder or as champions elsewhere.

Trigger: a file in `models.watched_folder`, or a champion of the registry `models.source_registry`,
whose digest no version here has. Effect: a run of the flow `model_update`, which registers it; it
is benchmarked and tried like any other version. What is not ONNX, or not fit, is refused with the
reason and stays a finding. Undoing it ends the run.
"""

from __future__ import annotations

from collections.abc import Sequence

from config.settings import Settings
from optimizers.advice import advice_id
from optimizers.capability import Effects, Job, Tools
from optimizers.job_effects import FLOW, JobEffects
from optimizers.models.capabilities.priors import PRIORS
from optimizers.models.capabilities.steps import believed, model_goal
from optimizers.models.facts import TARGET, Update, facts_of
from optimizers.models.model_tools import model_tools
from optimizers.view import View
from registry.agent_records import (
    Action,
    Effect,
    Finding,
    Priority,
    Proposal,
    Severity,
    Verdict,
)

_DEADLINE_S = 1800.0


class ModelUpdate:
    """Registers what is found outside the registry."""

    type = "model_update"
    target = TARGET
    prior = PRIORS["model_update"]
    deadline_s = _DEADLINE_S

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.effects: Effects = JobEffects("model_update", _judge, _outdated)

    def detect(self, view: View) -> Sequence[Finding]:
        """Files that are new here, and files that are refused."""
        return [_finding(update, view.at) for update in facts_of(view).updates]

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:  # noqa: ARG002 - the seam's
        """Register the file, unless it was refused."""
        of, goal = finding.parameters, model_goal(self._settings)
        if of["refused"]:
            return []
        model, digest = finding.subject, str(of["digest"])
        return [
            Proposal(
                type=self.type,
                target=TARGET,
                subject=model,
                advice_id=advice_id(self.type, TARGET, model, digest),
                key=f"{self.type}:{model}:{digest}",
                priority=Priority.LOW,
                description=f"Register a new version of {model} from {of['source']}",
                parameters={
                    "model": model,
                    "digest": digest,
                    FLOW: {"model": model, "reference": of["reference"], "digest": digest},
                },
                expected=believed(self.prior),
                risk=self.prior.risk,
                goal_metric=goal.metric,
                goal_direction=goal.direction,
                reversible=True,
                finding_ids=(finding.id,),
            )
        ]


def _finding(update: Update, at: float) -> Finding:
    text = f"{update.source} holds a model that is not in the registry"
    if update.refused:
        text = f"{update.source} is refused: {update.refused}"
    return Finding(
        id=f"model_update:{update.model}:{update.digest or update.reference}",
        rule="model_update",
        target=TARGET,
        subject=update.model,
        severity=Severity.WARNING if update.refused else Severity.INFO,
        text=text,
        at=at,
        parameters={
            "source": update.source,
            "reference": update.reference,
            "digest": update.digest,
            "refused": update.refused,
        },
    )


def _registered(action: Action, tools: Tools) -> int | None:
    digest = action.proposal.parameters["digest"]
    versions = model_tools(tools).desk.registry.versions(action.proposal.subject)
    return next((one.version for one in versions if one.digest == digest), None)


def _outdated(action: Action, tools: Tools) -> str:
    version = _registered(action, tools)
    return f"version {version} is that very file" if version is not None else ""


def _judge(action: Action, tools: Tools, job: Job) -> Effect:
    """It did what it is for once the registry holds the file."""
    version = _registered(action, tools)
    if version is None:
        return Effect(Verdict.INCONCLUSIVE, f"it was not registered: {job.message}")
    return Effect(Verdict.IMPROVED, f"registered as version {version}")
