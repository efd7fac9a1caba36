"""Leases: one holder at a time, and none that is dead for long."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from config.clock import ManualClock
from config.errors import StaleToken
from registry.agent_leases import LeaseStore


@pytest.fixture
def leases(ledger: Engine, clock: ManualClock) -> LeaseStore:
    return LeaseStore(ledger, clock)


def test_one_holder_at_a_time(leases: LeaseStore, clock: ManualClock) -> None:
    assert leases.current("leader") is None
    mine = leases.acquire("leader", "a", 30)
    assert mine is not None
    assert leases.acquire("leader", "b", 30) is None
    assert leases.acquire("another", "b", 30) is not None
    clock.advance(20)
    mine = leases.renew(mine)
    clock.advance(20)
    assert leases.acquire("leader", "b", 30) is None
    clock.advance(10)
    theirs = leases.acquire("leader", "b", 30)
    assert theirs is not None
    assert theirs.token == mine.token + 1
    with pytest.raises(StaleToken):
        leases.renew(mine)
    leases.release(mine)
    assert leases.acquire("leader", "a", 30) is None


def test_a_released_lease_is_free_at_once(leases: LeaseStore) -> None:
    mine = leases.acquire("leader", "a", 30)
    assert mine is not None
    leases.release(mine)
    theirs = leases.acquire("leader", "b", 30)
    assert theirs is not None
    current = leases.current("leader")
    assert current is not None
    assert (current.holder, current.token) == ("b", theirs.token)


def test_of_two_under_one_name_the_later_one_holds(leases: LeaseStore) -> None:
    first = leases.acquire("leader", "a", 30)
    second = leases.acquire("leader", "a", 30)
    assert first is not None
    assert second is not None
    with pytest.raises(StaleToken):
        leases.renew(first)
    leases.renew(second)


def test_a_clock_set_back_does_not_make_a_lease_last(
    leases: LeaseStore, clock: ManualClock
) -> None:
    assert leases.acquire("leader", "a", 30) is not None
    clock.step_wall(-3600)
    assert leases.acquire("leader", "b", 30) is not None
