"""The audit of the tables: actions and approvals are what their entries say."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from config.clock import ManualClock, epoch
from registry.agent_actions import ActionStore
from registry.agent_approvals import ApprovalStore
from registry.agent_records import Action, ActionState
from registry.audit import Audit
from registry.ledger.database import writing
from tests.unit.registry.agent_samples import NO_LIMITS, action


@pytest.fixture
def approved(ledger: Engine, clock: ManualClock) -> Action:
    """A ledger with an approved action that is under way, and with another that was proposed."""
    store, approvals = ActionStore(ledger, clock), ApprovalStore(ledger, clock)
    now = epoch(clock.now())
    waiting = store.propose(action("a", ActionState.WAITING_APPROVAL, at=now))
    approvals.decide(waiting.id, waiting.proposal.digest, True, "petra", "cli", "go on")
    store.propose(action("b", at=now))
    begun = store.begin(store.claim(waiting.id, "me", 30), NO_LIMITS)
    return store.move(begun, ActionState.APPLIED, "written", progress={"n": 1})


def test_what_the_stores_write_holds(ledger: Engine, clock: ManualClock, approved: Action) -> None:
    report = Audit(ledger, clock, None).verify()
    assert (report.ok, report.reason, report.broken_id) == (True, "", None)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE actions SET state = 'completed' WHERE id = 'action-a'", "row says completed"),
        ("DELETE FROM actions WHERE id = 'action-b'", "action action-b: its row was dropped"),
        ("UPDATE actions SET id = 'action-c' WHERE id = 'action-b'", "action-"),
        (
            "UPDATE actions SET proposal = replace(proposal, 'Change a', 'Change z')",
            "not the one that was recorded",
        ),
        ("UPDATE actions SET digest = 'x' WHERE id = 'action-b'", "not the one that was recorded"),
        ("UPDATE approvals SET \"by\" = 'otto'", "not as it was given"),
        ("UPDATE approvals SET expires_at = expires_at + 1", "not as it was given"),
        ("DELETE FROM approvals", "row was dropped"),
        ("UPDATE approvals SET id = 'approval-z'", "no entry tells of it"),
    ],
)
def test_a_row_that_was_changed_by_hand_is_found(
    ledger: Engine, clock: ManualClock, approved: Action, statement: str, told: str
) -> None:
    with writing(ledger) as connection:
        connection.execute(text(statement))
    report = Audit(ledger, clock, None).verify()
    assert not report.ok
    assert report.broken_id is None
    assert told in report.reason
