"""When a person has to approve, when changes may begin, and how often. Pure.

`ActionStore.begin` in the registry enforces running and budget limits where they cannot be raced;
here they are known beforehand, so that a proposal that could not start is not scheduled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from config.settings import AgentSettings, Settings
from optimizers.maintenance import clock_text
from registry.agent_records import Action, ActionState, Priority, Proposal

# From here on the specification calls an action critical whatever its priority.
CRITICAL_RISK = 0.7
_HOUR = 3600.0
_DAY = 86_400.0
# An advice that failed is raised again later each time, at most this many doublings.
_MAX_DOUBLINGS = 8
_FAILED = frozenset({ActionState.ROLLED_BACK, ActionState.FAILED})


def approval_reason(proposal: Proposal, settings: Settings) -> str:
    """Return why a person has to approve a proposal; empty when nobody has to."""
    safety = settings.safety
    if not safety.enable_automatic_actions:
        return "automatic actions are off (safety.enable_automatic_actions)"
    if not safety.require_approval_for_critical:
        return ""
    if proposal.priority is Priority.CRITICAL:
        return "its priority is critical"
    limit = min(CRITICAL_RISK, settings.thresholds.max_risk_threshold)
    if proposal.risk > limit:
        return f"its risk {proposal.risk:.2f} is above {limit:.2f}"
    return ""


def returns(declined_gain: float, gain: float) -> bool:
    """Say whether declined advice may be given again: its expected gain has doubled."""
    return declined_gain > 0.0 and gain >= 2.0 * declined_gain


@dataclass(frozen=True, slots=True)
class Budget:
    """How many actions may still begin; `reason` says why none may, else it is empty."""

    left: int
    reason: str = ""


def budget(actions: Iterable[Action], settings: AgentSettings, at: float) -> Budget:
    """Return what is left of the budgets of an hour and a day."""
    begun = sorted(one.executed_at for one in actions if one.executed_at is not None)
    lefts = []
    for word, length, most in (
        ("an hour", _HOUR, settings.changes_per_hour),
        ("a day", _DAY, settings.changes_per_day),
    ):
        within = [moment for moment in begun if moment > at - length]
        left = max(most - len(within), 0)
        reason = "" if left else f"the budget of {most} actions {word} is used up"
        if reason and most and len(within) >= most:
            reason += f"; again from {clock_text(within[-most] + length)}"
        lefts.append(Budget(left, reason))
    return min(lefts, key=lambda one: one.left)


def slots(actions: Iterable[Action], most: int) -> Budget:
    """Return how many more actions may be scheduled beside those that run or are about to."""
    taken = sum(1 for one in actions if busy(one))
    left = max(most - taken, 0)
    return Budget(left, "" if left else f"{taken} actions run or are scheduled; {most} may")


def busy(action: Action) -> bool:
    """Say whether an action runs, or will without anybody being asked."""
    return action.state.in_flight or action.state is ActionState.SCHEDULED


def cooldown_until(actions: Sequence[Action], advice_id: str, cooldown_s: float) -> float:
    """Return when a capability may act on a target again; 0 when it may at once.

    After failures of the same advice in a row the cooldown doubles with each of them.

    Args:
        actions: past actions of this capability on this target, and no others.
        advice_id: the advice that is to be acted on.
        cooldown_s: seconds between two actions, from settings.
    """
    begun = [one.executed_at for one in actions if one.executed_at is not None]
    if not begun:
        return 0.0
    failed = _failures_in_a_row(actions, advice_id)
    if not failed:
        return max(begun) + cooldown_s
    doubled = cooldown_s * 2.0 ** min(len(failed), _MAX_DOUBLINGS)
    return max(max(begun) + cooldown_s, (failed[0].executed_at or 0.0) + doubled)


def _failures_in_a_row(actions: Sequence[Action], advice_id: str) -> list[Action]:
    """The last failures of one advice, newest first, up to its last other end."""
    own = [
        one
        for one in actions
        if one.proposal.advice_id == advice_id and one.executed_at is not None and one.state.final
    ]
    own.sort(key=lambda one: one.executed_at or 0.0, reverse=True)
    failed: list[Action] = []
    for one in own:
        if one.state not in _FAILED:
            break
        failed.append(one)
    return failed
