"""Notifier `log`: what happens, as lines of the agent's log."""

from __future__ import annotations

import logging

from optimizers.notifications.base import Event
from optimizers.plugins import PluginContext
from registry.agent_records import Severity

_LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.CRITICAL: logging.ERROR,
}


class LogNotifier:
    """Writes events to a logger; line breaks in a text cannot forge a line of their own."""

    name = "log"

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("prime_spark.events")

    def send(self, event: Event, timeout_s: float) -> None:  # noqa: ARG002
        """Write one line."""
        text = " ".join(event.text.split())
        self._logger.log(_LEVELS[event.severity], "%s %s: %s", event.kind, event.subject, text)


def make(context: PluginContext) -> LogNotifier:  # noqa: ARG001
    """Entry point `log`."""
    return LogNotifier()
