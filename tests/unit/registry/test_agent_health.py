"""The health of the targets: kept as it was last, and an event when it changes."""

from __future__ import annotations

from sqlalchemy import Engine

from config.clock import ManualClock
from registry.agent_health import HealthStore
from registry.agent_records import TargetHealth
from registry.ledger.events import EventLog


def look(name: str, ok: bool) -> TargetHealth:
    return TargetHealth(name, ok, at=100.0, seconds=0.25, reason="" if ok else "no answer")


def test_what_was_seen_last_is_known(ledger: Engine, clock: ManualClock) -> None:
    store = HealthStore(ledger, clock)
    assert store.all() == {}
    store.put([look("host", True), look("serving", False)], "agent-1")
    assert store.all() == {"host": look("host", True), "serving": look("serving", False)}
    store.put([look("host", True)], "agent-1")
    assert list(store.all()) == ["host"]


def test_a_change_is_told_once_and_is_an_event(ledger: Engine, clock: ManualClock) -> None:
    store = HealthStore(ledger, clock)
    told = [
        [one.target for one in store.put([look("host", True), look("serving", well)], "agent-1")]
        for well in (True, False, False, True)
    ]
    assert told == [[], ["serving"], [], ["serving"]]
    events = EventLog(ledger, clock).list(kind="target")
    assert [(one.subject, one.body["ok"]) for one in events] == [
        ("serving", False),
        ("serving", True),
    ]


def test_a_target_that_never_answered_is_told(ledger: Engine, clock: ManualClock) -> None:
    assert HealthStore(ledger, clock).put([look("mlflow", False)], "agent-1") == [
        look("mlflow", False)
    ]
