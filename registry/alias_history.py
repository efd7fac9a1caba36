"""The history of aliases, which MLflow does not keep: our own moves and those seen from outside.

Every observer tells what it read; a value that differs from the last one known, and is not our own
doing, is recorded once, whoever of them comes first. A reading may be old by the time it is told,
so a value that the alias held a moment ago is not believed at once: the observer is asked to look
again. MLflow does not say who moved an alias, so neither can this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, func, insert, select, update

from config.clock import Clock, epoch, from_epoch
from registry.ledger.database import insert_into, lock, reading, writing
from registry.ledger.events import EventLog
from registry.ledger.schema import alias_moves, alias_state
from registry.records import AliasMove, MoveState

OUTSIDE_ACTOR = "outside; unknown"

# Longer than a reading may take on its way from MLflow into the ledger.
STALE_S = 5.0


@dataclass(frozen=True, slots=True)
class Intended:
    """What a move is meant to do."""

    model: str
    alias: str
    before: int | None
    after: int | None
    actor: str
    reason: str


class AliasHistory:
    """The alias history of one ledger."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._events = EventLog(engine, clock)

    def list(self, model: str, limit: int = 1000) -> list[AliasMove]:
        """The newest `limit` moves of a model's aliases in the order they came about.

        Each move that is done begins where the one before it of the same alias ended. Intents
        whose outcome is not known come last.
        """
        query = (
            select(alias_moves)
            .where(alias_moves.c.model == model)
            .order_by(alias_moves.c.place.is_(None).desc(), alias_moves.c.place.desc())
            .limit(limit)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return [_move(row) for row in reversed(rows)]

    def open_intents(self, model: str | None = None) -> Sequence[AliasMove]:
        """Moves whose outcome is not known yet, oldest first."""
        query = select(alias_moves).where(alias_moves.c.state == MoveState.INTENT.value)
        if model is not None:
            query = query.where(alias_moves.c.model == model)
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(alias_moves.c.id)).mappings()
            return [_move(row) for row in rows]

    def observe(self, model: str, aliases: Mapping[str, int | None], seen_by: str) -> bool:
        """Tell what was just read from the registry.

        Args:
            model: the registered model's name.
            aliases: alias to version, None for an alias that is not there; aliases that are not
                among the keys count as not looked at.
            seen_by: the observer, for the record.

        Returns:
            True when everything is accounted for; False when a value may be an old reading or a
            move under way, so that the observer has to look and tell again.
        """
        if self._is_known(model, aliases):
            return True
        with writing(self._engine) as connection:
            lock(connection, f"aliases {model}")
            scene = _Scene(connection, model, epoch(self._clock.now()))
            told = [self._account(scene, alias, seen, seen_by) for alias, seen in aliases.items()]
        return all(told)

    def intend(self, intended: Intended) -> AliasMove:
        """Commit what is about to be done, before it is."""
        row = _row(intended, MoveState.INTENT, epoch(self._clock.now()))
        with writing(self._engine) as connection:
            lock(connection, f"aliases {intended.model}")
            return _insert(connection, row)

    def settle(self, move: AliasMove, state: MoveState, note: str = "") -> AliasMove:
        """Write down how a move came out; one that is settled already stays as it is.

        For a move that is done, an unseen outside move that made its `before` is recorded too.
        """
        now = epoch(self._clock.now())
        with writing(self._engine) as connection:
            lock(connection, f"aliases {move.model}")
            self._settle(connection, move, state, note, now)
            return _by_id(connection, move.id)

    def _is_known(self, model: str, aliases: Mapping[str, int | None]) -> bool:
        with reading(self._engine) as connection:
            scene = _Scene(connection, model, 0.0)
            return all(
                scene.known.get(alias) == seen and alias not in scene.intents
                for alias, seen in aliases.items()
            )

    def _account(self, scene: _Scene, alias: str, seen: int | None, seen_by: str) -> bool:
        known = scene.known.get(alias)
        if seen == known:
            return True
        if scene.held_recently(alias, seen):
            return False
        intent = scene.intents.get(alias)
        if intent is not None and seen == intent.after:
            note = f"seen by {seen_by}"
            self._settle(scene.connection, intent, MoveState.DONE, note, scene.now)
            return True
        if intent is not None and seen == intent.before:
            return False
        self._record_outside(scene, alias, known, seen, f"first seen by {seen_by}")
        return True

    def _record_outside(
        self, scene: _Scene, alias: str, before: int | None, after: int | None, reason: str
    ) -> None:
        outside = Intended(scene.model, alias, before, after, OUTSIDE_ACTOR, reason)
        row = _row(outside, MoveState.DONE, scene.now) | {"outside": True}
        place = _next_place(scene.connection, scene.model)
        move = _insert(scene.connection, row | {"settled_at": scene.now, "place": place})
        _set_state(scene.connection, move)
        self._append(scene.connection, move)

    def _settle(
        self, connection: Connection, move: AliasMove, state: MoveState, note: str, now: float
    ) -> None:
        if _by_id(connection, move.id).state is not MoveState.INTENT:
            return
        if state is MoveState.DONE:
            scene = _Scene(connection, move.model, now)
            known = scene.known.get(move.alias)
            if known != move.before:
                self._record_outside(
                    scene, move.alias, known, move.before, "found when the alias was moved"
                )
            _set_state(connection, move)
        values = {
            "state": state.value,
            "settled_at": now,
            "place": _next_place(connection, move.model),
            "reason": f"{move.reason}; {note}" if note else move.reason,
        }
        connection.execute(update(alias_moves).where(alias_moves.c.id == move.id).values(**values))
        self._append(connection, _by_id(connection, move.id))

    def _append(self, connection: Connection, move: AliasMove) -> None:
        body: dict[str, Any] = {
            "alias": move.alias,
            "before": move.before,
            "after": move.after,
            "actor": move.actor,
            "reason": move.reason,
            "state": move.state.value,
            "outside": move.outside,
        }
        self._events.append(connection, "alias", move.model, body)


