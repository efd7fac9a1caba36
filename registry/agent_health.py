"""How the agent's targets answered last, as one fact of the ledger; a change is an event.

Of a target that flaps one change in `CALM_S` is told: at once that it changed, and then how it is
when that time is over. The event log is never thinned out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass

from pydantic import JsonValue
from sqlalchemy import Engine

from config.clock import Clock, epoch
from registry.agent_facts import Fact, read_fact, write_fact
from registry.agent_records import TargetHealth
from registry.ledger.database import lock, reading, writing
from registry.ledger.events import EventLog

TARGETS = "targets"
"""The name of the fact."""

CALM_S = 300.0
"""Seconds after a target's change was told until the next is."""


class HealthStore:
    """Keeps the health of the targets in one ledger; raises LedgerUnavailable when that is away."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._events = EventLog(engine, clock)

    def put(self, looks: Collection[TargetHealth], by: str) -> list[TargetHealth]:
        """Record how all targets answered; targets that are not among them are forgotten.

        Args:
            looks: one for each target.
            by: who looked.

        Returns:
            those that answer and were last told not to, or the other way round.
        """
        now = epoch(self._clock.now())
        with writing(self._engine) as connection:
            lock(connection, "agent targets")
            before = _told_of(read_fact(connection, TARGETS))
            changed = [one for one in looks if _changed(before.get(one.target), one, now)]
            told = before | {one.target: _Told(one.ok, now) for one in changed}
            value: dict[str, JsonValue] = {
                one.target: asdict(one) | asdict(told.get(one.target, _NOTHING)) for one in looks
            }
            write_fact(connection, TARGETS, Fact(value, by, now))
            for one in changed:
                body: dict[str, JsonValue] = {"ok": one.ok, "reason": one.reason}
                self._events.append(connection, "target", one.target, body)
        return changed

    def all(self) -> dict[str, TargetHealth]:
        """How each target answered when it was last looked at, by name."""
        with reading(self._engine) as connection:
            return _health_of(read_fact(connection, TARGETS))


@dataclass(frozen=True, slots=True)
class _Told:
    """What was last told of a target, and when; nothing said is a target that answers."""

    told: bool = True
    told_at: float | None = None


_NOTHING = _Told()


def _changed(before: _Told | None, look: TargetHealth, now: float) -> bool:
    last = before or _NOTHING
    calm = last.told_at is None or not 0 <= now - last.told_at < CALM_S
    return look.ok is not last.told and calm


def _told_of(fact: Fact | None) -> dict[str, _Told]:
    return {
        name: _Told(bool(one["told"]), _number(one["told_at"]))
        for name, one in _entries(fact)
        if one.get("told_at") is not None
    }


def _entries(fact: Fact | None) -> Iterator[tuple[str, Mapping[str, JsonValue]]]:
    value = fact.value if fact is not None else None
    for name, one in value.items() if isinstance(value, Mapping) else ():
        if isinstance(one, Mapping):
            yield name, one


def _health_of(fact: Fact | None) -> dict[str, TargetHealth]:
    return {
        name: TargetHealth(
            target=name,
            ok=bool(one.get("ok")),
            at=_number(one.get("at")),
            seconds=_number(one.get("seconds")),
            reason=str(one.get("reason") or ""),
        )
        for name, one in _entries(fact)
    }


def _number(value: JsonValue) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
