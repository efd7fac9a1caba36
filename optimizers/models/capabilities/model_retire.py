"""`model_retire`: archive old versions that nobody serves or tries any more.

Trigger: more unretired versions than `models.keep_versions` besides those behind aliases and those
on their way. Effect: the version's retirement mark in the registry; its files stay. It is proposed
only for what has left the predictor's memory, and verified there again; undone by taking the mark
away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from config.errors import ConflictError
from config.settings import Settings
from optimizers.advice import advice_id
from optimizers.capability import Effects, Seen, Sight, Tools
from optimizers.models.capabilities.priors import PRIORS
from optimizers.models.capabilities.steps import believed
from optimizers.models.facts import TARGET, ModelFacts, facts_of, retired_knob
from optimizers.models.model_tools import model_tools
from optimizers.models.served import served_versions
from optimizers.models.watching import ModelView
from optimizers.targets.base import Guard
from optimizers.view import View
from registry.agent_records import (
    Action,
    Change,
    Direction,
    Effect,
    Finding,
    Priority,
    Proposal,
    Severity,
    Verdict,
)
from registry.records import Stage

_ON_THEIR_WAY = {
    Stage.FOUND,
    Stage.BENCHMARKING,
    Stage.ACCEPTED,
    Stage.TRIAL,
    Stage.WON,
    Stage.PROMOTING,
    Stage.CHAMPION,
}
_DEADLINE_S = 300.0


class ModelRetire:
    """Retires the oldest version of each model that has too many."""

    type = "model_retire"
    target = TARGET
    prior = PRIORS["model_retire"]
    deadline_s = _DEADLINE_S

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.effects: Effects = RetireEffects()

    def detect(self, view: View) -> Sequence[Finding]:
        """The oldest version too many of each model."""
        facts, found = facts_of(view), []
        for one in facts.views.values():
            spare = _spare(one, self._settings.models.keep_versions)
            if spare and self._out_of_memory(facts, one.model, spare[0]):
                found.append(self._finding(one, spare, view.at))
        return found

    def propose(self, finding: Finding, view: View) -> Sequence[Proposal]:  # noqa: ARG002 - the seam's
        """Retire it."""
        model, version = finding.subject, finding.parameters["version"]
        assert isinstance(version, int)
        advice = advice_id(self.type, TARGET, model, version)
        return [
            Proposal(
                type=self.type,
                target=TARGET,
                subject=model,
                advice_id=advice,
                key=f"{self.type}:{model}:{version}",
                priority=Priority.LOW,
                description=f"Retire version {version} of {model}: {finding.text}",
                parameters={"model": model, "version": version},
                expected=believed(self.prior),
                risk=self.prior.risk,
                goal_metric="model_versions",
                goal_direction=Direction.MINIMIZE,
                reversible=True,
                change=Change(retired_knob(model, version), False, True),
                finding_ids=(finding.id,),
            )
        ]

    def _out_of_memory(self, facts: ModelFacts, model: str, version: int) -> bool:
        """Known not to be served; where a predictor runs that did not answer, nothing is known."""
        if not self._settings.serving.port:
            return True
        return model in facts.served and version not in facts.served[model]

    def _finding(self, view: ModelView, spare: Sequence[int], at: float) -> Finding:
        keep = self._settings.models.keep_versions
        return Finding(
            id=f"{self.type}:{view.model}:{spare[0]}",
            rule=self.type,
            target=TARGET,
            subject=view.model,
            severity=Severity.INFO,
            text=(
                f"{len(spare)} versions of {view.model} are beyond the {keep} to keep, and "
                f"version {spare[0]} is the oldest of them"
            ),
            at=at,
            metrics={"spare_versions": float(len(spare))},
            parameters={"version": spare[0]},
        )


class RetireEffects:
    """Sets the mark and takes it away."""

    def look(self, action: Action, tools: Tools) -> Seen:
        """Read the mark."""
        change = _change(action)
        now = tools.targets[TARGET].read(change.knob)
        sight = Sight.AFTER if now == change.after else Sight.BEFORE
        return Seen(sight, "retired" if now else "not retired", now)

    def apply(self, action: Action, guard: Guard, tools: Tools) -> Mapping[str, JsonValue]:
        """Set the mark."""
        tools.targets[TARGET].write(_change(action), guard)
        return {}

    def verify(self, action: Action, tools: Tools) -> Effect | None:
        """See that no predictor serves it.

        Raises:
            UnavailableError: the predictor does not answer.
        """
        own, version = model_tools(tools), action.proposal.parameters["version"]
        if own.serving.url is None:
            return Effect(Verdict.IMPROVED, f"version {version} is retired; no predictor is known")
        served = served_versions(own.serving.url, action.proposal.subject)
        if version in served:
            return Effect(Verdict.WORSE, f"the predictor serves version {version}")
        return Effect(Verdict.IMPROVED, f"version {version} is retired, and out of serving memory")

    def undo(self, action: Action, guard: Guard, tools: Tools) -> None:
        """Take the mark away."""
        change = _change(action)
        tools.targets[TARGET].write(Change(change.knob, change.after, change.before), guard)


def _spare(view: ModelView, keep: int) -> list[int]:
    """Versions nobody needs, oldest first, without the newest `keep` of them."""
    named = {view.champion, view.previous}
    if view.trial is not None:
        named |= {view.trial.experiment.champion, view.trial.experiment.challenger}
    idle = [
        one.version
        for one in view.versions
        if not one.retired and one.version not in named and _idle(view, one.version)
    ]
    return sorted(idle)[: max(len(idle) - keep, 0)]


def _idle(view: ModelView, version: int) -> bool:
    """Its way through the life-cycle is over; what was never seen is new, or older than it all."""
    stage = view.stages.get(version)
    if stage is None:
        return view.champion is not None and version < view.champion
    return stage.stage not in _ON_THEIR_WAY


def _change(action: Action) -> Change:
    if action.proposal.change is None:
        raise ConflictError(f"action {action.id} holds no change of a retirement mark")
    return action.proposal.change
