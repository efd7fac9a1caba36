"""Carries out one action, from where it stands to its end: the same for a start and a recovery.

An action is claimed first, which raises its token: a holder that was slow or stopped can neither
move it nor touch the world any more. Then step follows step (`optimizers.execution_steps`) until
the action has ended, or waits for something that is not ours: an approval, its time, a limit.

What this does not promise: that the ledger answers. If it does not, its error ends the run, the
action stays where it was, and whoever runs it next goes on by reading the world.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from config.errors import ConflictError, HandedOver, InputError, LedgerUnavailable
from optimizers.execution_desk import ActionDesk, Hands
from optimizers.execution_end import Stepped, finish, hand_over, publish
from optimizers.execution_steps import STEPS
from registry.agent_records import Action, ActionState

__all__ = ["ActionDesk", "run_action"]


def run_action(desk: ActionDesk, action_id: str, holder: str) -> Action:
    """Carry an action out, or go on with it, until it has ended or has to wait; return it.

    Args:
        desk: what it is carried out with.
        action_id: which one.
        holder: who does it: a name no other process has.

    Raises:
        InputError: there is no such action.
        ConflictError: another holder is at work on it.
        StaleToken: another holder took it over meanwhile; it is theirs now.
        LedgerUnavailable: run it again later.
    """
    action = desk.actions.get(action_id)
    if action is None:
        raise InputError(f"there is no action {action_id}; list them to see which there are")
    if action.state.final:
        return publish(desk, action)
    if action.state not in STEPS:
        return action
    action = desk.actions.claim(action_id, holder, desk.settings.agent.lease_seconds)
    desk.checkpoint("claimed")
    try:
        with _kept(desk, action) as alive:
            action = _to_the_end(desk, action, alive)
    finally:
        if not action.state.final:
            with suppress(LedgerUnavailable, ConflictError):
                desk.actions.release(action)
    desk.checkpoint("released")
    return publish(desk, action) if action.state.final else action


def _to_the_end(desk: ActionDesk, action: Action, alive: Callable[[], None]) -> Action:
    while action.state in STEPS:
        alive()
        stepped = _step(desk, action)
        action = stepped.action
        if stepped.leave:
            break
        if stepped.wait_s > 0:
            desk.tools.wait(stepped.wait_s)
    return action


def _step(desk: ActionDesk, action: Action) -> Stepped:
    capability = desk.capabilities.get(action.proposal.type)
    if capability is not None:
        try:
            return STEPS[action.state](Hands(desk, action, capability.effects))
        except HandedOver as error:
            return hand_over(desk, action, str(error))
    reason = f"no capability {action.proposal.type!r} is installed, or it is switched off"
    if action.state is ActionState.SCHEDULED:
        return finish(desk, action, ActionState.FAILED, reason)
    return hand_over(desk, action, f"{reason}; a person has to look at what it has changed")


@contextmanager
def _kept(desk: ActionDesk, action: Action) -> Iterator[Callable[[], None]]:
    """Keep an action's lease from a second thread while its steps show life.

    A step that hangs longer than `desk.step_s` loses the action as a dead process does.
    """
    done = threading.Event()
    lease_s = desk.settings.agent.lease_seconds
    seen_alive = [desk.clock.monotonic()]

    def renew() -> None:
        while not done.wait(lease_s / 3):
            if desk.clock.monotonic() > seen_alive[0] + desk.step_s:
                return
            with suppress(LedgerUnavailable, ConflictError):
                desk.actions.renew(action, lease_s)

    def alive() -> None:
        seen_alive[0] = desk.clock.monotonic()

    thread = threading.Thread(target=renew, name=f"lease of {action.id}", daemon=True)
    thread.start()
    try:
        yield alive
    finally:
        done.set()
        thread.join()
