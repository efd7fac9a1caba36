"""Whether the agent lives, by the sign of life it leaves in the ledger. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from config.settings import Settings
from serving.api.action_answers import moment
from serving.api.answers import LoopAnswer

# What an agent that was told to stop says last.
STOPPED = "stopped"

# An agent that has shown no sign of life for this many of its shortest intervals is down.
_MISSED_TICKS = 3.0


@dataclass(frozen=True, slots=True)
class Beat:
    """An agent's last sign of life.

    Attributes:
        at: when it was given; None if never.
        automatic, simulation: the agent's own settings; None where it did not say.
        plugins_off: plugins that did not load, with the reason.
        loops: how each loop's last turn went.
    """

    at: float | None = None
    state: str = ""
    agent_id: str | None = None
    pid: int | None = None
    version: str | None = None
    started_at: float | None = None
    automatic: bool | None = None
    simulation: bool | None = None
    plugins_off: tuple[str, ...] = ()
    loops: Mapping[str, LoopAnswer] = field(default_factory=dict)

    def is_fresh(self, now: float, settings: Settings) -> bool:
        """Tell whether an agent that gave this sign can be taken to live."""
        fresh = self.at is not None and now - self.at <= patience_s(settings)
        return fresh and self.state != STOPPED


def patience_s(settings: Settings) -> float:
    """How long an agent may be silent before it counts as down, seconds."""
    ticks = _MISSED_TICKS * settings.monitoring.execution_interval_seconds
    return max(ticks, settings.agent.lease_seconds)


def beat_of(value: JsonValue, at: float | None) -> Beat:
    """Read the ledger's fact `beat`; what is missing or of another kind is left out."""
    if not isinstance(value, Mapping):
        return Beat()
    loops, off = value.get("loops"), value.get("plugins_off")
    return Beat(
        at=at,
        state=_text(value.get("state")) or "",
        agent_id=_text(value.get("agent")),
        pid=int(pid) if (pid := _number(value.get("pid"))) is not None else None,
        version=_text(value.get("version")),
        started_at=_number(value.get("started_at")),
        automatic=_flag(value.get("automatic")),
        simulation=_flag(value.get("simulation")),
        plugins_off=tuple(str(one) for one in off) if isinstance(off, list) else (),
        loops={
            name: _loop(loop)
            for name, loop in (loops if isinstance(loops, Mapping) else {}).items()
            if isinstance(loop, Mapping)
        },
    )


def _loop(value: Mapping[str, JsonValue]) -> LoopAnswer:
    return LoopAnswer(
        at=moment(_number(value.get("at"))),
        seconds=_number(value.get("seconds")),
        trouble=_text(value.get("trouble")) or "",
        skipped=_text(value.get("skipped")) or "",
    )


def _number(value: JsonValue) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) and value else None


def _flag(value: JsonValue) -> bool | None:
    return value if isinstance(value, bool) else None
