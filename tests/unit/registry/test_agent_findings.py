"""Findings: open while they are found again, cleared when they are gone for good."""

from __future__ import annotations

import pytest
from pydantic import JsonValue
from sqlalchemy import Engine

from config.clock import ManualClock
from config.errors import InputError
from registry.agent_findings import CALM_S, FindingStore
from registry.agent_records import Finding, Severity
from registry.ledger.events import EventLog


def _finding(name: str, target: str, at: float = 1.0) -> Finding:
    text = f"{name} is high"
    metrics = {"cpu_percent": 90.5}
    parameters: dict[str, JsonValue] = {"to": [1, None]}
    return Finding(name, "high_cpu", target, "", Severity.WARNING, text, at, metrics, parameters)


@pytest.fixture
def store(ledger: Engine, clock: ManualClock) -> FindingStore:
    return FindingStore(ledger, clock)


def test_a_finding_stays_open_while_it_is_found(store: FindingStore) -> None:
    store.put([_finding("a", "host", 1.0)], 1.0)
    store.put([_finding("a", "host", 2.0)], 2.0)
    [kept] = store.list()
    assert kept.finding == _finding("a", "host", 2.0)
    assert (kept.first_at, kept.last_at, kept.cleared_at) == (1.0, 2.0, None)
    assert store.open() == [_finding("a", "host", 2.0)]


def test_what_is_gone_is_cleared_on_the_targets_looked_at(store: FindingStore) -> None:
    store.put([_finding("a", "host"), _finding("b", "host"), _finding("c", "serving")], 1.0)
    first, then = 1.0 + CALM_S, 1.0 + 2 * CALM_S
    store.put([_finding("a", "host")], first)
    assert {one.id for one in store.open()} == {"a", "c"}
    store.put([], then, targets=["host", "serving"])
    assert store.open() == []
    cleared = {one.finding.id: one.cleared_at for one in store.list()}
    assert cleared == {"a": then, "b": first, "c": then}


def test_a_finding_that_comes_back_is_new(
    store: FindingStore, ledger: Engine, clock: ManualClock
) -> None:
    store.put([_finding("a", "host")], 1.0)
    store.put([], 1.0 + CALM_S, targets=["host"])
    again = 2.0 + CALM_S
    store.put([_finding("a", "host")], again)
    [kept] = store.list()
    assert (kept.first_at, kept.last_at, kept.cleared_at) == (again, again, None)
    states = [entry.body["state"] for entry in EventLog(ledger, clock).list(subject="a")]
    assert states == ["opened", "cleared", "opened"]


def test_what_comes_and_goes_is_one_finding(
    store: FindingStore, ledger: Engine, clock: ManualClock
) -> None:
    for look in range(1000):
        store.put([_finding("a", "host")] if look % 3 else [], 60.0 * look, targets=["host"])
    [kept] = store.list()
    assert (kept.first_at, kept.cleared_at) == (60.0, None)
    assert len(EventLog(ledger, clock).list(subject="a")) == 1


def test_a_clock_that_was_set_back_does_not_keep_a_finding(store: FindingStore) -> None:
    store.put([_finding("a", "host")], 1000.0)
    store.put([], 500.0, targets=["host"])
    assert store.open() == []


def test_pages_go_through_all_findings(store: FindingStore) -> None:
    for number in range(5):
        store.put([_finding(f"f{number}", f"t{number}")], float(number // 2))
    first = store.list(limit=3)
    rest = store.list(limit=3, after=first[-1].finding.id)
    assert [one.finding.id for one in first + rest] == ["f4", "f3", "f2", "f1", "f0"]
    store.put([], 9.0 + CALM_S, targets=["t4"])
    assert len(store.list(open_only=True)) == 4
    with pytest.raises(InputError):
        store.list(after="none")
