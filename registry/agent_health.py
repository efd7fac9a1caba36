"""How the agent's targets answered last, as one fact of the ledger; a change is an event."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import JsonValue
from sqlalchemy import Engine

from config.clock import Clock, epoch
from registry.agent_facts import Fact, read_fact, write_fact
from registry.agent_records import TargetHealth
from registry.ledger.database import lock, reading, writing
from registry.ledger.events import EventLog

TARGETS = "targets"
"""The name of the fact."""


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
            those that answer now and did not before, or the other way round.
        """
        value: dict[str, JsonValue] = {
            one.target: {"ok": one.ok, "at": one.at, "seconds": one.seconds, "reason": one.reason}
            for one in looks
        }
        with writing(self._engine) as connection:
            lock(connection, "agent targets")
            before = _health_of(read_fact(connection, TARGETS))
            changed = [one for one in looks if _changed(before.get(one.target), one)]
            write_fact(connection, TARGETS, Fact(value, by, epoch(self._clock.now())))
            for one in changed:
                body: dict[str, JsonValue] = {"ok": one.ok, "reason": one.reason}
                self._events.append(connection, "target", one.target, body)
        return changed

    def all(self) -> dict[str, TargetHealth]:
        """How each target answered when it was last looked at, by name."""
        with reading(self._engine) as connection:
            return _health_of(read_fact(connection, TARGETS))


def _changed(before: TargetHealth | None, now: TargetHealth) -> bool:
    """A target seen for the first time is worth an event only if it does not answer."""
    return not now.ok if before is None else before.ok != now.ok


def _health_of(fact: Fact | None) -> dict[str, TargetHealth]:
    value = fact.value if fact is not None else None
    if not isinstance(value, Mapping):
        return {}
    return {
        name: TargetHealth(
            target=name,
            ok=bool(one.get("ok")),
            at=_number(one.get("at")),
            seconds=_number(one.get("seconds")),
            reason=str(one.get("reason") or ""),
        )
        for name, one in value.items()
        if isinstance(one, Mapping)
    }


def _number(value: JsonValue) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