class _Scene:
    """What the ledger knows of a model's aliases, within one transaction."""

    def __init__(self, connection: Connection, model: str, now: float) -> None:
        self.connection = connection
        self.model = model
        self.now = now
        state = select(alias_state.c.alias, alias_state.c.version)
        rows = connection.execute(state.where(alias_state.c.model == model))
        self.known: dict[str, int | None] = {row.alias: row.version for row in rows}
        intents = select(alias_moves).where(
            alias_moves.c.model == model, alias_moves.c.state == MoveState.INTENT.value
        )
        moves = [_move(row) for row in connection.execute(intents).mappings()]
        self.intents = {move.alias: move for move in moves}

    def held_recently(self, alias: str, version: int | None) -> bool:
        """True when the alias left that version so short a time ago that a reading may be old."""
        query = select(alias_moves.c.settled_at, alias_moves.c.before).where(
            alias_moves.c.model == self.model,
            alias_moves.c.alias == alias,
            alias_moves.c.state == MoveState.DONE.value,
            # Either way: the clock may have been stepped back meanwhile.
            alias_moves.c.settled_at.between(self.now - STALE_S, self.now + STALE_S),
        )
        rows = self.connection.execute(query)
        return any(row.before == version for row in rows)


def _row(intended: Intended, state: MoveState, now: float) -> dict[str, Any]:
    return {
        "model": intended.model,
        "alias": intended.alias,
        "before": intended.before,
        "after": intended.after,
        "actor": intended.actor,
        "reason": intended.reason,
        "at": now,
        "state": state.value,
        "outside": False,
    }


def _insert(connection: Connection, row: dict[str, Any]) -> AliasMove:
    key = connection.execute(insert(alias_moves), row).inserted_primary_key
    assert key is not None
    return _by_id(connection, key[0])


def _next_place(connection: Connection, model: str) -> int:
    query = select(func.max(alias_moves.c.place)).where(alias_moves.c.model == model)
    return (connection.scalar(query) or 0) + 1


def _by_id(connection: Connection, id: int) -> AliasMove:  # noqa: A002
    query = select(alias_moves).where(alias_moves.c.id == id)
    return _move(connection.execute(query).mappings().one())


def _set_state(connection: Connection, move: AliasMove) -> None:
    statement = insert_into(connection, alias_state)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["model", "alias"], set_={"version": statement.excluded.version}
        ),
        {"model": move.model, "alias": move.alias, "version": move.after},
    )


def _move(row: RowMapping) -> AliasMove:
    return AliasMove(
        id=row["id"],
        model=row["model"],
        alias=row["alias"],
        before=row["before"],
        after=row["after"],
        actor=row["actor"],
        reason=row["reason"],
        at=from_epoch(row["at"]),
        state=MoveState(row["state"]),
        outside=row["outside"],
    )
