"""Approvals: of exactly what was seen, in time, by one person once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from config.clock import ManualClock, epoch
from config.errors import ConflictError, InputError
from registry.agent_actions import ActionStore
from registry.agent_approvals import ApprovalStore
from registry.agent_control import ControlStore
from registry.agent_records import Action, ActionState, Priority
from registry.ledger.events import EventLog
from tests.unit.registry.agent_samples import NO_LIMITS, action

S = ActionState


@pytest.fixture
def store(ledger: Engine, clock: ManualClock) -> ActionStore:
    return ActionStore(ledger, clock)


@pytest.fixture
def approvals(ledger: Engine, clock: ManualClock) -> ApprovalStore:
    return ApprovalStore(ledger, clock)


@pytest.fixture
def waiting(store: ActionStore, clock: ManualClock) -> Action:
    return store.propose(action("a", S.WAITING_APPROVAL, at=epoch(clock.now())), by="maria")


def test_an_approved_action_may_start(
    store: ActionStore, approvals: ApprovalStore, waiting: Action
) -> None:
    made = approvals.decide(waiting.id, waiting.proposal.digest, True, "petra", "cli", "go on")
    assert (made.approved, made.by, made.way, made.note) == (True, "petra", "cli", "go on")
    assert made.used_at == made.at
    assert approvals.of_action(waiting.id) == [made]
    found = store.get(waiting.id)
    assert found is not None
    assert (found.state, found.approved_by, found.approval_id) == (S.SCHEDULED, "petra", made.id)
    assert store.begin(found, NO_LIMITS).state is S.INTENT
    assert [entry.kind for entry in store.stories(waiting.id)] == [
        "action",
        "approval",
        "action",
        "action",
    ]


def test_a_rejected_action_ends_and_is_remembered(
    store: ActionStore,
    approvals: ApprovalStore,
    waiting: Action,
    ledger: Engine,
    clock: ManualClock,
) -> None:
    approvals.decide(waiting.id, waiting.proposal.digest, False, "petra", "api")
    found = store.get(waiting.id)
    assert found is not None
    assert (found.state, found.reason) == (S.REJECTED, "rejected by petra (api)")
    assert ControlStore(ledger, clock).declined("advice-a") == 0.2
    with pytest.raises(ConflictError, match="rejected already, by petra"):
        approvals.decide(waiting.id, waiting.proposal.digest, True, "otto", "cli")


def test_only_what_waits_is_decided(store: ActionStore, approvals: ApprovalStore) -> None:
    one = store.propose(action("b"))
    with pytest.raises(ConflictError, match="it is scheduled"):
        approvals.decide(one.id, one.proposal.digest, True, "petra", "cli")
    with pytest.raises(InputError, match="no action"):
        approvals.decide("action-none", "", True, "petra", "cli")


def test_another_proposal_is_not_approved(approvals: ApprovalStore, waiting: Action) -> None:
    other = replace(waiting.proposal, risk=0.1)
    with pytest.raises(ConflictError, match="digest"):
        approvals.decide(waiting.id, other.digest, True, "petra", "cli")
    assert approvals.of_action(waiting.id) == []


def test_a_proposal_does_not_wait_for_ever(
    approvals: ApprovalStore, waiting: Action, clock: ManualClock
) -> None:
    clock.advance(100)
    with pytest.raises(ConflictError, match="waited too long"):
        approvals.decide(waiting.id, waiting.proposal.digest, True, "p", "cli", expires_s=100)


def test_an_approval_does_not_hold_for_ever(
    store: ActionStore, approvals: ApprovalStore, waiting: Action, clock: ManualClock
) -> None:
    approvals.decide(waiting.id, waiting.proposal.digest, True, "petra", "cli", expires_s=100)
    clock.advance(100)
    found = store.get(waiting.id)
    assert found is not None
    with pytest.raises(ConflictError, match="has expired"):
        store.begin(found, NO_LIMITS)


def test_an_approval_is_used_once(
    store: ActionStore, approvals: ApprovalStore, waiting: Action
) -> None:
    approvals.decide(waiting.id, waiting.proposal.digest, True, "petra", "cli")
    found = store.get(waiting.id)
    assert found is not None
    again = store.move(found, S.WAITING_APPROVAL, "look again")
    with pytest.raises(ConflictError, match="no approval"):
        store.move(again, S.SCHEDULED, "it was approved before")
    second = approvals.decide(waiting.id, waiting.proposal.digest, True, "otto", "prefect")
    assert len({one.id for one in approvals.of_action(waiting.id)} | {second.id}) == 2


def test_who_proposed_does_not_approve_under_the_two_person_rule(
    approvals: ApprovalStore, waiting: Action
) -> None:
    digest = waiting.proposal.digest
    with pytest.raises(ConflictError, match="two-person"):
        approvals.decide(waiting.id, digest, True, "maria", "cli", two_person=True)
    assert approvals.decide(waiting.id, digest, True, "otto", "cli", two_person=True).approved


@pytest.mark.parametrize(
    ("by", "way", "note"), [("p\x00", "cli", ""), ("p", "cli", "\ud800"), ("p", "cli", "x" * 1001)]
)
def test_texts_no_database_holds_are_refused(
    approvals: ApprovalStore, waiting: Action, by: str, way: str, note: str
) -> None:
    with pytest.raises(InputError):
        approvals.decide(waiting.id, waiting.proposal.digest, True, by, way, note)
    with pytest.raises(InputError):
        approvals.decide("no\x00thing", waiting.proposal.digest, True, "p", "cli")


def test_an_unknown_way_is_refused(approvals: ApprovalStore, waiting: Action) -> None:
    with pytest.raises(InputError, match="api, cli, prefect"):
        approvals.decide(waiting.id, waiting.proposal.digest, True, "p", "pigeon")


def test_the_most_urgent_waits_first(store: ActionStore, approvals: ApprovalStore) -> None:
    for name, priority in (("a", Priority.LOW), ("b", Priority.CRITICAL), ("c", Priority.HIGH)):
        one = action(name, S.WAITING_APPROVAL)
        store.propose(replace(one, proposal=replace(one.proposal, priority=priority)))
    store.propose(action("d"))
    assert [one.id for one in approvals.pending()] == ["action-b", "action-c", "action-a"]


def test_a_hundred_approvals_at_once_take_effect_once(
    approvals: ApprovalStore, waiting: Action, ledger: Engine, clock: ManualClock
) -> None:
    ready = threading.Barrier(10)

    def decide(number: int) -> int:
        if number < 10:
            ready.wait(30)
        try:
            digest = waiting.proposal.digest
            approvals.decide(waiting.id, digest, True, f"p{number}", "api")
        except ConflictError:
            return 0
        return 1

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(decide, range(100))) == 1
    assert len(approvals.of_action(waiting.id)) == 1
    assert len(EventLog(ledger, clock).list(kind="approval")) == 1
