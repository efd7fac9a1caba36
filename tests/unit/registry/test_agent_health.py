"""The health of the targets: kept as it was last, and an event when it changes."""

from __future__ import annotations

from itertools import pairwise

from sqlalchemy import Engine

from config.clock import ManualClock
from registry.agent_health import CALM_S, HealthStore
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
    told = []
    for well in (True, False, False, True):
        looks = [look("host", True), look("serving", well)]
        told.append([one.target for one in store.put(looks, "agent-1")])
        clock.advance(CALM_S)
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


def test_of_a_target_that_flaps_one_change_in_a_while_is_told(
    ledger: Engine, clock: ManualClock
) -> None:
    store, looks = HealthStore(ledger, clock), 120
    for number in range(looks):
        store.put([look("mlflow", number % 2 == 1)], "agent-1")
        assert store.all()["mlflow"].ok is (number % 2 == 1), "how it is now is always known"
        clock.advance(30.0)
    told = EventLog(ledger, clock).list(subject="mlflow")
    assert told[0].body["ok"] is False
    assert 2 <= len(told) <= looks * 30.0 / CALM_S + 1
    moments = [one.at.timestamp() for one in told]
    assert all(later - sooner >= CALM_S for sooner, later in pairwise(moments))


def test_what_lasts_is_told_after_a_flap(ledger: Engine, clock: ManualClock) -> None:
    store = HealthStore(ledger, clock)
    assert store.put([look("mlflow", False)], "agent-1")
    clock.advance(30.0)
    assert store.put([look("mlflow", True)], "agent-1") == []
    clock.advance(CALM_S)
    assert store.put([look("mlflow", True)], "agent-1") == [look("mlflow", True)]
