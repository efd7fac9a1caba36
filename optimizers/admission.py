"""Which proposals may be acted on now: repetition, people's wishes, limits, conflicts. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from config.settings import Settings
from optimizers.exposure import measured_exposure
from optimizers.maintenance import clock_text, closed_reason, next_opening, parse_windows
from optimizers.safety import Budget, budget, busy, cooldown_until, returns, slots
from optimizers.view import View
from registry.agent_records import Action, ActionState, Decision, Proposal

# More proposals than this are not laid before a person at once.
MOST_WAITING = 100


class SkipKind(StrEnum):
    """Why a proposal is not acted on in this cycle."""

    KNOWN = "known"
    DECLINED = "declined"
    HELD = "held"
    UNHEALTHY = "unhealthy"
    COOLDOWN = "cooldown"
    REFUSED = "refused"
    CONFLICT = "conflict"
    FULL = "full"
    BUDGET = "budget"
    WINDOW = "window"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A proposal that is not acted on now; `decision` None where it was not weighed."""

    proposal: Proposal
    kind: SkipKind
    reason: str
    decision: Decision | None = None


Refusal = tuple[SkipKind, str]


class Past:
    """The actions of a view, by what one asks for."""

    def __init__(self, actions: Sequence[Action]) -> None:
        self._by_advice: dict[str, list[Action]] = defaultdict(list)
        self._by_place: dict[tuple[str, str], list[Action]] = defaultdict(list)
        self._undone: dict[str, list[Action]] = defaultdict(list)
        self._exposure: dict[str, float] = {}
        for one in actions:
            self._by_advice[one.proposal.advice_id].append(one)
            self._by_place[one.proposal.type, one.proposal.target].append(one)
            if one.state is ActionState.ROLLED_BACK:
                self._undone[one.proposal.type].append(one)

    def of_advice(self, advice_id: str) -> Sequence[Action]:
        """Actions that followed the same advice."""
        return self._by_advice.get(advice_id, ())

    def of_place(self, proposal: Proposal) -> Sequence[Action]:
        """Actions of the same type on the same target."""
        return self._by_place.get((proposal.type, proposal.target), ())

    def exposure(self, kind: str, believed: float) -> float:
        """The exposure that past undos of a type have shown, from the setting `believed`."""
        if kind not in self._exposure:
            self._exposure[kind] = measured_exposure(believed, self._undone.get(kind, ()))
        return self._exposure[kind]


def refusal_before(
    proposal: Proposal, view: View, past: Past, settings: Settings
) -> Refusal | None:
    """Return why a proposal is not even weighed; None when it is."""
    return (
        _known(proposal, past, settings)
        or _declined(proposal, view)
        or _stepped_aside(proposal, view)
        or _cooling(proposal, view, past, settings)
    )


def _known(proposal: Proposal, past: Past, settings: Settings) -> Refusal | None:
    for one in past.of_advice(proposal.advice_id):
        if not one.state.final:
            return SkipKind.KNOWN, f"action {one.id} for it is {one.state}"
        if one.state is ActionState.HANDED_OVER:
            return SkipKind.KNOWN, f"action {one.id} for it was handed over to a person"
        if one.state is ActionState.SIMULATED and settings.safety.simulation_mode:
            return SkipKind.KNOWN, f"it was simulated as action {one.id}"
    return None


def _declined(proposal: Proposal, view: View) -> Refusal | None:
    before, now = view.declined.get(proposal.advice_id), proposal.expected.mean
    if before is None or returns(before, now):
        return None
    return SkipKind.DECLINED, (
        f"declined at an expected gain of {before:.3g}; it is raised again from {2 * before:.3g} "
        f"on, now {now:.3g}"
    )


def _stepped_aside(proposal: Proposal, view: View) -> Refusal | None:
    health = view.health.get(proposal.target)
    if health is not None and not health.ok:
        return SkipKind.UNHEALTHY, f"target {proposal.target} does not answer: {health.reason}"
    if proposal.change is None:
        return None
    reason = view.held.get((proposal.target, proposal.change.knob))
    if reason is None:
        return None
    return SkipKind.HELD, f"the agent has stepped aside for {proposal.change.knob}: {reason}"


def _cooling(proposal: Proposal, view: View, past: Past, settings: Settings) -> Refusal | None:
    cooldown_s = settings.agent.cooldown_seconds
    until = cooldown_until(past.of_place(proposal), proposal.advice_id, cooldown_s)
    if until <= view.at:
        return None
    return SkipKind.COOLDOWN, (
        f"{proposal.type} acted on {proposal.target} a short while ago; again from "
        f"{clock_text(until)}"
    )


class Admission:
    """Lets proposals in, in order, while slots, budget and conflicts allow it."""

    def __init__(self, view: View, settings: Settings) -> None:
        self._at = view.at
        self._windows = parse_windows(settings.agent.maintenance_windows)
        self._budget = budget(view.actions, settings.agent, view.at)
        self._most = settings.thresholds.max_concurrent_actions
        self._slots = slots(view.actions, self._most)
        self._waiting = sum(1 for one in view.actions if one.state is ActionState.WAITING_APPROVAL)
        self._taken: dict[str, str] = {}
        self._advice: set[str] = set()
        for one in view.actions:
            if busy(one):
                self._taken.update(dict.fromkeys(one.proposal.domains, f"action {one.id}"))

    @property
    def opening(self) -> float:
        """When actions may begin: now, or the start of the next maintenance window."""
        return next_opening(self._windows, self._at)

    def to_ask(self, proposal: Proposal) -> Refusal | None:
        """Let a proposal in that waits for a person, or say why not."""
        if proposal.advice_id in self._advice:
            return SkipKind.KNOWN, "the same advice was given twice in this cycle"
        if self._waiting >= MOST_WAITING:
            return SkipKind.FULL, f"{self._waiting} proposals wait for approval already"
        self._waiting += 1
        self._advice.add(proposal.advice_id)
        return None

    def to_run(self, proposal: Proposal) -> Refusal | None:
        """Let a proposal in that is begun without asking, or say why not."""
        refusal = self._closed(proposal) or self._exhausted() or self._conflict(proposal)
        if refusal is not None:
            return refusal
        self._advice.add(proposal.advice_id)
        self._taken.update(dict.fromkeys(proposal.domains, f"advice {proposal.advice_id}"))
        self._slots = _one_less(self._slots, f"{self._most} actions run or are scheduled")
        self._budget = _one_less(self._budget, "this cycle's actions use up the budget")
        return None

    def _closed(self, proposal: Proposal) -> Refusal | None:
        reason = closed_reason(proposal.priority, self._windows, self._at)
        return (SkipKind.WINDOW, reason) if reason else None

    def _exhausted(self) -> Refusal | None:
        if not self._budget.left:
            return SkipKind.BUDGET, self._budget.reason
        if not self._slots.left:
            return SkipKind.FULL, self._slots.reason
        return None

    def _conflict(self, proposal: Proposal) -> Refusal | None:
        if proposal.advice_id in self._advice:
            return SkipKind.KNOWN, "the same advice was given twice in this cycle"
        shared = sorted(domain for domain in proposal.domains if domain in self._taken)
        if not shared:
            return None
        return SkipKind.CONFLICT, (
            f"it shares {', '.join(shared)} with {self._taken[shared[0]]}; their effects could "
            "not be told apart"
        )


def _one_less(before: Budget, reason: str) -> Budget:
    left = before.left - 1
    return Budget(left, "" if left else reason)
