"""What happens, as it happens: nothing missed, nothing twice, and it ends when told to."""

from __future__ import annotations

import asyncio
import json

import pytest
from sqlalchemy import Engine

from config.clock import ManualClock
from config.errors import LedgerUnavailable
from registry.ledger.events import EventLog, LedgerEntry
from serving.api.feed import MAX_CLIENTS, Feed, as_event
from serving.api.problems import Refused


@pytest.fixture
def log(engine: Engine, clock: ManualClock) -> EventLog:
    return EventLog(engine, clock)


async def _take(feed: Feed, after: int, count: int) -> list[int]:
    found: list[int] = []
    async for entry in feed.entries(after):
        if entry is not None:
            found.append(entry.id)
        if len(found) == count:
            break
    return found


async def test_a_listener_gets_what_was_and_what_comes(log: EventLog) -> None:
    feed = Feed(log, poll_s=0.01)
    for _ in range(250):
        log.append(None, "finding", "x", {})
    feed.enter()
    taking = asyncio.create_task(_take(feed, 0, 252))
    log.append(None, "finding", "x", {})
    log.append(None, "finding", "x", {})
    assert await asyncio.wait_for(taking, 10.0) == list(range(1, 253))
    feed.leave()


async def test_one_that_comes_back_goes_on_where_it_was(log: EventLog) -> None:
    feed = Feed(log, poll_s=0.01)
    for _ in range(5):
        log.append(None, "finding", "x", {})
    assert await _take(feed, 3, 2) == [4, 5]


async def test_in_silence_something_is_sent_all_the_same(log: EventLog) -> None:
    feed = Feed(log, keep_alive_s=0.01)
    entries = feed.entries(0)
    assert await asyncio.wait_for(anext(entries), 10.0) is None


async def test_all_streams_end_when_the_process_stops(log: EventLog) -> None:
    feed = Feed(log)
    feed.enter()
    taking = asyncio.create_task(_take(feed, 0, 1))
    await asyncio.sleep(0)
    await feed.stop()
    assert await asyncio.wait_for(taking, 10.0) == []
    with pytest.raises(Refused):
        feed.enter()
    feed.leave()


async def test_places_are_limited_and_given_back(log: EventLog) -> None:
    feed = Feed(log)
    for _ in range(MAX_CLIENTS):
        feed.enter()
    with pytest.raises(Refused) as refused:
        feed.enter()
    assert refused.value.status == 429
    feed.leave()
    feed.enter()
    for _ in range(MAX_CLIENTS):
        feed.leave()
    assert feed.clients == 0


async def test_a_ledger_that_is_away_for_a_while_ends_no_stream(log: EventLog) -> None:
    shaky = _Shaky(log)
    feed = Feed(shaky, poll_s=0.01, keep_alive_s=0.01)
    feed.enter()
    log.append(None, "finding", "x", {})
    assert await asyncio.wait_for(_take(feed, 0, 1), 10.0) == [1]
    assert shaky.failures == 0
    feed.leave()


class _Shaky(EventLog):
    """A log whose first looks fail."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(log._engine, log._clock)
        self.failures = 2

    def list(
        self, subject: str | None = None, kind: str | None = None, after: int = 0, limit: int = 100
    ) -> list[LedgerEntry]:
        if self.failures:
            self.failures -= 1
            raise LedgerUnavailable("away")
        return super().list(subject, kind, after, limit)


def test_an_event_is_one_message_whatever_it_holds(log: EventLog) -> None:
    entry = log.append(None, "action", "x", {"text": "two\nlines\r\n", "password": "hunter2"})
    message = as_event(entry).decode()
    lines = message.splitlines()
    assert lines[:2] == ["id: 1", "event: action"]
    assert message.endswith("\n\n")
    assert len(lines) == 4
    body = json.loads(lines[2].removeprefix("data: "))["body"]
    assert body == {"text": "two\nlines\r\n", "password": "***"}
