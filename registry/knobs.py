"""Serving's knobs as wanted values in the ledger: written by actions, read by the workers.

A scope is ``serving``, ``serving/<model>`` or ``serving/<model>/<version>``; the narrower one
wins, which the reader applies. A knob that was never written, or was taken away again by writing
`None`, is absent: settings hold then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, select

from config.clock import Clock, epoch
from config.errors import ConflictError, InputError
from registry.ledger.database import lock, reading, writing
from registry.ledger.events import EventLog
from registry.ledger.schema import knobs

ROOT = "serving"
_DEEPEST = 3  # serving/<model>/<version>


@dataclass(frozen=True, slots=True)
class KnobBounds:
    """The values a knob takes.

    Attributes:
        low: smallest value.
        high: largest value.
        whole: whole numbers only.
        everywhere: it belongs to the whole predictor; narrower scopes do not have it.
    """

    low: float
    high: float
    whole: bool = True
    everywhere: bool = False


BOUNDS: Mapping[str, KnobBounds] = {
    "max_batch_size": KnobBounds(1, 4096),
    "max_wait_ms": KnobBounds(0, 1000, whole=False),
    "cache_entries": KnobBounds(0, 10_000_000),
    "queue_limit": KnobBounds(1, 100_000),
    "intra_op_threads": KnobBounds(1, 256),
    "allow_spinning": KnobBounds(0, 1),
    "idle_unload_seconds": KnobBounds(0, 31_536_000, whole=False),
    # A counter: each rise asks every worker once to give back what it does not need.
    "release_memory": KnobBounds(0, 2**53, everywhere=True),
    "workers": KnobBounds(1, 64, everywhere=True),
}
KNOB_NAMES = frozenset(BOUNDS)


class KnobStore:
    """Reads and writes knobs in one ledger."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._events = EventLog(engine, clock)

    def read(self, scope: str) -> dict[str, float]:
        """The knobs written for exactly this scope."""
        with reading(self._engine) as connection:
            return _written(connection, scope)

    def read_all(self) -> dict[str, dict[str, float]]:
        """Every knob, by scope and name."""
        found: dict[str, dict[str, float]] = {}
        with reading(self._engine) as connection:
            for row in connection.execute(select(knobs.c.scope, knobs.c.name, knobs.c.value)):
                found.setdefault(row.scope, {})[row.name] = row.value
        return found

    def write(
        self,
        scope: str,
        name: str,
        expected: float | None,
        value: float | None,
        by: str,
        reason: str,
    ) -> None:
        """Turn one knob; see :meth:`write_many`."""
        self.write_many(scope, {name: expected}, {name: value}, by, reason)

    def write_many(
        self,
        scope: str,
        expected: Mapping[str, float | None],
        values: Mapping[str, float | None],
        by: str,
        reason: str,
        *,
        check: Callable[[], None] | None = None,
    ) -> None:
        """Turn knobs of a scope in one transaction, if they still have the expected values.

        `None` stands for never written: as a value it takes the knob away again, exactly. Knobs
        that have the wanted values already are left alone. `expected` names the same knobs as
        `values`. `check` is called within the transaction, when nobody else can write the knobs any
        more; whatever it raises leaves everything as it was.

        Raises:
            ConflictError: one has another value than expected; nothing was changed.
            InputError: no such knob or scope, or a value out of bounds.
        """
        check_scope(scope)
        for name, value in values.items():
            _check(scope, name, value)
        if expected.keys() != values.keys():
            raise InputError("expected and values must name the same knobs")
        with writing(self._engine) as connection:
            lock(connection, f"knobs {scope}")
            if check is not None:
                check()
            written = _written(connection, scope)
            found = {name: written.get(name) for name in values}
            if found == values:
                return
            for name, value in expected.items():
                if found[name] != value:
                    raise ConflictError(
                        f"{scope} {name} is {_shown(found[name])} where {_shown(value)} was "
                        "expected; somebody changed it, read it again"
                    )
            self._turn(connection, scope, found, values, {"by": by, "reason": reason})

    def _turn(
        self,
        connection: Connection,
        scope: str,
        found: Mapping[str, float | None],
        values: Mapping[str, float | None],
        why: Mapping[str, str],
    ) -> None:
        changed = [name for name in values if values[name] != found[name]]
        for name in changed:
            here = (knobs.c.scope == scope) & (knobs.c.name == name)
            value = values[name]
            row = {"value": value, "at": epoch(self._clock.now()), **why}
            if value is None:
                connection.execute(knobs.delete().where(here))
            elif found[name] is None:
                connection.execute(knobs.insert(), row | {"scope": scope, "name": name})
            else:
                connection.execute(knobs.update().where(here).values(**row))
        # Last, since from the first event on nobody else can append one.
        for name in changed:
            body = {"name": name, "before": found[name], "after": values[name], **why}
            self._events.append(connection, "knob", scope, body)


def _written(connection: Connection, scope: str) -> dict[str, float]:
    rows = connection.execute(select(knobs.c.name, knobs.c.value).where(knobs.c.scope == scope))
    return {row.name: row.value for row in rows}


def check_scope(scope: str) -> None:
    """Raise InputError unless knobs can be written in this scope."""
    parts = scope.split("/")
    if parts[0] != ROOT or len(parts) > _DEEPEST or not all(parts):
        raise InputError(f"{scope!r} is no scope; use serving, serving/<model> or add /<version>")


def _check(scope: str, name: str, value: float | None) -> None:
    bounds = BOUNDS.get(name)
    if bounds is None:
        raise InputError(f"serving has no knob {name!r}; it has {', '.join(sorted(KNOB_NAMES))}")
    if bounds.everywhere and scope != ROOT:
        raise InputError(f"{name} belongs to the whole predictor; write it in the scope {ROOT!r}")
    if value is None:
        return
    kind = "a whole number" if bounds.whole else "a number"
    fits = bounds.low <= value <= bounds.high  # never so for NaN
    if not fits or (bounds.whole and value != int(value)):
        raise InputError(f"{name} takes {kind} from {bounds.low} to {bounds.high}, not {value}")


def _shown(value: float | None) -> str:
    return "not set" if value is None else f"{value:.15g}"
