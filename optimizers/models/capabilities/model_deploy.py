"""`model_deploy`: bring champions to the deployment targets of the settings.

Trigger: a target (`deployment_targets`: a remote predictor, or an edge device's folder) has another
version than the champion here. Effect: a run of the flow `model_deploy`, which copies the version
to the remote predictor's registry, or builds a bento for the device. A target that cannot be
reached is a finding, and nothing is proposed for it. Undoing it ends the run; a deployment that did
not take is taken back by the flow itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from config.settings import Settings
from optimizers.advice import advice_id
from optimizers.capability import Effects, Job, Tools
from optimizers.job_effects import FLOW, JobEffects
from optimizers.models.capabilities.priors import PRIORS
from optimizers.models.capabilities.steps import believed
from optimizers.models.facts import TARGET, Placed, PlaceState, facts_of
from optimizers.models.model_tools import model_tools
from optimizers.view import View
from registry.agent_records import (
    Action,
    Direction,
    Effect,
    Finding,
    Priority,
    Proposal,
    Severity,
    Verdict,
)
from registry.records import CHAMPION_ALIAS

DEPLOYED = "deployed"
"""Kind of the ledger's event for a deployment that took; its subject is the model."""

_DEADLINE_S = 3600.0
_HOUR_S = 3600.0


class ModelDeploy:
    """Keeps deployment targets on the champion."""

    type = "model_deploy"
    target = TARGET
    prior = PRIORS["model_deploy"]
    deadline_s = _DEADLINE_S

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.effects: Effects = JobEffects("model_deploy", _judge, _outdated)

    def detect(self, view: View) -> Sequence[Finding]:
        """Targets that are behind, and targets that cannot be reached."""
        places = facts_of(view).places
        return [_finding(one, view.at) for one in places if one.state is not PlaceState.CURRENT]

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:
        """Deploy the champion there, where that is possible from here."""
        of, model = finding.parameters, finding.subject
        if not of["deployable"]:
            return []
        place, version = str(of["place"]), of["version"]
        # A deployment that somebody removed is made again, so the hour belongs to its name.
        key = f"{self.type}:{place}:{model}:{version}:{int(view.at // _HOUR_S)}"
        assert isinstance(version, int)
        return [
            Proposal(
                type=self.type,
                target=TARGET,
                subject=model,
                advice_id=advice_id(self.type, TARGET, place, model, version),
                key=key,
                priority=Priority.MEDIUM,
                description=f"Deploy version {version} of {model} to {place}",
                parameters={
                    "model": model,
                    "version": version,
                    "place": place,
                    FLOW: {"place": place, "model": model, "version": version},
                },
                expected=believed(self.prior),
                risk=self.prior.risk,
                goal_metric="deployment_lag",
                goal_direction=Direction.MINIMIZE,
                reversible=True,
                conflicts=(f"place:{place}",),
                finding_ids=(finding.id,),
            )
        ]


def _finding(placed: Placed, at: float) -> Finding:
    away = placed.state is PlaceState.UNREACHABLE
    return Finding(
        id=f"model_deploy:{placed.place}:{placed.model}",
        rule="model_deploy",
        target=TARGET,
        subject=placed.model,
        severity=Severity.WARNING if away else Severity.INFO,
        text=f"{placed.place}: {placed.detail}",
        at=at,
        parameters={
            "place": placed.place,
            "version": placed.champion,
            "deployed": placed.deployed,
            "state": placed.state.value,
            "deployable": placed.deployable and not away,
        },
    )


def _outdated(action: Action, tools: Tools) -> str:
    model, version = action.proposal.subject, action.proposal.parameters["version"]
    champion = model_tools(tools).desk.registry.aliases(model).get(CHAMPION_ALIAS)
    return "" if champion == version else f"@champion of {model} is version {champion} by now"


def _judge(action: Action, tools: Tools, job: Job) -> Effect:
    """It did what it is for once the flow has seen the version at its place."""
    of = action.proposal.parameters
    since = action.executed_at or action.created_at
    for event in reversed(
        model_tools(tools).desk.events.list(
            subject=action.proposal.subject, kind=DEPLOYED, limit=10_000
        )
    ):
        same = (event.body.get("place"), event.body.get("version")) == (of["place"], of["version"])
        if same and event.at.timestamp() >= since - 1.0:
            return Effect(Verdict.IMPROVED, str(event.body.get("reason", "")))
    return Effect(Verdict.INCONCLUSIVE, f"it was not seen at its place: {job.message}")
