"""The proof, asked for at the moment of an effect, that its action may still touch the world."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, Engine, select

from config.clock import Clock, epoch
from config.errors import ConflictError, InputError, StaleToken
from registry.agent_records import Action, ActionState
from registry.ledger.agent_schema import actions
from registry.ledger.database import reading


class ActionGuard:
    """Checks token, state, deadline and pause of one action in the ledger.

    Putting back is never held up by a pause or a deadline: for an action that is rolling back only
    the token counts.
    """

    def __init__(
        self, engine: Engine, clock: Clock, action: Action, paused: Callable[[], bool]
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._action = action
        self._paused = paused

    def check(self) -> None:
        """Do nothing while the caller may act.

        Raises:
            StaleToken: the action has passed to another holder.
            ConflictError: it has ended, the agent was paused, or its deadline is over.
            LedgerUnavailable: nobody can tell.
        """
        with reading(self._engine) as connection:
            self.check_within(connection)

    def check_within(self, connection: Connection) -> None:
        """The same within a transaction that makes the effect; errors as with :meth:`check`."""
        query = select(
            actions.c.token, actions.c.state, actions.c.holder, actions.c.deadline_at
        ).where(actions.c.id == self._action.id)
        row = connection.execute(query).one_or_none()
        if row is None:
            raise InputError(f"there is no action {self._action.id}")
        if row.token != self._action.token:
            raise StaleToken(
                f"action {self._action.id} was claimed by {row.holder or 'another holder'} "
                "meanwhile; leave it to that holder"
            )
        state = ActionState(row.state)
        if state.final:
            raise ConflictError(f"action {self._action.id} has ended ({state})")
        if state is ActionState.ROLLING_BACK:
            return
        if row.deadline_at is not None and epoch(self._clock.now()) >= row.deadline_at:
            raise ConflictError(f"the deadline of action {self._action.id} is over")
        if self._paused():
            raise ConflictError(f"the agent is paused; action {self._action.id} has no effect now")
