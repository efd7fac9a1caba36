"""Looks at all targets at once, each within its time: a dead one costs the others nothing.

A target whose look hangs beyond its time is told as not answering and is not asked again until
that look has ended, so a dead server never piles up threads.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from config.clock import Clock, epoch
from config.errors import PrimeSparkError
from config.redaction import redact
from optimizers.targets.base import Observed, Target
from registry.agent_records import Observation, TargetHealth

# A look that keeps its time limit may still be on its way back.
_GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at all targets gave.

    Attributes:
        facts: what targets know besides numbers, of those that answered.
        troubles: what did not work although a target answered, by target.
    """

    at: float
    observations: tuple[Observation, ...] = ()
    health: Mapping[str, TargetHealth] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    troubles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class _One:
    """One look at one target, in a thread of its own."""

    target: Target
    thread: threading.Thread | None = None
    observed: Observed | None = None
    trouble: str = ""
    seconds: float = 0.0


class Lookout:
    """Observes targets, again and again.

    Args:
        targets: by name.
        timeout_s: longest time of one look at one target, seconds.
        clock: stamps the observations and measures the looks.
    """

    def __init__(self, targets: Mapping[str, Target], timeout_s: float, clock: Clock) -> None:
        self._targets = dict(targets)
        self._timeout_s = timeout_s
        self._clock = clock
        self._hanging: dict[str, threading.Thread] = {}

    def look(self) -> Look:
        """Observe every target once, all at the same time."""
        at = epoch(self._clock.now())
        begun = self._clock.monotonic()
        looks = {name: self._begin(name, target, at) for name, target in self._targets.items()}
        for name, one in looks.items():
            self._await(name, one, begun)
        return self._gathered(at, looks)

    def _begin(self, name: str, target: Target, at: float) -> _One:
        one = _One(target)
        hanging = self._hanging.get(name)
        if hanging is not None and hanging.is_alive():
            one.trouble = "the look before this one has not ended yet"
            return one
        self._hanging.pop(name, None)
        one.thread = threading.Thread(
            target=self._observe, args=(one, at), name=f"look at {name}", daemon=True
        )
        one.thread.start()
        return one

    def _observe(self, one: _One, at: float) -> None:
        begun = self._clock.monotonic()
        try:
            one.observed = one.target.observe(at, self._timeout_s)
        except PrimeSparkError as error:
            one.trouble = str(error)
        except Exception as error:  # noqa: BLE001 - a target may be anybody's: none ends the loop
            one.trouble = f"{type(error).__name__}: {error}"
        one.seconds = self._clock.monotonic() - begun

    def _await(self, name: str, one: _One, begun: float) -> None:
        if one.thread is None:
            return
        left = begun + self._timeout_s + _GRACE_S - self._clock.monotonic()
        one.thread.join(max(0.0, left))
        if one.thread.is_alive():
            self._hanging[name] = one.thread
            one.observed, one.seconds = None, self._clock.monotonic() - begun
            one.trouble = f"no answer within {self._timeout_s:g} s"

    def _gathered(self, at: float, looks: Mapping[str, _One]) -> Look:
        seen = {name: one.observed for name, one in looks.items() if not one.trouble}
        answered = {name: observed for name, observed in seen.items() if observed is not None}
        return Look(
            at=at,
            observations=tuple(one for found in answered.values() for one in found.observations),
            health={name: self._health(name, one, at) for name, one in looks.items()},
            facts={n: found.facts for n, found in answered.items() if found.facts is not None},
            troubles={n: tuple(found.troubles) for n, found in answered.items() if found.troubles},
        )

    def _health(self, name: str, one: _One, at: float) -> TargetHealth:
        # A look that was given up may still note its own end: what was decided here counts.
        reason = redact(one.trouble)
        return TargetHealth(name, ok=not reason, at=at, seconds=one.seconds, reason=reason)
