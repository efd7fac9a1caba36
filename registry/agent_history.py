"""Looking at the agent's actions: by id, state, time, and their whole stories."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Engine, Select, and_, func, or_, select

from config.clock import Clock
from config.errors import InputError
from registry.agent_limits import last_start, started_since
from registry.agent_moves import find_action
from registry.agent_records import Action, ActionState, Finding
from registry.agent_rows import action_from_row, finding_from_json
from registry.ledger.agent_schema import actions
from registry.ledger.database import reading
from registry.ledger.events import EventLog, LedgerEntry

_LIVE = tuple(state.value for state in ActionState if not state.final)
_PAGE = 1000
_Actions = list[Action]
_Entries = list[LedgerEntry]


class ActionHistory:
    """Reads the actions of one ledger; raises LedgerUnavailable when that is away."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._events = EventLog(engine, clock)

    def get(self, id: str) -> Action | None:  # noqa: A002 - the word the callers use
        """The action of that id, or None."""
        with reading(self._engine) as connection:
            return find_action(connection, id)

    def live(self) -> _Actions:
        """The actions that have not ended, oldest first."""
        return self._select(
            select(actions)
            .where(actions.c.state.in_(_LIVE))
            .order_by(actions.c.created_at, actions.c.id)
        )

    def finished_since(self, at: float) -> _Actions:
        """The actions that ended at or after `at`, in the order of their end."""
        return self._select(
            select(actions).where(actions.c.finished_at >= at).order_by(actions.c.finished_at)
        )

    def started_since(self, at: float) -> int:
        """How many actions were started after `at`."""
        with reading(self._engine) as connection:
            return started_since(connection, at)

    def last_started(self, type: str, target: str) -> float | None:  # noqa: A002
        """When an action of this type on this target was started last; None when never."""
        with reading(self._engine) as connection:
            return last_start(connection, type, target)

    def stories(self, id: str) -> _Entries:  # noqa: A002
        """Every event of an action, oldest first."""
        found: _Entries = []
        while page := self._events.list(
            subject=id, after=found[-1].id if found else 0, limit=_PAGE
        ):
            found += page
        return found

    def grounds(self, id: str) -> list[Finding]:  # noqa: A002
        """What called for an action, as it was when it was proposed."""
        first = self._events.list(subject=id, kind="action", limit=1)
        noted = first[0].body.get("findings") if first else None
        return [finding_from_json(str(one)) for one in noted] if isinstance(noted, list) else []

    def counts(self) -> dict[ActionState, int]:
        """How many actions stand in each state; states without any are absent."""
        query = select(actions.c.state, func.count()).group_by(actions.c.state)
        with reading(self._engine) as connection:
            return {ActionState(state): count for state, count in connection.execute(query)}

    def total_improvement(self) -> float:
        """The sum of the realised relative gains of all completed actions."""
        query = select(func.sum(actions.c.gain)).where(
            actions.c.state == ActionState.COMPLETED.value
        )
        with reading(self._engine) as connection:
            return float(connection.scalar(query) or 0.0)

    def list(
        self,
        states: Collection[ActionState] | None = None,
        *,
        type: str | None = None,  # noqa: A002
        target: str | None = None,
        after: str | None = None,
        limit: int = 100,
        newest_first: bool = True,
    ) -> _Actions:
        """Actions in the order of their creation, page by page.

        Args:
            states: only these; None for all.
            type: only this action type.
            target: only this target.
            after: the id of the last action of the page before.
            limit: the most actions to return.
            newest_first: the order.

        Raises:
            InputError: there is no action `after`.
        """
        query = select(actions).limit(limit)
        if states is not None:
            query = query.where(actions.c.state.in_([state.value for state in states]))
        if type is not None:
            query = query.where(actions.c.type == type)
        if target is not None:
            query = query.where(actions.c.target == target)
        if after is not None:
            query = query.where(self._beyond(after, newest_first))
        order = (actions.c.created_at, actions.c.id)
        ordered = [column.desc() for column in order] if newest_first else list(order)
        return self._select(query.order_by(*ordered))

    def _beyond(self, id: str, newest_first: bool) -> ColumnElement[bool]:  # noqa: A002
        last = self.get(id)
        if last is None:
            raise InputError(f"there is no action {id} to go on after; begin with the first page")
        at, tie = actions.c.created_at, actions.c.id
        if newest_first:
            return or_(at < last.created_at, and_(at == last.created_at, tie < id))
        return or_(at > last.created_at, and_(at == last.created_at, tie > id))

    def _select(self, query: Select[tuple[object, ...]]) -> _Actions:
        with reading(self._engine) as connection:
            return [action_from_row(row) for row in connection.execute(query).mappings()]
