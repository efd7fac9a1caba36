"""Serving's knobs as wanted values in the ledger: written by actions, read by the workers.

A scope is ``serving``, ``serving/<model>`` or ``serving/<model>/<version>``; the narrower one
wins, which the reader applies. A knob that was never written is absent: settings hold then.
"""

from __future__ import annotations

import math

from sqlalchemy import Engine, select

from config.clock import Clock, epoch
from config.errors import ConflictError, InputError
from registry.ledger.database import lock, reading, writing
from registry.ledger.events import EventLog
from registry.ledger.schema import knobs

KNOB_NAMES = frozenset({"max_batch_size", "max_wait_ms", "cache_entries", "queue_limit"})


class KnobStore:
    """Reads and writes knobs in one ledger."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._events = EventLog(engine, clock)

    def read(self, scope: str) -> dict[str, float]:
        """The knobs written for exactly this scope."""
        return self.read_all().get(scope, {})

    def read_all(self) -> dict[str, dict[str, float]]:
        """Every knob, by scope and name."""
        found: dict[str, dict[str, float]] = {}
        with reading(self._engine) as connection:
            for row in connection.execute(select(knobs.c.scope, knobs.c.name, knobs.c.value)):
                found.setdefault(row.scope, {})[row.name] = row.value
        return found

    def write(
        self, scope: str, name: str, expected: float | None, value: float, by: str, reason: str
    ) -> None:
        """Set a knob if it still has the expected value; `None` means that it was never written.

        Raises:
            ConflictError: it has another value; nothing was changed.
            InputError: no such knob or scope, or a value below 0.
        """
        _check(scope, name, value)
        with writing(self._engine) as connection:
            lock(connection, f"knob {scope} {name}")
            here = (knobs.c.scope == scope) & (knobs.c.name == name)
            found = connection.scalar(select(knobs.c.value).where(here))
            if found != expected:
                raise ConflictError(
                    f"{scope} {name} is {_shown(found)}, not {_shown(expected)}; somebody changed "
                    "it, read it again"
                )
            row = {"value": value, "at": epoch(self._clock.now()), "by": by, "reason": reason}
            if found is None:
                connection.execute(knobs.insert(), row | {"scope": scope, "name": name})
            else:
                connection.execute(knobs.update().where(here).values(**row))
            body = {"name": name, "before": found, "after": value, "by": by, "reason": reason}
            self._events.append(connection, "knob", scope, body)


def _check(scope: str, name: str, value: float) -> None:
    if name not in KNOB_NAMES:
        raise InputError(f"serving has no knob {name!r}; it has {', '.join(sorted(KNOB_NAMES))}")
    if scope != "serving" and not scope.startswith("serving/"):
        raise InputError(f"{scope!r} is no scope; use serving, serving/<model> or add /<version>")
    if not math.isfinite(value) or value < 0:
        raise InputError(f"{name} takes a number from 0 up, not {value}")


def _shown(value: float | None) -> str:
    return "not set" if value is None else f"{value:g}"
