"""What is done next for an action, by its state: each step reads the world before it acts.

A step is the same for whoever began the action and for whoever found it half-way: nothing is
remembered but what the ledger holds. A change is `before` (as read when it was proposed), `after`
(as wanted) or something else, which is a person's and left to them. From the intent on, the way
back always ends in a call of `undo`, even when all looks as before: under the action's lock that
call also proves that no earlier holder can still bring the effect about.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict

from pydantic import JsonValue

from config.errors import ConflictError, StaleToken
from optimizers.capability import Seen, Sight
from optimizers.execution_desk import ActionDesk, Hands
from optimizers.execution_edits import edited_since
from optimizers.execution_end import (
    Stepped,
    begin_switch,
    begin_undo,
    conclude,
    finish,
    hand_over,
    step_aside,
    undoable,
    why_stop,
)
from optimizers.maintenance import closed_reason, parse_windows
from optimizers.switching import standing_of
from registry.agent_records import Action, ActionState, Effect, Verdict

_LOG = logging.getLogger(__name__)
_MOST_FAILURES = 3

Step = Callable[[Hands], Stepped]


def start(hands: Hands) -> Stepped:
    """Commit the intent, if the action may begin now and the world is as it was when proposed."""
    desk, action = hands.desk, hands.action
    if desk.settings.safety.simulation_mode:
        return finish(desk, action, ActionState.SIMULATED, "simulation: nothing was changed")
    if _needs_approval(desk, action):
        reason = action.decision.approval or "safety.enable_automatic_actions is off"
        return Stepped(desk.actions.move(action, ActionState.WAITING_APPROVAL, reason), leave=True)
    if desk.paused() or _too_early(desk, action):
        return Stepped(action, leave=True)
    looked = hands.look()
    if looked.value is None:
        _LOG.warning("action %s waits: %s", action.id, looked.trouble)
        return Stepped(action, leave=True)
    outdated = _outdated(desk, action, looked.value)
    if outdated:
        return finish(desk, action, ActionState.EXPIRED, outdated)
    return _begin(hands)


def carry_out(hands: Hands) -> Stepped:
    """Bring the effect about, or find that it has come about already."""
    desk, action = hands.desk, hands.action
    looked = hands.look()
    seen = looked.value
    if seen is not None and seen.sight is Sight.OTHER:
        return step_aside(desk, action, seen)
    if seen is not None and seen.sight is not Sight.BEFORE:
        return _applied(hands, {}, "found applied")
    stop = why_stop(desk, action)
    if stop:
        return begin_undo(desk, action, f"{stop} before it was applied")
    if seen is None:
        return _failed_attempt(hands, looked.trouble)
    return _bring_about(hands)


def settle(hands: Hands) -> Stepped:
    """Let a change settle before its effect is measured."""
    desk, action = hands.desk, hands.action
    left = _number(action.progress.get("settled_at")) - desk.now
    # A wall clock that was set back must not keep it waiting longer than it ever would.
    waits = action.proposal.change is not None and 0 < left <= desk.settings.agent.settle_seconds
    if waits and not why_stop(desk, action):
        return Stepped(action, min(left, desk.poll_s))
    moved = desk.actions.move(action, ActionState.VERIFYING, "its effect is measured")
    desk.checkpoint("verifying")
    return Stepped(moved)


def verify(hands: Hands) -> Stepped:
    """Ask whether it helped, as long as the world is as the action left it."""
    desk, action = hands.desk, hands.action
    looked = hands.look()
    seen = looked.value
    if seen is None:
        return _unseen(hands, looked.trouble)
    if _changed_since(action, seen.sight):
        return step_aside(desk, action, seen)
    switching = standing_of(action).to
    if action.effect is not None and switching is None:
        return conclude(desk, action, action.effect, seen.sight)
    if desk.paused() and _can_be_stopped(desk, action, seen.sight):
        return begin_undo(desk, action, "the agent was paused")
    return _judge(hands, seen.sight) if switching is None else _switch(hands, seen, switching)


def undo(hands: Hands) -> Stepped:
    """Put back what was there, and read that it is back."""
    desk, action = hands.desk, hands.action
    looked = hands.look()
    if looked.value is not None and _touched(action, looked.value.sight):
        return step_aside(desk, action, looked.value)
    if desk.overdue(action):
        return hand_over(desk, action, f"it could not be put back in time ({action.reason})")
    trouble = looked.trouble or hands.undo().trouble
    if not trouble:
        looked = hands.look()
        trouble = looked.trouble
    if trouble or looked.value is None:
        return _failed_undo(hands, trouble)
    return _undone(hands, looked.value)


STEPS: Mapping[ActionState, Step] = {
    ActionState.SCHEDULED: start,
    ActionState.INTENT: carry_out,
    ActionState.APPLIED: settle,
    ActionState.VERIFYING: verify,
    ActionState.ROLLING_BACK: undo,
}


def _needs_approval(desk: ActionDesk, action: Action) -> bool:
    automatic = desk.settings.safety.enable_automatic_actions and not action.decision.approval
    return not automatic and action.approval_id is None


def _too_early(desk: ActionDesk, action: Action) -> bool:
    """True before its time, and outside the maintenance windows: an approval may come late."""
    if action.due_at is not None and desk.now < action.due_at:
        return True
    windows = parse_windows(desk.settings.agent.maintenance_windows)
    return bool(closed_reason(action.proposal.priority, windows, desk.now))


def _outdated(desk: ActionDesk, action: Action, seen: Seen) -> str:
    """Why the proposal no longer fits the world; empty when it does."""
    change = action.proposal.change
    if change is None:
        return "" if seen.sight is not Sight.OTHER else f"no longer called for: {seen.detail}"
    held = desk.control.held().get((action.proposal.target, change.knob))
    if held is not None:
        return f"the agent leaves {change.knob} alone: {held}"
    if seen.sight is not Sight.BEFORE:
        return f"{change.knob} is not as it was when this was proposed: {seen.detail or seen.value}"
    edited = edited_since(desk, action, change)
    if edited:
        desk.control.hold_knob(action.proposal.target, change.knob, edited, found_by=action)
    return edited


def _begin(hands: Hands) -> Stepped:
    desk, action = hands.desk, hands.action
    deadline = desk.now + desk.capabilities[action.proposal.type].deadline_s
    try:
        begun = desk.actions.begin(
            action, desk.limits, intent=_intent(action, deadline), deadline_at=deadline
        )
    except StaleToken:
        raise
    except ConflictError as error:
        _LOG.info("action %s waits: %s", action.id, error)
        return Stepped(action, leave=True)
    desk.checkpoint("intent")
    _LOG.info(
        "Executing action %s (%s): %s",
        action.id,
        action.proposal.type,
        action.proposal.description,
    )
    return Stepped(begun)


def _intent(action: Action, deadline: float) -> dict[str, JsonValue]:
    """How it is to be carried out and undone."""
    change = action.proposal.change
    undo: JsonValue = "end the job"
    if change is not None:
        undo = {"knob": change.knob, "value": change.before}
    return {
        "key": action.proposal.key,
        "change": asdict(change) if change is not None else None,
        "undo": undo if action.proposal.reversible else "it cannot be undone",
        "deadline_at": deadline,
        "digest": action.proposal.digest,
        "approval_id": action.approval_id,
    }


def _bring_about(hands: Hands) -> Stepped:
    if not hands.action.progress.get("prepared"):
        return _prepare(hands)
    applied = hands.apply()
    if applied.value is None:
        return _failed_attempt(hands, applied.trouble)
    return _applied(hands, applied.value, "applied")


def _prepare(hands: Hands) -> Stepped:
    desk, action = hands.desk, hands.action
    prepared = hands.prepare()
    if prepared.refused:
        return begin_undo(desk, action, f"it was not applied: {prepared.trouble}")
    if prepared.trouble:
        return _failed_attempt(hands, prepared.trouble)
    if prepared.value is None:
        return Stepped(action, desk.poll_s)
    noted = {**action.progress, **prepared.value, "prepared": True}
    moved = desk.actions.move(action, ActionState.INTENT, "ready to be applied", progress=noted)
    desk.checkpoint("prepared")
    return Stepped(moved)


def _applied(hands: Hands, noted: Mapping[str, JsonValue], reason: str) -> Stepped:
    desk, action = hands.desk, hands.action
    settled_at = desk.now + desk.settings.agent.settle_seconds
    progress = {**action.progress, **noted, "settled_at": settled_at}
    moved = desk.actions.move(action, ActionState.APPLIED, reason, progress=progress)
    desk.checkpoint("applied")
    return Stepped(moved)


def _failed_attempt(hands: Hands, trouble: str) -> Stepped:
    """Note an attempt that failed; its outcome is unknown until the world is looked at again."""
    desk, action = hands.desk, hands.action
    failures = int(_number(action.progress.get("failures"))) + 1
    stop = why_stop(desk, action)
    if stop or failures >= _MOST_FAILURES:
        return begin_undo(desk, action, f"it could not be applied: {stop or trouble}")
    moved = desk.actions.move(
        action, ActionState.INTENT, trouble, progress={**action.progress, "failures": failures}
    )
    desk.checkpoint("attempt noted")
    return Stepped(moved, desk.retry_s)


def _unseen(hands: Hands, trouble: str) -> Stepped:
    desk, action = hands.desk, hands.action
    if not desk.overdue(action):
        return Stepped(action, desk.poll_s)
    effect = Effect(Verdict.NO_DATA, f"it cannot be looked at: {trouble}")
    return conclude(desk, action, effect, Sight.UNDER_WAY)


def _touched(action: Action, sight: Sight) -> bool:
    """True when another hand has changed the knob; of a job, whatever is over is over."""
    if action.proposal.change is None:
        return False
    put_back = Sight.AFTER not in standing_of(action).sights
    return sight is Sight.OTHER or (put_back and sight is Sight.AFTER)


def _changed_since(action: Action, sight: Sight) -> bool:
    """True when another hand has touched what the action had applied."""
    if action.proposal.change is None:
        return sight is Sight.OTHER
    return sight is not Sight.UNDER_WAY and sight not in standing_of(action).sights


def _can_be_stopped(desk: ActionDesk, action: Action, sight: Sight) -> bool:
    """True when there is a safer state to go to: a job under way, or a change to put back."""
    if action.proposal.change is None:
        return sight is Sight.UNDER_WAY
    return undoable(desk, action)


def _judge(hands: Hands, sight: Sight) -> Stepped:
    desk, action = hands.desk, hands.action
    verified = hands.verify()
    if isinstance(verified.value, Effect):
        return conclude(desk, action, verified.value, sight)
    if desk.overdue(action):
        return _undecided(hands, sight, verified.trouble)
    if verified.value is None:
        return Stepped(action, desk.poll_s)
    return begin_switch(desk, action, verified.value)


def _undecided(hands: Hands, sight: Sight, trouble: str) -> Stepped:
    """Conclude at the deadline."""
    reason = "undecided at its deadline" + (f" ({trouble})" if trouble else "")
    return conclude(hands.desk, hands.action, Effect(Verdict.INCONCLUSIVE, reason), sight)


def _switch(hands: Hands, seen: Seen, to: Sight) -> Stepped:
    """Make the switch that is noted, or find that it was made already."""
    desk, action = hands.desk, hands.action
    trouble = _made(hands, to) if seen.sight is not to else ""
    if trouble:
        return _failed_switch(hands, seen.sight, trouble)
    noted = {**action.progress, **standing_of(action).switched().note()}
    moved = desk.actions.move(action, ActionState.VERIFYING, f"switched to {to}", progress=noted)
    desk.checkpoint("switched")
    return Stepped(moved)


def _made(hands: Hands, to: Sight) -> str:
    """Switch, and read that it is so; what did not work, in a sentence."""
    trouble = hands.switch(to).trouble
    if trouble:
        return trouble
    looked = hands.look()
    if looked.value is None or looked.value.sight is to:
        return looked.trouble
    return f"it reads {looked.value.value!r} after it was switched to {to}"


def _failed_switch(hands: Hands, sight: Sight, trouble: str) -> Stepped:
    """Note an attempt that failed; neither side is safe to stay at, so in the end it is undone."""
    desk, action = hands.desk, hands.action
    standing = standing_of(action).failed()
    if desk.paused() or standing.failures >= _MOST_FAILURES:
        return begin_undo(desk, action, f"it could not be switched: {trouble}")
    if desk.overdue(action):
        return _undecided(hands, sight, trouble)
    noted = {**action.progress, **standing.note()}
    moved = desk.actions.move(action, ActionState.VERIFYING, trouble, progress=noted)
    desk.checkpoint("failed switch noted")
    return Stepped(moved, desk.retry_s)


def _undone(hands: Hands, seen: Seen) -> Stepped:
    desk, action = hands.desk, hands.action
    if seen.sight is Sight.UNDER_WAY:
        return Stepped(action, desk.poll_s)
    if seen.sight is Sight.BEFORE or action.proposal.change is None:
        return finish(desk, action, ActionState.ROLLED_BACK, action.reason)
    return _failed_undo(hands, f"it reads {seen.value!r} after it was put back")


def _failed_undo(hands: Hands, trouble: str) -> Stepped:
    desk, action = hands.desk, hands.action
    failures = action.undo_failures + 1
    if failures >= _MOST_FAILURES:
        return hand_over(desk, action, f"it could not be put back {failures} times: {trouble}")
    moved = desk.actions.move(
        action, ActionState.ROLLING_BACK, action.reason, undo_failures=failures
    )
    desk.checkpoint("undo failure noted")
    _LOG.warning("action %s could not be put back yet: %s", action.id, trouble)
    return Stepped(moved, desk.retry_s)


def _number(value: JsonValue) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
