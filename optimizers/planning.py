"""One optimise cycle: findings, proposals, decisions, and what is to be begun. Pure.

The agent, `simulate` and the tests all call `plan_cycle`; it reads the view and nothing else. What
it leaves out it names with the reason. What it plans is only an intention: the ledger checks limits
and conflicts again in the transaction that begins an action.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from config.ids import Ids
from config.settings import Settings
from optimizers.admission import (
    Admission,
    Past,
    SkipKind,
    Skipped,
    refusal_before,
)
from optimizers.capability import Capability
from optimizers.decision import Course, course_of, criteria, decide
from optimizers.exposure import exposure_of
from optimizers.learning import believe
from optimizers.priority import Candidate, ordered
from optimizers.proposals import Advised, Trouble, gather
from optimizers.view import View
from registry.agent_records import Action, ActionState, Decision, Finding, Proposal


@dataclass(frozen=True, slots=True)
class CycleResult:
    """What one cycle found and wants.

    Attributes:
        actions: to be proposed, the most urgent first; scheduled, waiting for approval, or
            simulated.
        skipped: proposals that are not acted on now.
        troubles: capabilities that failed, or proposed what cannot be.
    """

    findings: tuple[Finding, ...] = ()
    actions: tuple[Action, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    troubles: tuple[Trouble, ...] = ()


def plan_cycle(
    view: View, capabilities: Iterable[Capability], settings: Settings, ids: Ids
) -> CycleResult:
    """Return what the capabilities find in a view and what is to be done about it.

    Raises:
        ConfigError: a maintenance window of the settings cannot be read.
    """
    gathered = gather(view, capabilities)
    skipped: list[Skipped] = []
    candidates = _weighed(gathered.advised, view, settings, skipped)
    admission = Admission(view, settings)
    actions = []
    for proposal, decision in ordered(candidates):
        course = course_of(decision, settings.thresholds)
        ask = course is Course.ASK
        refusal = admission.to_ask(proposal) if ask else admission.to_run(proposal)
        if refusal is None:
            due_at = admission.opening if ask else view.at
            actions.append(_action(proposal, decision, view.at, due_at, ids, settings))
        else:
            skipped.append(Skipped(proposal, *refusal, decision))
    return CycleResult(gathered.findings, tuple(actions), tuple(skipped), gathered.troubles)


def _weighed(
    advised: Iterable[Advised], view: View, settings: Settings, skipped: list[Skipped]
) -> list[Candidate]:
    """The proposals that the formula, or a person, may let run; the others go to `skipped`."""
    past = Past(view.actions)
    candidates = []
    for one in advised:
        refusal = refusal_before(one.proposal, view, past, settings)
        if refusal is not None:
            skipped.append(Skipped(one.proposal, *refusal))
            continue
        decision = _decided(one, view, past, settings)
        refusal = _refused(decision, settings)
        if refusal is not None:
            skipped.append(Skipped(one.proposal, *refusal, decision))
        else:
            candidates.append((one.proposal, decision))
    return candidates


def _decided(one: Advised, view: View, past: Past, settings: Settings) -> Decision:
    """The decision on one proposal, with what was learned and measured so far."""
    proposal = one.proposal
    belief = believe(proposal, one.capability.prior, view.learned)
    measured = past.exposure(proposal.type, settings.agent.exposure)
    return decide(proposal, belief, settings, exposure_of(proposal, settings, measured))


def _refused(decision: Decision, settings: Settings) -> tuple[SkipKind, str] | None:
    if course_of(decision, settings.thresholds) is not Course.REFUSE:
        return None
    missed = [one.text for one in criteria(decision, settings.thresholds) if not one.met]
    return SkipKind.REFUSED, "; ".join(missed)


def _action(
    proposal: Proposal,
    decision: Decision,
    at: float,
    due_at: float,
    ids: Ids,
    settings: Settings,
) -> Action:
    state, reason = ActionState.SCHEDULED, "the decision formula says yes"
    if settings.safety.simulation_mode:
        state, reason = ActionState.SIMULATED, "simulation mode: nothing is changed"
    elif decision.approval:
        state, reason = (
            ActionState.WAITING_APPROVAL,
            f"a person has to approve: {decision.approval}",
        )
    return Action(
        id=ids.new("action"),
        proposal=proposal,
        decision=decision,
        state=state,
        reason=reason,
        created_at=at,
        updated_at=at,
        due_at=due_at,
    )
