"""What every notifier offers, and the queue that keeps its troubles away from the agent."""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from pydantic import JsonValue

from config.redaction import MASK, is_secret_name, redact
from registry.agent_records import Severity

logger = logging.getLogger("prime_spark.notifications")

MAX_TEXT = 2000
"""Longest text of an event, characters; also of its details, as JSON."""

_WAITING_EVENTS = 1000
_MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        kind: as in the ledger, such as `action` or `paused`.
        subject: what it happened to, such as an action's id.
        text: one sentence for a person.
        at: seconds since the epoch.
        details: more, for a program.
    """

    kind: str
    subject: str
    text: str
    at: float
    severity: Severity = Severity.INFO
    details: Mapping[str, JsonValue] = field(default_factory=dict)


@runtime_checkable
class Notifier(Protocol):
    """Tells somebody what happened.

    Attributes:
        name: as in the settings.
    """

    name: str

    def send(self, event: Event, timeout_s: float) -> None:
        """Tell about one event, within `timeout_s` seconds.

        The event is redacted and short already. One thread at a time calls this.

        Raises:
            UnavailableError: it could not be told.
        """
        ...


def safe(event: Event) -> Event:
    """Return the event as it may leave the process: no secrets, and of bounded size."""
    details = {name: _safe_value(name, value, 0) for name, value in event.details.items()}
    if len(json.dumps(details, ensure_ascii=False, default=str)) > MAX_TEXT:
        details = {"left_out": f"details longer than {MAX_TEXT} characters"}
    return Event(
        kind=_short(event.kind),
        subject=_short(event.subject),
        text=_short(event.text),
        at=event.at,
        severity=event.severity,
        details=details,
    )


def _safe_value(name: str, value: JsonValue, depth: int) -> JsonValue:
    if is_secret_name(name) and value:
        return MASK
    if isinstance(value, str):
        return _short(value)
    if depth >= _MAX_DEPTH:
        return None
    if isinstance(value, list):
        return [_safe_value(name, one, depth + 1) for one in value]
    if isinstance(value, dict):
        return {key: _safe_value(key, one, depth + 1) for key, one in value.items()}
    return value


def _short(text: str) -> str:
    # Cut before redacting as well: a text of any length costs the same.
    redacted = redact(text[: 2 * MAX_TEXT])
    return redacted if len(redacted) <= MAX_TEXT else redacted[: MAX_TEXT - 1] + "…"


class Notices:
    """Passes events on to notifiers, each in a thread of its own behind a bounded queue.

    `publish` never waits and never raises. When a notifier is slower than what happens, the oldest
    of its waiting events are dropped and counted.

    Args:
        notifiers: who is told.
        timeout_s: longest time for telling one event, seconds.
        waiting: most events that wait for one notifier.
    """

    def __init__(
        self,
        notifiers: Iterable[Notifier],
        *,
        timeout_s: float = 5.0,
        waiting: int = _WAITING_EVENTS,
    ) -> None:
        self._lines = [_Line(notifier, timeout_s, waiting) for notifier in notifiers]

    def publish(self, event: Event) -> None:
        """Hand an event to every notifier."""
        cleaned = safe(event)
        for line in self._lines:
            line.put(cleaned)

    @property
    def dropped(self) -> dict[str, int]:
        """Events that were not told, by notifier: it was too slow, or could not tell them."""
        return {line.notifier.name: line.dropped for line in self._lines}

    def close(self, timeout_s: float = 2.0) -> None:
        """Tell what is still waiting, for at most `timeout_s` seconds, and end."""
        for line in self._lines:
            line.end()
        for line in self._lines:
            line.thread.join(timeout_s / max(1, len(self._lines)))


class _Line:
    """The queue and thread of one notifier."""

    def __init__(self, notifier: Notifier, timeout_s: float, waiting: int) -> None:
        self.notifier = notifier
        self.dropped = 0
        self._timeout_s = timeout_s
        self._waiting: queue.Queue[Event | None] = queue.Queue(maxsize=waiting + 1)
        self._putting = threading.Lock()
        self.thread = threading.Thread(
            target=self._run, name=f"notify {notifier.name}", daemon=True
        )
        self.thread.start()

    def put(self, event: Event | None) -> None:
        """Add an event; with a full queue the oldest gives way."""
        with self._putting:
            while True:
                try:
                    self._waiting.put_nowait(event)
                except queue.Full:
                    self._drop_oldest()
                else:
                    return

    def end(self) -> None:
        """Let the thread end after what is waiting."""
        self.put(None)

    def _drop_oldest(self) -> None:
        try:
            self._waiting.get_nowait()
        except queue.Empty:
            return
        self.dropped += 1

    def _run(self) -> None:
        while (event := self._waiting.get()) is not None:
            try:
                self.notifier.send(event, self._timeout_s)
            except Exception as error:  # noqa: BLE001 - a notifier may be anybody's: none ends the agent
                self.dropped += 1
                logger.warning("notifier %s: %s", self.notifier.name, redact(str(error)))
