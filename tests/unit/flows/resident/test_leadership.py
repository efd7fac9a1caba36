"""One agent leads at any moment, whatever the clocks do; the next one takes over in time."""

from __future__ import annotations

from sqlalchemy import Engine

from config.clock import ManualClock
from flows.resident.leadership import LEASE, Leadership
from registry.agent_leases import LeaseStore

TTL_S = 30.0


def agent(name: str, ledger: Engine, clock: ManualClock) -> Leadership:
    return Leadership(LeaseStore(ledger, clock), name, TTL_S, clock)


def test_the_second_agent_stands_by(ledger: Engine, clock: ManualClock) -> None:
    first, second = agent("first", ledger, clock), agent("second", ledger, clock)
    assert (first.hold(), second.hold()) == (True, False)
    assert first.held
    assert first.standby() == ""
    assert "another agent leads" in second.standby()


def test_it_takes_over_once_the_leader_shows_no_sign_of_life(
    ledger: Engine, clock: ManualClock
) -> None:
    first, second = agent("first", ledger, clock), agent("second", ledger, clock)
    first.hold()
    for _ in range(5):
        clock.advance(TTL_S / 3)
        assert first.hold()
        assert not second.hold()
    clock.advance(TTL_S + 1)
    assert not first.held, "the old leader stops before the new one begins"
    assert second.hold()
    assert not first.hold(), "a leader that slept finds that it was replaced"


def test_giving_up_lets_the_next_one_lead_at_once(ledger: Engine, clock: ManualClock) -> None:
    first, second = agent("first", ledger, clock), agent("second", ledger, clock)
    first.hold()
    first.give_up()
    assert not first.held
    assert second.hold()


def test_a_leader_that_cannot_renew_leads_no_longer_than_its_lease(
    ledger: Engine, clock: ManualClock
) -> None:
    first = agent("first", ledger, clock)
    first.hold()
    clock.advance(TTL_S - 1)
    assert first.held
    clock.advance(2)
    assert not first.held


def test_a_step_of_the_wall_clock_does_not_make_it_believe_longer(
    ledger: Engine, clock: ManualClock
) -> None:
    first = agent("first", ledger, clock)
    first.hold()
    clock.step_wall(-3600)
    clock.advance(TTL_S)
    assert not first.held


def test_the_lease_names_who_leads(ledger: Engine, clock: ManualClock) -> None:
    agent("first", ledger, clock).hold()
    lease = LeaseStore(ledger, clock).current(LEASE)
    assert lease is not None
    assert lease.holder == "first"
