"""The event log: a chain that shows what was done to it."""

from __future__ import annotations

import multiprocessing

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from config.clock import ManualClock, SystemClock
from registry.ledger.database import open_ledger, writing
from registry.ledger.events import EventLog

_SWAP = (
    "UPDATE events SET id = -1 WHERE id = 2;"
    "UPDATE events SET id = 2 WHERE id = 3;"
    "UPDATE events SET id = 3 WHERE id = -1"
)


def _fill(ledger: Engine, clock: ManualClock, count: int = 5) -> EventLog:
    log = EventLog(ledger, clock)
    for number in range(count):
        log.append(None, "route", f"model-{number % 2}", {"number": number, "name": "ü"})
        clock.advance(1.5)
    return log


def _disarm(connection: Connection) -> None:
    """Take the triggers away, as somebody with rights to the database could."""
    if connection.dialect.name == "sqlite":
        connection.execute(text("DROP TRIGGER events_no_UPDATE"))
        connection.execute(text("DROP TRIGGER events_no_DELETE"))
    else:
        connection.execute(text("DROP TRIGGER events_append_only ON events"))


def test_entries_come_back_as_written(ledger: Engine, clock: ManualClock) -> None:
    log = EventLog(ledger, clock)
    first = log.append(None, "route", "digits", {"b": [1, None], "a": {"x": 0.1}})
    clock.advance(2)
    second = log.append(None, "knob", "digits", {})
    assert log.list() == [first, second]
    assert (first.id, second.id) == (1, 2)
    assert second.previous_hash == first.hash
    assert (second.at - first.at).total_seconds() == 2
    assert log.verify().ok


def test_lists_by_subject_kind_and_page(ledger: Engine, clock: ManualClock) -> None:
    log = _fill(ledger, clock, 6)
    log.append(None, "knob", "model-0", {})
    assert [entry.id for entry in log.list(subject="model-0")] == [1, 3, 5, 7]
    assert [entry.id for entry in log.list(kind="knob")] == [7]
    assert [entry.id for entry in log.list(after=2, limit=2)] == [3, 4]


def test_an_undone_transaction_leaves_no_event(ledger: Engine, clock: ManualClock) -> None:
    log = _fill(ledger, clock, 2)

    def fail() -> None:
        with writing(ledger) as connection:
            log.append(connection, "route", "x", {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert log.append(None, "route", "x", {}).id == 3
    assert log.verify().ok


def test_nan_is_refused(ledger: Engine, clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="JSON"):
        EventLog(ledger, clock).append(None, "look", "x", {"z": float("nan")})


@pytest.mark.parametrize(
    "statement", ["UPDATE events SET body = '{}'", "DELETE FROM events WHERE id = 2"]
)
def test_the_database_refuses_to_change_or_drop_events(
    ledger: Engine, clock: ManualClock, statement: str
) -> None:
    log = _fill(ledger, clock)
    with pytest.raises(DBAPIError, match="append-only"), writing(ledger) as connection:
        connection.execute(text(statement))
    assert log.verify().checked == 5


@pytest.mark.parametrize(
    ("statement", "broken", "reason"),
    [
        ("UPDATE events SET body = '{}' WHERE id = 3", 3, "changed"),
        ("UPDATE events SET at = at + 1 WHERE id = 2", 2, "changed"),
        ("DELETE FROM events WHERE id = 2", 3, "missing"),
        ("DELETE FROM events WHERE id = 1", 2, "missing"),
        ("DELETE FROM events WHERE id = 5", 5, "ends at 4"),
        ("DELETE FROM events", 1, "ends at 0"),
        (_SWAP, 2, "follow"),
    ],
)
def test_verify_finds_what_was_done_past_the_trigger(
    ledger: Engine, clock: ManualClock, statement: str, broken: int, reason: str
) -> None:
    log = _fill(ledger, clock)
    with writing(ledger) as connection:
        _disarm(connection)
        for part in statement.split(";"):
            connection.execute(text(part))
    result = log.verify()
    assert (result.ok, result.broken_id) == (False, broken)
    assert reason in result.reason


def _append(url: str, name: str) -> None:
    log = EventLog(open_ledger(url), SystemClock())
    for number in range(20):
        log.append(None, "test", name, {"number": number})


def test_processes_append_to_one_chain(ledger: Engine, ledger_url: str) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append, args=(ledger_url, f"w{n}")) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    log = EventLog(ledger, SystemClock())
    assert log.verify().ok
    assert log.verify().checked == 80
    numbers = [entry.body["number"] for entry in log.list(subject="w1")]
    assert numbers == list(range(20))
