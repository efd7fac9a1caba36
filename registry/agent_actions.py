"""The agent's actions in the ledger: proposed once, moved by compare-and-set, held by a token.

Part of every step of an action's life: a step reads the action, acts, and moves it. A move fails
if the action has moved or was claimed by somebody else since it was read, so of two processes that
carry out the same action one goes on and the other stops.

What this does not promise: that the world is as the state says. A step may have died between its
effect and its move; whoever goes on looks at the world first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Unpack

from sqlalchemy import Connection, insert, select, update

from config.clock import epoch
from config.errors import ConflictError, DeadlineExceeded, InputError
from registry.agent_facts import PAUSED, is_paused, read_fact
from registry.agent_guard import ActionGuard
from registry.agent_history import ActionHistory
from registry.agent_limits import refuse_start
from registry.agent_moves import (
    ActionFields,
    expected_action,
    find_action,
    locked_action,
    move_row,
    needs_approval,
    owned_action,
    proposed_event,
)
from registry.agent_records import Action, ActionState, Finding, StartLimits
from registry.agent_rows import action_from_row, action_to_row
from registry.ledger.agent_schema import actions
from registry.ledger.database import exclusive, lock, writing

_FIRST_STATES = frozenset(
    {
        ActionState.PROPOSED,
        ActionState.WAITING_APPROVAL,
        ActionState.SCHEDULED,
        ActionState.REJECTED,
        ActionState.SIMULATED,
    }
)
_FINAL = tuple(state.value for state in ActionState if state.final)
_EFFECT_WAIT_S = 2.0


class ActionStore(ActionHistory):
    """Writes and reads the actions of one ledger; raises LedgerUnavailable when that is away."""

    def propose(
        self, action: Action, *, by: str = "agent", findings: Iterable[Finding] = ()
    ) -> Action:
        """Record a new action, or return the one there is for the same advice.

        That is one which has not ended, or the same one simulated last time.

        Args:
            action: it, in its first state.
            by: who proposes it.
            findings: what is found now; those that called for it are kept as they are now.

        Raises:
            ConflictError: it is scheduled although it needs an approval.
            InputError: no action begins in its state.
        """
        _refuse_as_first(action)
        with writing(self._engine) as connection:
            lock(connection, f"advice {action.proposal.advice_id}")
            known = find_action(connection, action.id) or _same_advice(connection, action)
            if known is not None:
                return known
            if action.state.final and action.finished_at is None:
                # It is over with being recorded: found again among what has ended, and told.
                action = replace(action, finished_at=epoch(self._clock.now()))
            connection.execute(insert(actions), action_to_row(action))
            body = proposed_event(action, by, findings)
            self._events.append(connection, "action", action.id, body)
        return action

    def move(
        self, action: Action, to: ActionState, reason: str, **fields: Unpack[ActionFields]
    ) -> Action:
        """Move an action on from the state and token it was read with, setting fields.

        The same state again only sets fields. Ending an action gives its lease back.

        Raises:
            StaleToken: somebody claimed the action since.
            ConflictError: it has moved since, that state cannot follow, or it needs an approval.
        """
        if to is ActionState.INTENT and action.state is not to:
            raise ConflictError(f"action {action.id} is started by `begin`, which keeps the limits")
        with writing(self._engine) as connection:
            found = expected_action(connection, action)
            return self._moved(connection, found, to, reason, fields)

    def begin(
        self,
        action: Action,
        limits: StartLimits,
        reason: str = "starting",
        **fields: Unpack[ActionFields],
    ) -> Action:
        """Move a scheduled action to its intent, if all limits allow it at this moment.

        This is the only way there, and one transaction, so no two processes break a limit together.

        Raises:
            StaleToken: somebody claimed the action since.
            ConflictError: it has moved since, the agent is paused, or a limit says no; the text
                names it.
        """
        with writing(self._engine) as connection:
            lock(connection, "action starts")
            found = expected_action(connection, action)
            if found.state is not ActionState.SCHEDULED:
                raise ConflictError(f"action {found.id} is {found.state}, not scheduled")
            if is_paused(read_fact(connection, PAUSED)):
                raise ConflictError(f"the agent is paused; action {found.id} is not started")
            now = epoch(self._clock.now())
            refuse_start(connection, found, limits, now)
            with_start: ActionFields = {**fields, "executed_at": now}
            return self._moved(connection, found, ActionState.INTENT, reason, with_start)

    def claim(self, id: str, holder: str, ttl_s: float) -> Action:  # noqa: A002
        """Take an action for `ttl_s` seconds under a new token; the one before holds no more.

        A holder that claims again gets a new token too, so of two processes under one name only
        the later one may write. An effect under way is waited for, shortly.

        Raises:
            ConflictError: another holder's lease is alive, its effect is under way, or the action
                has ended.
            InputError: no such action.
        """
        known = self.get(id)
        if known is None:
            raise InputError(f"there is no action {id}; list them to see which there are")
        try:
            with exclusive(self._engine, _effects_on(known), _EFFECT_WAIT_S):
                return self._claim(id, holder, ttl_s)
        except DeadlineExceeded as error:
            raise ConflictError(
                f"an effect on {known.proposal.target} is under way; claim action {id} later"
            ) from error

    def renew(self, action: Action, ttl_s: float) -> Action:
        """Hold on to an action for `ttl_s` seconds from now.

        Raises:
            StaleToken: somebody else claimed it.
            ConflictError: it has ended.
        """
        with writing(self._engine) as connection:
            found = owned_action(connection, action)
            _refuse_ended(found)
            expires = epoch(self._clock.now()) + ttl_s
            _set(connection, found.id, lease_expires_at=expires)
            return replace(found, lease_expires_at=expires)

    def release(self, action: Action) -> None:
        """Give the lease back, so that another holder need not wait; a stale one is ignored."""
        with writing(self._engine) as connection:
            connection.execute(
                update(actions)
                .where(actions.c.id == action.id, actions.c.token == action.token)
                .values(holder=None, lease_expires_at=None)
            )

    def guard(self, action: Action, *, paused: Callable[[], bool]) -> ActionGuard:
        """The proof that this holder of the action may still touch the world."""
        return ActionGuard(self._engine, self._clock, action, paused)

    @contextmanager
    def holding(
        self, action: Action, *, paused: Callable[[], bool], timeout_s: float = 5.0
    ) -> Iterator[ActionGuard]:
        """Keep the action from being claimed by others across one short effect.

        For targets without an atomic compare-and-set. The guard is checked once it holds.

        Raises:
            DeadlineExceeded: another effect on the target took longer than `timeout_s`.
            StaleToken, ConflictError: as `Guard.check`.
        """
        with exclusive(self._engine, _effects_on(action), timeout_s):
            guard = self.guard(action, paused=paused)
            guard.check()
            yield guard

    def link(self, id: str, *, flow_run_id: str | None = None, run_id: str | None = None) -> None:  # noqa: A002
        """Note the Prefect flow run or the MLflow run of an action, whatever its state."""
        links = {"flow_run_id": flow_run_id, "run_id": run_id}
        values = {name: value for name, value in links.items() if value is not None}
        with writing(self._engine) as connection:
            locked_action(connection, id)
            if values:
                _set(connection, id, **values)

    def _claim(self, id: str, holder: str, ttl_s: float) -> Action:  # noqa: A002
        now = epoch(self._clock.now())
        with writing(self._engine) as connection:
            found = locked_action(connection, id)
            _refuse_ended(found)
            expires = found.lease_expires_at or 0.0
            # A lease that runs longer than any can was written before the clock was set back.
            alive = found.holder is not None and now < expires <= now + 2 * ttl_s
            if alive and found.holder != holder:
                raise ConflictError(
                    f"action {id} is held by {found.holder} for another {expires - now:.0f} s; "
                    "wait or stop that holder"
                )
            token = found.token + 1
            _set(connection, id, holder=holder, token=token, lease_expires_at=now + ttl_s)
            return locked_action(connection, id)

    def _moved(
        self,
        connection: Connection,
        found: Action,
        to: ActionState,
        reason: str,
        fields: ActionFields,
    ) -> Action:
        now = epoch(self._clock.now())
        return move_row(connection, self._events, found, to, reason, now=now, fields=fields)


def _refuse_as_first(action: Action) -> None:
    if action.state not in _FIRST_STATES:
        raise InputError(f"no action begins as {action.state}; propose or schedule it")
    if action.state is ActionState.SCHEDULED and needs_approval(action):
        raise ConflictError(
            f"action {action.id} needs an approval ({action.decision.approval}); let it wait for it"
        )


def _same_advice(connection: Connection, action: Action) -> Action | None:
    query = (
        select(actions)
        .where(actions.c.advice_id == action.proposal.advice_id)
        .order_by(actions.c.created_at.desc(), actions.c.id.desc())
    )
    live = query.where(actions.c.state.not_in(_FINAL)).limit(1)
    row = connection.execute(live).mappings().one_or_none()
    if row is not None:
        return action_from_row(row)
    if action.state is not ActionState.SIMULATED:
        return None
    row = connection.execute(query.limit(1)).mappings().one_or_none()
    if row is None or (row["state"], row["digest"]) != (action.state, action.proposal.digest):
        return None
    return action_from_row(row)


def _refuse_ended(found: Action) -> None:
    if found.state.final:
        raise ConflictError(f"action {found.id} has ended ({found.state}: {found.reason})")


def _effects_on(action: Action) -> str:
    # By target, not by action: the names, and with them the lock files, stay few.
    return f"effects on {action.proposal.target}"


def _set(connection: Connection, id: str, **values: str | float | None) -> None:  # noqa: A002
    connection.execute(update(actions).where(actions.c.id == id).values(**values))
