"""Knobs: wanted values, changed only by those who know the present one."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from config.clock import ManualClock
from config.errors import ConflictError, InputError, StaleToken
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
        ("serving", "queue_limit", 0),
        ("serving", "max_batch_size", 2.5),
        ("serving", "allow_spinning", 2),
        ("serving", "intra_op_threads", 10**400),
        ("serving/digits", "workers", 2),
        ("serving/digits/1", "release_memory", 1),
        ("serving/", "queue_limit", 1),
        ("serving/a/1/x", "queue_limit", 1),
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


def test_what_is_taken_away_again_was_never_written(ledger: Engine, clock: ManualClock) -> None:
    store = KnobStore(ledger, clock)
    store.write("serving", "max_wait_ms", None, 2.5, "the agent", "to see")
    store.write("serving", "max_wait_ms", 2.5, None, "the agent", "it did not help")
    assert store.read_all() == {}
    store.write("serving", "max_wait_ms", None, None, "the agent", "once more")
    bodies = [entry.body for entry in EventLog(ledger, clock).list(subject="serving")]
    assert [(body["before"], body["after"]) for body in bodies] == [(None, 2.5), (2.5, None)]


def test_several_knobs_are_turned_together_or_not_at_all(
    ledger: Engine, clock: ManualClock
) -> None:
    store = KnobStore(ledger, clock)
    store.write("serving/digits", "max_wait_ms", None, 1, "a person", "by hand")
    unset = {"max_batch_size": None, "max_wait_ms": None}
    wanted = {"max_batch_size": 64.0, "max_wait_ms": 2.0}
    with pytest.raises(ConflictError, match="max_wait_ms is 1 where not set was"):
        store.write_many("serving/digits", unset, wanted, "the agent", "faster")
    assert store.read("serving/digits") == {"max_wait_ms": 1.0}
    store.write_many("serving/digits", unset | {"max_wait_ms": 1.0}, wanted, "the agent", "faster")
    assert store.read("serving/digits") == wanted
    store.write_many("serving/digits", wanted, unset, "the agent", "slower")
    assert store.read_all() == {}


def test_what_is_there_already_is_left_alone(ledger: Engine, clock: ManualClock) -> None:
    store = KnobStore(ledger, clock)
    for _ in range(2):
        store.write("serving", "queue_limit", None, 100, "the agent", "shorter")
    assert len(EventLog(ledger, clock).list(subject="serving")) == 1


def test_a_check_that_refuses_leaves_everything_as_it_was(
    ledger: Engine, clock: ManualClock
) -> None:
    store = KnobStore(ledger, clock)

    def refuse() -> None:
        assert store.read("serving") == {}  # a guard may read the ledger meanwhile
        raise StaleToken("the action has passed to another holder")

    with pytest.raises(StaleToken):
        store.write_many(
            "serving", {"queue_limit": None}, {"queue_limit": 5}, "a", "b", check=refuse
        )
    assert store.read_all() == {}


def test_expected_and_wanted_values_are_of_the_same_knobs(
    ledger: Engine, clock: ManualClock
) -> None:
    with pytest.raises(InputError, match="the same knobs"):
        KnobStore(ledger, clock).write_many("serving", {}, {"queue_limit": 5}, "a", "b")
