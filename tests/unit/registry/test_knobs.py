"""Knobs: wanted values, changed only by those who know the present one."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from config.clock import ManualClock
from config.errors import ConflictError, InputError
from registry.knobs import KnobStore
from registry.ledger.events import EventLog


def test_written_knobs_are_read_by_scope(ledger: Engine, clock: ManualClock) -> None:
    store = KnobStore(ledger, clock)
    assert store.read("serving") == {}
    store.write("serving", "max_wait_ms", None, 2.5, "a test", "to see")
    store.write("serving/digits", "max_batch_size", None, 64, "a test", "to see")
    store.write("serving", "max_wait_ms", 2.5, 0, "a test", "back")
    assert store.read("serving") == {"max_wait_ms": 0.0}
    assert store.read_all() == {
        "serving": {"max_wait_ms": 0.0},
        "serving/digits": {"max_batch_size": 64.0},
    }


@pytest.mark.parametrize("expected", [None, 3.0])
def test_a_knob_somebody_turned_is_left_alone(
    ledger: Engine, clock: ManualClock, expected: float | None
) -> None:
    store = KnobStore(ledger, clock)
    store.write("serving", "queue_limit", None, 100, "a person", "by hand")
    with pytest.raises(ConflictError, match="is 100"):
        store.write("serving", "queue_limit", expected, 50, "the agent", "too long")
    assert store.read("serving") == {"queue_limit": 100.0}


def test_a_knob_never_written_is_not_anything_else(ledger: Engine, clock: ManualClock) -> None:
    with pytest.raises(ConflictError, match="not set"):
        KnobStore(ledger, clock).write("serving", "queue_limit", 256, 50, "t", "r")


@pytest.mark.parametrize(
    ("scope", "name", "value"),
    [
        ("serving", "no_such_knob", 1.0),
        ("storage", "queue_limit", 1.0),
        ("serving", "queue_limit", -1.0),
        ("serving", "queue_limit", float("inf")),
        ("serving", "queue_limit", float("nan")),
    ],
)
def test_what_is_no_knob_is_refused(
    ledger: Engine, clock: ManualClock, scope: str, name: str, value: float
) -> None:
    store = KnobStore(ledger, clock)
    with pytest.raises(InputError):
        store.write(scope, name, None, value, "t", "r")
    assert store.read_all() == {}


def test_each_turn_is_an_event(ledger: Engine, clock: ManualClock) -> None:
    KnobStore(ledger, clock).write("serving/digits", "cache_entries", None, 10, "me", "hits")
    [entry] = EventLog(ledger, clock).list(subject="serving/digits")
    assert entry.body == {
        "name": "cache_entries",
        "before": None,
        "after": 10,
        "by": "me",
        "reason": "hits",
    }
