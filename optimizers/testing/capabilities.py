"""What every capability has to keep, and every action that changes a knob."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from pydantic import JsonValue

from config.clock import ManualClock
from config.errors import ConflictError, StaleToken, UnavailableError
from optimizers.capability import Capability, Effects, Job, JobState, Sight, Tools
from optimizers.proposals import fault_of
from optimizers.targets.base import Target
from optimizers.testing.asserting import require, require_name, require_raises, require_unique
from optimizers.testing.guards import FreeGuard, RefusingGuard
from optimizers.view import View
from registry.agent_records import (
    Action,
    ActionState,
    Change,
    Decision,
    Estimate,
    Finding,
    Proposal,
)

Bounds = Mapping[str, tuple[float, float]]
"""By knob, the lowest and the highest value that may ever be proposed."""

_EFFECTS = ("look", "apply", "verify", "undo")


def check_capability(
    capability: Capability, views: Sequence[View], *, bounds: Bounds | None = None
) -> Sequence[Proposal]:
    """Check that a capability keeps what the seam promises, and return what it proposed.

    Args:
        capability: the capability.
        views: what the agent might see; at least one of them has to lead to a proposal.
        bounds: given, every proposed change is of one of these knobs, to a number inside its
            bounds.

    Raises:
        AssertionError: a promise is not kept; the text says which.
    """
    _check_description(capability)
    require(not list(capability.detect(View(at=0.0))), "something was found without any data")
    proposals = [one for view in views for one in _checked(capability, view)]
    require(proposals, "none of the views leads to a proposal, so nothing was checked")
    for proposal in proposals:
        _check_bounds(proposal, bounds)
    return proposals


def _check_description(capability: Capability) -> None:
    whole = "a capability has type, target, prior, effects, deadline_s, detect and propose"
    require(isinstance(capability, Capability), whole)
    require_name(capability.type, "the type")
    require_name(capability.target, "the target's name")
    prior = capability.prior
    require(0 <= prior.risk <= 1, f"the prior's risk is {prior.risk}, which is not 0 to 1")
    require(0 < prior.success < 1, f"the prior's success is {prior.success}, which is not 0 to 1")
    require(math.isfinite(prior.improvement), "the prior's improvement has to be a number")
    require(prior.weight > 0, "the prior's weight has to be positive")
    deadline = capability.deadline_s
    require(0 < deadline < math.inf, f"the deadline is {deadline} s; it has to be finite")
    missing = [name for name in _EFFECTS if not callable(getattr(capability.effects, name, None))]
    require(not missing, f"the effects have no {', '.join(missing)}")


def _checked(capability: Capability, view: View) -> list[Proposal]:
    """The proposals for one view, each promise of them checked."""
    findings = list(capability.detect(view))
    require(list(capability.detect(view)) == findings, "the same view gave other findings")
    require_unique((finding.id for finding in findings), "the finding")
    later = replace(view, at=view.at + 1.0)
    pairs = list(_pairs(capability, view, findings))
    for finding, proposal in pairs:
        _check_finding(capability, finding)
        _check_proposal(capability, finding, proposal)
    again = [one for _, one in _pairs(capability, view, findings)]
    require(again == [one for _, one in pairs], "the same finding gave other proposals")
    _check_ids_last(pairs, list(_pairs(capability, later, list(capability.detect(later)))))
    return [one for _, one in pairs]


def _pairs(
    capability: Capability, view: View, findings: Sequence[Finding]
) -> Iterator[tuple[Finding, Proposal]]:
    for finding in findings:
        for proposal in capability.propose(finding, view):
            yield finding, proposal


def _check_finding(capability: Capability, finding: Finding) -> None:
    require(finding.id, "a finding has an id")
    require(finding.text.strip(), f"the finding {finding.id} says nothing")
    target, own = finding.target, (capability.target, *getattr(capability, "targets", ()))
    known = " or ".join(own)
    require(target in own, f"the finding {finding.id} is of {target}, the capability of {known}")


def _check_proposal(capability: Capability, finding: Finding, proposal: Proposal) -> None:
    fault = fault_of(proposal, capability.type)
    require(not fault, fault)
    advice = proposal.advice_id
    require(proposal.description.strip(), f"{advice} does not say what is to be done")
    linked = finding.id in proposal.finding_ids
    require(linked, f"{advice} does not name the finding {finding.id} that led to it")
    own = proposal.target == finding.target
    require(own, f"{advice} is for the target {proposal.target}, not for {finding.target}")
    clear = proposal.goal_metric not in proposal.guardrails
    require(clear, f"{advice} has its goal metric as a guardrail too")
    try:
        digest = proposal.digest
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{advice} cannot be written as JSON: {error}") from error
    require(digest == replace(proposal).digest, f"the digest of {advice} changes")


def _check_ids_last(
    now: Sequence[tuple[Finding, Proposal]], later: Sequence[tuple[Finding, Proposal]]
) -> None:
    """A second later the same cause has the same ids; what is no cause any more may be gone."""
    known = {finding.id for finding, _ in now}
    for finding, proposal in later:
        if finding.id not in known:
            continue
        advice = {one.advice_id for seen, one in now if seen.id == finding.id}
        same = proposal.advice_id in advice
        require(same, f"the advice about {finding.id} had another id a second later")
    require(not now or not later or known & {f.id for f, _ in later}, "finding ids hold the time")


def _check_bounds(proposal: Proposal, bounds: Bounds | None) -> None:
    change = proposal.change
    if bounds is None or change is None:
        return
    require(change.knob in bounds, f"{change.knob} is changed, but no bounds are given for it")
    low, high = bounds[change.knob]
    value = change.after
    inside = isinstance(value, int | float) and low <= value <= high
    require(inside, f"{change.knob} would be {value!r}, which is not within {low:g} to {high:g}")


def check_knob_action(
    effects: Effects, proposal: Proposal, target: Target, *, stranger: JsonValue
) -> None:
    """Check that the effects of a change apply it, take it back, and step aside for a person.

    Args:
        effects: of the capability that made the proposal.
        proposal: a change of a knob of this target, as the target is now.
        target: the target; it is left as it was.
        stranger: a third value for the knob, as a person might set it.

    Raises:
        AssertionError: a promise is not kept; the text says which.
    """
    change = proposal.change
    if change is None:
        raise AssertionError(f"{proposal.advice_id} is a job; it changes no knob")
    trial = _Trial(effects, _action(proposal), target, change)
    trial.sees(Sight.BEFORE, "before it is applied")
    try:
        trial.applies()
        trial.undoes()
        trial.steps_aside(stranger)
    finally:
        now = target.read(change.knob)
        if now != change.before:
            target.write(Change(change.knob, now, change.before), FreeGuard())


class _Trial:
    """One action on one target."""

    def __init__(self, effects: Effects, action: Action, target: Target, change: Change) -> None:
        self._effects = effects
        self._action = action
        self._target = target
        self._change = change
        clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
        self._tools = Tools(
            targets={target.name: target},
            jobs=_NoJobs(),
            clock=clock,
            wait=clock.advance,
            sample=lambda _target, _metrics: {},
        )

    def sees(self, sight: Sight, when: str) -> None:
        """Require what a look finds."""
        seen = self._effects.look(self._action, self._tools)
        require(seen.sight is sight, f"{when} a look has to find {sight}, not {seen.sight}")

    def applies(self) -> None:
        """Require that applying needs the guard, works, and may be repeated."""
        refusing = RefusingGuard()
        sentence = "applying has to raise StaleToken when the guard does"
        require_raises(StaleToken, lambda: self._apply(refusing), sentence)
        self.sees(Sight.BEFORE, "after a refused attempt")
        for _ in range(2):
            self._apply(FreeGuard())
            self.sees(Sight.AFTER, "after applying")

    def undoes(self) -> None:
        """Require that undoing needs the guard, works, and may be repeated."""
        refusing = RefusingGuard()
        sentence = "undoing has to raise StaleToken when the guard does"
        require_raises(StaleToken, lambda: self._undo(refusing), sentence)
        for _ in range(2):
            self._undo(FreeGuard())
            self.sees(Sight.BEFORE, "after undoing")

    def steps_aside(self, stranger: JsonValue) -> None:
        """Require that a value somebody else set is left alone."""
        change = self._change
        third = stranger not in (change.before, change.after)
        require(third, "the stranger's value has to differ from before and after")
        self._target.write(Change(change.knob, change.before, stranger), FreeGuard())
        self.sees(Sight.OTHER, "with a stranger's value")
        for verb, call in (("applying", self._apply), ("undoing", self._undo)):
            sentence = f"{verb} has to raise ConflictError at a stranger's value"
            require_raises(ConflictError, lambda call=call: call(FreeGuard()), sentence)  # type: ignore[misc]
            kept = self._target.read(change.knob) == stranger
            require(kept, f"{verb} has overwritten a value that somebody else set")

    def _apply(self, guard: FreeGuard | RefusingGuard) -> None:
        self._effects.apply(self._action, guard, self._tools)

    def _undo(self, guard: FreeGuard | RefusingGuard) -> None:
        self._effects.undo(self._action, guard, self._tools)


class _NoJobs:
    """A change of a knob starts no flow run."""

    def start(self, deployment: str, parameters: Mapping[str, JsonValue], key: str) -> Job:  # noqa: ARG002
        raise UnavailableError(f"{deployment} was started, but a change of a knob needs no job")

    def find(self, deployment: str, key: str) -> Job:  # noqa: ARG002
        return Job(JobState.UNKNOWN)

    def cancel(self, flow_run_id: str) -> None:
        raise UnavailableError(f"{flow_run_id} is no run that was started here")


def _action(proposal: Proposal) -> Action:
    """The proposal on its way, as the agent would have it between intent and effect."""
    expected: Estimate = proposal.expected
    decision = Decision(
        run=True,
        expected_improvement=expected.mean,
        success_probability=0.8,
        success_low=0.0,
        success_high=1.0,
        exposure=0.1,
        risk=proposal.risk,
        expected_value=0.8 * expected.mean,
        score=0.8 * expected.mean - 0.05 * proposal.risk,
    )
    return Action(
        id="action-conformance",
        proposal=proposal,
        decision=decision,
        state=ActionState.INTENT,
        reason="conformance check",
        created_at=0.0,
        updated_at=0.0,
    )
