"""The audit: whatever was done to the ledger is found, by the chain or by the anchor."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, text

from config.clock import ManualClock
from config.errors import ConflictError
from registry.audit import AnchorState, Audit
from registry.audit_anchor import TAG, AnchorTag
from registry.ledger.database import writing
from registry.ledger.events import EventLog
from registry.rest import RestClient
from tests.services.processes import free_port


@pytest.fixture
def tag(mlflow_uri: str, request: pytest.FixtureRequest) -> Iterator[AnchorTag]:
    made = AnchorTag(mlflow_uri, f"audit of {request.node.name}", environ={})
    yield made
    made.close()


def _fill(ledger: Engine, clock: ManualClock, count: int) -> None:
    log = EventLog(ledger, clock)
    for number in range(count):
        log.append(None, "knob", "digits", {"number": number, "name": "ü", "part": 0.1})
        clock.advance(1.25)


def _disarm(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(text("DROP TRIGGER IF EXISTS events_no_UPDATE"))
        connection.execute(text("DROP TRIGGER IF EXISTS events_no_DELETE"))
    else:
        connection.execute(text("DROP TRIGGER IF EXISTS events_append_only ON events"))


def _forge(ledger: Engine, *statements: str) -> None:
    """Do what somebody with all rights to the database could do, setting the head right too."""
    head = (
        "UPDATE event_head SET last_id = coalesce((SELECT max(id) FROM events), 0), hash = "
        "coalesce((SELECT hash FROM events ORDER BY id DESC LIMIT 1), '')"
    )
    with writing(ledger) as connection:
        _disarm(connection)
        for statement in (*statements, head):
            connection.execute(text(statement))


def test_a_sound_ledger_holds(ledger: Engine, clock: ManualClock, tag: AnchorTag) -> None:
    _fill(ledger, clock, 5)
    audit = Audit(ledger, clock, tag)
    assert audit.verify().anchor is AnchorState.NONE
    anchored = audit.anchor()
    assert anchored is not None
    assert anchored == audit.last_anchor() == tag.read()
    _fill(ledger, clock, 2)
    report = audit.verify()
    assert (report.ok, report.checked, report.anchored_id) == (True, 8, 5)
    assert report.anchor is AnchorState.HOLDS


def test_nothing_new_is_not_anchored_again(
    ledger: Engine, clock: ManualClock, tag: AnchorTag
) -> None:
    audit = Audit(ledger, clock, tag)
    assert audit.anchor() is None
    _fill(ledger, clock, 1)
    assert audit.anchor() is not None
    assert audit.anchor() is None
    _fill(ledger, clock, 1)
    third = audit.anchor()
    assert third is not None
    assert third.id == 3


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("DELETE FROM events WHERE id > 3", "cut off"),
        ("DELETE FROM events", "cut off"),
    ],
)
def test_a_cut_is_found_by_the_anchor_although_the_chain_holds(
    ledger: Engine, clock: ManualClock, tag: AnchorTag, statement: str, reason: str
) -> None:
    _fill(ledger, clock, 5)
    audit = Audit(ledger, clock, tag)
    anchored = audit.anchor()
    _forge(ledger, statement)
    assert EventLog(ledger, clock).verify().ok
    report = audit.verify()
    assert (report.ok, report.anchor, report.broken_id) == (False, AnchorState.BROKEN, 5)
    assert reason in report.reason
    with pytest.raises(ConflictError, match=reason):
        audit.anchor()
    assert tag.read() == anchored


def test_a_log_written_anew_is_found(ledger: Engine, clock: ManualClock, tag: AnchorTag) -> None:
    _fill(ledger, clock, 5)
    audit = Audit(ledger, clock, tag)
    audit.anchor()
    _forge(ledger, "DELETE FROM events")
    _fill(ledger, clock, 9)
    report = audit.verify()
    assert (report.ok, report.anchor, report.broken_id) == (False, AnchorState.BROKEN, 5)
    assert "written anew" in report.reason


@pytest.mark.parametrize(
    ("statements", "broken"),
    [
        (["UPDATE events SET body = '{}' WHERE id = 2"], 2),
        (["DELETE FROM events WHERE id = 2"], 3),
        (
            [
                "UPDATE events SET id = -1 WHERE id = 2",
                "UPDATE events SET id = 2 WHERE id = 3",
                "UPDATE events SET id = 3 WHERE id = -1",
            ],
            2,
        ),
    ],
)
def test_what_was_changed_within_is_found_by_the_chain(
    ledger: Engine, clock: ManualClock, statements: list[str], broken: int
) -> None:
    _fill(ledger, clock, 5)
    _forge(ledger, *statements)
    report = Audit(ledger, clock, None).verify()
    assert (report.ok, report.broken_id, report.anchor) == (False, broken, AnchorState.NONE)


def test_an_anchor_that_was_removed_or_changed_is_found(
    ledger: Engine, clock: ManualClock, tag: AnchorTag, mlflow_uri: str
) -> None:
    _fill(ledger, clock, 5)
    audit = Audit(ledger, clock, tag)
    audit.anchor()
    rest = RestClient(mlflow_uri, 5.0, environ={})
    name = {"experiment_name": tag.experiment}
    call = "experiments/get-by-name"
    experiment = rest.get(call, name, lambda found: str(found["experiment"]["experiment_id"]))
    change = {"experiment_id": experiment, "key": TAG, "value": "nothing"}
    rest.send("POST", "experiments/set-experiment-tag", change)
    report = audit.verify()
    assert (report.ok, report.anchor) == (False, AnchorState.BROKEN)
    assert "somebody changed it" in report.reason
    rest.send("POST", "experiments/delete-experiment-tag", change)
    report = audit.verify()
    assert (report.ok, report.anchor) == (False, AnchorState.BROKEN)
    assert "removed" in report.reason
    with pytest.raises(ConflictError, match="removed"):
        audit.anchor()
    assert audit.anchor(anew=True) is not None
    assert audit.verify().ok
    rest.send("POST", "experiments/delete", {"experiment_id": experiment})
    assert not audit.verify().ok
    rest.close()


def test_an_mlflow_that_is_away_is_said_so(ledger: Engine, clock: ManualClock) -> None:
    _fill(ledger, clock, 3)
    tag = AnchorTag(f"http://127.0.0.1:{free_port()}", "x", timeout_s=1.0, environ={})
    report = Audit(ledger, clock, tag).verify()
    assert (report.ok, report.checked, report.anchor) == (True, 3, AnchorState.UNREACHABLE)
    tag.close()


def test_an_export_can_be_checked_without_this_program(ledger: Engine, clock: ManualClock) -> None:
    _fill(ledger, clock, 4)
    previous = ""
    lines = list(Audit(ledger, clock, None).export())
    for number, line in enumerate(lines, start=1):
        entry = json.loads(line)
        body = json.dumps(entry["body"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        parts = [entry["id"], entry["at"], entry["kind"], entry["subject"], body, previous]
        assert entry["id"] == number
        assert entry["hash"] == hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        previous = entry["hash"]
    assert len(lines) == 4
    assert list(Audit(ledger, clock, None).export(after=3)) == lines[3:]
