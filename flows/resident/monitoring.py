"""The monitor tick: looks at every target and records what was seen."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flows.resident.looking import Look, Lookout
from flows.resident.summary import Row, Summary
from registry.agent_records import Severity
from registry.observation_tidying import Limits

if TYPE_CHECKING:
    from config.settings import AgentSettings
    from flows.resident.world import AgentWorld
    from registry.agent_records import TargetHealth

_log = logging.getLogger("prime_spark.agent")

_TIDY_S = 600.0
_HOUR_S = 3600.0
_DAY_S = 86_400.0


@dataclass(slots=True)
class Monitor:
    """Looks again and again, and holds the last look for the other loops."""

    world: AgentWorld
    _lookout: Lookout = field(init=False)
    _last: Look | None = field(default=None, init=False)
    _looking: threading.Lock = field(default_factory=threading.Lock, init=False)
    _tidied_at: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        timeout_s = self.world.settings.agent.target_timeout_seconds
        self._lookout = Lookout(self.world.targets, timeout_s, self.world.clock)

    def look(self) -> Look:
        """The last look; the first one is taken when it is asked for."""
        with self._looking:
            if self._last is None:
                self._last = self._lookout.look()
            return self._last

    def tick(self) -> Summary:
        """Look, record, and keep what is recorded within its bounds.

        Raises:
            LedgerUnavailable: nothing was recorded; what was seen is known to this process.
        """
        look = self._lookout.look()
        with self._looking:
            self._last = look
        recorded = self.world.observations.record(look.observations)
        for one in self.world.health.put(tuple(look.health.values()), self.world.holder):
            self._tell(one)
        self._tidy()
        answered = sum(one.ok for one in look.health.values())
        text = f"{recorded.kept} values from {answered} of {len(look.health)} targets"
        return Summary(text, [_row(one) for one in look.health.values()])

    def _tell(self, one: TargetHealth) -> None:
        if one.ok:
            _log.info("target %s answers again", one.target, extra={"target": one.target})
            self.world.tell("target", one.target, "it answers again")
            return
        _log.warning(
            "target %s does not answer: %s", one.target, one.reason, extra={"target": one.target}
        )
        self.world.tell("target", one.target, f"it does not answer: {one.reason}", Severity.WARNING)

    def _tidy(self) -> None:
        now = self.world.clock.monotonic()
        if self._tidied_at is not None and now - self._tidied_at < _TIDY_S:
            return
        self._tidied_at = now
        limits = limits_of(self.world.settings.agent)
        self.world.observations.compact(self.world.now, limits)


def limits_of(settings: AgentSettings) -> Limits:
    """How long and how much of what was seen is kept."""
    return Limits(
        raw_s=settings.raw_hours * _HOUR_S,
        five_minute_s=settings.five_minute_days * _DAY_S,
        max_bytes=int(settings.history_max_mb * 1e6),
    )


def monitor_once(world: AgentWorld) -> Summary:
    """One tick by itself, for the flow of that name."""
    return Monitor(world).tick()


def _row(one: TargetHealth) -> Row:
    return {
        "target": one.target,
        "answers": "yes" if one.ok else "no",
        "seconds": round(one.seconds, 3),
        "reason": one.reason,
    }
