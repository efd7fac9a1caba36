"""How an action comes to its end: what its verdict asks for, what is learned, who is told.

Each of these may be cut off anywhere and is done again by whoever goes on: holding a knob, learning
from an action and publishing it are done once however often they are asked for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from optimizers.capability import Seen, Sight, Switch
from optimizers.execution_desk import ActionDesk, attempt
from optimizers.learning import learned_from, lesson_of
from optimizers.switching import standing_of
from registry.agent_records import Action, ActionState, Effect, Verdict

_LOG = logging.getLogger(__name__)
_SAID = {
    ActionState.COMPLETED: "Action completed",
    ActionState.FAILED: "Action failed",
    ActionState.ROLLED_BACK: "Action failed and was rolled back",
    ActionState.HANDED_OVER: "Action handed over to a person",
}


@dataclass(frozen=True, slots=True)
class Stepped:
    """Where a step has brought an action.

    Attributes:
        wait_s: seconds after which the next step makes sense.
        leave: nothing more can be done now; the next tick may go on.
    """

    action: Action
    wait_s: float = 0.0
    leave: bool = False


def undoable(desk: ActionDesk, action: Action) -> bool:
    """True when the agent can, and may, put back what the action changes."""
    return action.proposal.reversible and desk.settings.safety.rollback_on_failure


def finish(desk: ActionDesk, action: Action, to: ActionState, reason: str) -> Stepped:
    """Bring an action to its last state."""
    moved = desk.actions.move(action, to, reason)
    desk.checkpoint(to.value)
    level = logging.INFO if to is ActionState.COMPLETED else logging.WARNING
    _LOG.log(level, "%s: %s %s: %s", _SAID.get(to, "Action ended"), action.id, to, reason)
    return Stepped(moved)


def publish(desk: ActionDesk, action: Action) -> Action:
    """Publish an action that was carried out and has ended, unless it is published already."""
    if action.executed_at is None or action.run_id is not None:
        return action
    published = attempt(lambda: desk.publish(action))
    if published.trouble:
        _LOG.warning("action %s could not be published: %s", action.id, published.trouble)
    desk.checkpoint("published")
    if not published.value:
        return action
    desk.actions.link(action.id, run_id=published.value)
    return replace(action, run_id=published.value)


def hand_over(desk: ActionDesk, action: Action, reason: str) -> Stepped:
    """Freeze an action that is in doubt; a person has to look."""
    return finish(desk, action, ActionState.HANDED_OVER, reason)


def step_aside(desk: ActionDesk, action: Action, seen: Seen) -> Stepped:
    """Leave to a person what is neither as before nor as applied: their hand wins."""
    change = action.proposal.change
    found = seen.detail or f"found {seen.value!r}"
    if change is None:
        return finish(desk, action, ActionState.FAILED, f"the job is not gone on with: {found}")
    reason = f"{change.knob} of {action.proposal.target} was changed by another hand: {found}"
    desk.control.hold_knob(action.proposal.target, change.knob, reason, found_by=action)
    desk.checkpoint("knob held")
    return hand_over(desk, action, f"{reason}; the agent leaves this knob alone until released")


def begin_undo(desk: ActionDesk, action: Action, reason: str) -> Stepped:
    """Start on the way back, with a deadline of its own."""
    seconds = desk.capabilities[action.proposal.type].deadline_s
    moved = desk.actions.move(
        action, ActionState.ROLLING_BACK, reason, deadline_at=desk.now + seconds
    )
    desk.checkpoint("rolling_back")
    _LOG.warning("Action failed: %s is rolled back: %s", action.id, reason)
    return Stepped(moved)


def begin_switch(
    desk: ActionDesk, action: Action, switch: Switch, reason: str = "it is switched"
) -> Stepped:
    """Note what was measured, and the switch that is asked for before it is made."""
    standing = standing_of(action)
    if switch.to is not standing.stands:
        stop = why_stop(desk, action)
        if stop:
            return begin_undo(desk, action, stop)
        standing = standing.switching(switch.to)
        reason = f"{reason} to {switch.to}"
    noted = {**action.progress, **switch.noted, **standing.note()}
    moved = desk.actions.move(action, ActionState.VERIFYING, reason, progress=noted)
    desk.checkpoint("switch noted")
    return Stepped(moved)


def why_stop(desk: ActionDesk, action: Action) -> str:
    """Why nothing new may be done for an action; empty when it may."""
    if desk.paused():
        return "the agent was paused"
    return "its deadline was over" if desk.overdue(action) else ""


def conclude(desk: ActionDesk, action: Action, effect: Effect, sight: Sight) -> Stepped:
    """Note a verdict, learn from it once, and keep or undo what was done."""
    effect = action.effect or effect
    if action.effect is None:
        action = desk.actions.move(
            action, ActionState.VERIFYING, f"{effect.verdict}: {effect.reason}", effect=effect
        )
        desk.checkpoint("judged")
    _learn(desk, action)
    reason = f"{effect.verdict}: {effect.reason}"
    if effect.worsened:
        reason += f"; worse besides: {', '.join(effect.worsened)}"
    good = effect.verdict is Verdict.IMPROVED and not effect.worsened
    if good:
        return _leave(desk, action, ActionState.COMPLETED, reason)
    if action.proposal.change is None:
        return _conclude_job(desk, action, effect, sight)
    if undoable(desk, action):
        return begin_undo(desk, action, reason)
    if not action.proposal.reversible:
        return hand_over(desk, action, f"{reason}; it cannot be undone, a person has to look")
    reason += "; left so (safety.rollback_on_failure is off)"
    return _leave(desk, action, ActionState.FAILED, reason)


def _leave(desk: ActionDesk, action: Action, to: ActionState, reason: str) -> Stepped:
    """End an action whose change stays: one that was switched back is made again first."""
    if action.proposal.change is not None and standing_of(action).stands is not Sight.AFTER:
        return begin_switch(desk, action, Switch(Sight.AFTER), "it stays, so it is switched")
    return finish(desk, action, to, reason)


def _learn(desk: ActionDesk, action: Action) -> None:
    """Learn from a verified outcome; the store takes each action once."""
    lesson = lesson_of(action)
    if lesson is not None:
        desk.learning.record(action, lambda known: learned_from(known, lesson, desk.now))
        desk.checkpoint("learned")


def _conclude_job(desk: ActionDesk, action: Action, effect: Effect, sight: Sight) -> Stepped:
    reason = f"{effect.verdict}: {effect.reason}"
    if sight is Sight.UNDER_WAY:
        return begin_undo(desk, action, reason)
    return finish(desk, action, ActionState.FAILED, reason)
