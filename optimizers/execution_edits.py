"""Finding out that a person has turned a knob since the agent left it: their hand wins.

A knob is the agent's while it has the value that the last action left there. When the next proposal
finds another value, somebody has turned it: the agent leaves the knob alone until it is released.
"""

from __future__ import annotations

from config.clock import epoch
from optimizers.execution_desk import ActionDesk
from registry.agent_records import Action, ActionState, Change

_LEFT_AFTER = frozenset({ActionState.COMPLETED, ActionState.FAILED})
_TOLD = frozenset({*_LEFT_AFTER, ActionState.HANDED_OVER})
_MOST = 200


def edited_since(desk: ActionDesk, action: Action, change: Change) -> str:
    """Who has turned the knob that an action is about to change, in a sentence; empty when nobody.

    The world is known to be as the proposal says. What a person was told of (a handed over action)
    they may have settled as they liked.
    """
    last = _last_on(desk, action.proposal.target, change.knob)
    if last is None or last.state not in _LEFT_AFTER or last.proposal.change is None:
        return ""
    left = last.proposal.change.after
    if left == change.before or _released(desk, last, change.knob):
        return ""
    return (
        f"action {last.id} left {change.knob} at {left!r} and another hand has set it to "
        f"{change.before!r} since"
    )


def _last_on(desk: ActionDesk, target: str, knob: str) -> Action | None:
    """The newest of the last actions that may have left this knob changed."""
    known = desk.actions.list(_TOLD, target=target, limit=_MOST)
    began = [action for action in known if action.executed_at is not None]
    ours = [one for one in began if one.proposal.change and one.proposal.change.knob == knob]
    return max(ours, key=lambda one: one.finished_at or 0.0, default=None)


def _released(desk: ActionDesk, last: Action, knob: str) -> bool:
    """True when a person has given the knob back since."""
    return any(
        entry.kind == "knob_held"
        and entry.body.get("knob") == knob
        and entry.body.get("held") is False
        and epoch(entry.at) >= (last.finished_at or 0.0)
        for entry in desk.actions.stories(last.proposal.target)
    )
