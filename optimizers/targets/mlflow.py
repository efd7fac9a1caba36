"""The MLflow server: whether it answers, how fast, and its version."""

from __future__ import annotations

from dataclasses import dataclass

from config.clock import Clock
from optimizers.targets.base import Observed, ObserveOnly
from optimizers.targets.http_source import HttpSource
from optimizers.targets.readings import Readings

_MAX_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class MlflowFacts:
    """The server's version, as it says."""

    version: str


class MlflowTarget(ObserveOnly):
    """One MLflow server.

    Args:
        tracking_uri: ``http(s)://…``
        clock: tells how long an answer takes.
        name: the target's name.
    """

    def __init__(self, tracking_uri: str, clock: Clock, name: str = "mlflow") -> None:
        self.name = name
        self._clock = clock
        self._source = HttpSource("the MLflow server", tracking_uri, clock, max_bytes=_MAX_BYTES)
        self._version: str | None = None

    def observe(self, at: float, timeout_s: float) -> Observed:
        """Ask for its health; see :class:`optimizers.targets.base.Target`."""
        deadline = self._source.deadline(timeout_s)
        asked = self._clock.monotonic()
        health = self._source.get("/health", deadline)
        answered = self._clock.monotonic()
        if health.strip() != b"OK":
            self._version = None
            raise self._source.unusable("it does not say that it is well")
        if self._version is None:
            # It changes with a restart only, and a restart is seen as an outage.
            self._version = self._source.get("/version", deadline).decode("utf-8", "replace")[:50]
        readings = Readings(self.name, at)
        readings.add("answer_ms", (answered - asked) * 1000.0, "ms")
        return readings.observed(MlflowFacts(self._version.strip()))
