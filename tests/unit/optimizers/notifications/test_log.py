"""The log notifier writes one line an event."""

from __future__ import annotations

import logging

import pytest

from optimizers.notifications.base import Event
from optimizers.notifications.log import LogNotifier
from registry.agent_records import Severity


@pytest.mark.parametrize(
    ("severity", "level"),
    [
        (Severity.INFO, logging.INFO),
        (Severity.WARNING, logging.WARNING),
        (Severity.CRITICAL, logging.ERROR),
    ],
)
def test_an_event_is_a_line_at_the_level_of_its_severity(
    severity: Severity, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "prime_spark.events"):
        LogNotifier().send(Event("paused", "agent", "by anna", 1.0, severity), 1.0)
    assert caplog.record_tuples == [("prime_spark.events", level, "paused agent: by anna")]


def test_a_text_cannot_forge_a_second_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "prime_spark.events"):
        LogNotifier().send(Event("action", "a", "one\nERROR two\r\nthree", 1.0), 1.0)
    assert caplog.messages == ["action a: one ERROR two three"]
