"""Learning: each action once, on its target and over all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from sqlalchemy import Engine

from config.clock import ManualClock
from registry.agent_learning import LearningStore
from registry.agent_records import Learned
from tests.unit.registry.agent_samples import action


def _succeeded(known: Learned) -> Learned:
    return replace(known, successes=known.successes + 1.0, updated_at=7.0)


def test_an_action_teaches_once(ledger: Engine, clock: ManualClock) -> None:
    store = LearningStore(ledger, clock)
    assert store.all() == {}
    assert store.record(action("a", target="t"), _succeeded)
    assert not store.record(action("a", target="t"), _succeeded)
    assert store.record(action("b", target="u"), _succeeded)
    found = store.all()
    assert {key: row.successes for key, row in found.items()} == {
        ("batch_inference", "t"): 1.0,
        ("batch_inference", "u"): 1.0,
        ("batch_inference", ""): 2.0,
    }
    assert found["batch_inference", "t"] == Learned("batch_inference", "t", 1, 0, 0, 0, 0, 7.0)


def test_lessons_at_once_are_all_counted(ledger: Engine, clock: ManualClock) -> None:
    store = LearningStore(ledger, clock)
    lessons = [action(f"{number // 2}") for number in range(20)]
    with ThreadPoolExecutor(5) as pool:
        new = list(pool.map(lambda one: store.record(one, _succeeded), lessons))
    assert sum(new) == 10
    assert store.all()["batch_inference", ""].successes == 10.0
