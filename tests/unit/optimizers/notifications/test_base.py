"""Notifiers are told what happens, and none of them can hurt the agent."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field

from config.errors import UnavailableError
from optimizers.notifications.base import MAX_TEXT, Event, Notices, safe


def event(text: str = "it happened", **fields: object) -> Event:
    return Event("action", "action-1", text, 1.0, **fields)  # type: ignore[arg-type]


@dataclass
class Memory:
    """Keeps what it is told; `open` lets it go on, `reached` says that it was called."""

    name: str = "memory"
    told: list[Event] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)

    def send(self, event: Event, timeout_s: float) -> None:  # noqa: ARG002
        self.reached.set()
        self.open.wait(30)
        self.told.append(event)


class Broken:
    name = "broken"

    def __init__(self, error: Exception) -> None:
        self._error = error

    def send(self, event: Event, timeout_s: float) -> None:  # noqa: ARG002
        raise self._error


def memory() -> Memory:
    told = Memory()
    told.open.set()
    return told


def test_every_notifier_is_told_in_order() -> None:
    one, two = memory(), memory()
    notices = Notices([one, two])
    for number in range(50):
        notices.publish(event(str(number)))
    notices.close(10)
    assert [told.text for told in one.told] == [str(number) for number in range(50)]
    assert one.told == two.told


def test_a_notifier_that_fails_hurts_nobody() -> None:
    other = memory()
    notices = Notices([Broken(UnavailableError("away")), Broken(RuntimeError("bug")), other])
    notices.publish(event())
    notices.close(10)
    assert [told.text for told in other.told] == ["it happened"]
    assert notices.dropped == {"broken": 1, "memory": 0}


def test_a_slow_notifier_loses_the_oldest_and_never_makes_the_agent_wait() -> None:
    slow = Memory()
    notices = Notices([slow], waiting=3)
    notices.publish(event("first"))
    assert slow.reached.wait(10)
    for number in range(100):
        notices.publish(event(str(number)))
    assert notices.dropped["memory"] >= 96
    slow.open.set()
    notices.close(10)
    texts = [told.text for told in slow.told]
    assert texts[0] == "first"
    assert texts[-1] == "99"
    assert len(texts) + notices.dropped["memory"] == 101


def test_ending_does_not_wait_for_a_notifier_that_hangs() -> None:
    hanging = Memory()
    notices = Notices([hanging])
    notices.publish(event())
    notices.close(0.05)
    assert hanging.told == []
    hanging.open.set()


def test_no_secret_leaves_the_process() -> None:
    told = memory()
    notices = Notices([told])
    notices.publish(
        event(
            "cannot reach http://me:hunter2@db/",
            details={"api_token": "hunter2", "inner": {"password": "hunter2", "kept": [1, "a"]}},
        )
    )
    notices.close(10)
    assert "hunter2" not in repr(told.told)
    assert told.told[0].details["inner"] == {"password": "***", "kept": [1, "a"]}


def test_a_secret_across_the_cut_is_hidden_too() -> None:
    text = "x" * (MAX_TEXT - 10) + " password=hunter2hunter2hunter2"
    assert "hunter2" not in safe(event(text)).text


def test_what_is_told_is_bounded() -> None:
    deep: dict[str, object] = {}
    for _ in range(500):
        deep = {"down": deep}
    cleaned = safe(event("x" * 10_000_000, details={"deep": deep}))
    assert len(cleaned.text) <= MAX_TEXT
    wide = safe(event(details={"wide": [str(n) for n in range(100_000)]}))
    assert len(json.dumps(wide.details)) <= MAX_TEXT
    assert "left_out" in wide.details
