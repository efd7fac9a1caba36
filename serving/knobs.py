"""The limits of one served version that may be turned while it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from config.settings import ServingSettings
from registry.knobs import BOUNDS, ROOT


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a session computes: threads for one run, and whether idle ones wait busily."""

    threads: int = 1
    spinning: bool = True


@dataclass(slots=True)
class Knobs:
    """Current limits, read on every request; changed in place on the event loop only.

    `idle_unload_seconds` of 0 keeps a version in memory for good.
    """

    max_batch_size: int = 32
    max_wait_ms: float = 0.0
    cache_entries: int = 0
    queue_limit: int = 256
    intra_op_threads: int = 1
    allow_spinning: int = 1
    idle_unload_seconds: float = 0.0

    @classmethod
    def of(cls, settings: ServingSettings) -> Knobs:
        """Return the limits of the settings, used where no knob was turned."""
        return cls(
            settings.max_batch_size,
            settings.max_wait_ms,
            settings.cache_entries,
            settings.queue_limit,
            settings.intra_op_threads,
        )

    def turn(self, values: Mapping[str, float]) -> None:
        """Take new values by name; unknown names are left to whom they belong.

        A value beyond its bounds is held at the bound.
        """
        for name, value in values.items():
            if name in self.__slots__ and math.isfinite(value):
                bounds = BOUNDS[name]
                held = min(max(value, bounds.low), bounds.high)
                setattr(self, name, round(held) if bounds.whole else held)

    @property
    def session(self) -> SessionOptions:
        """The part of the knobs that a session is made with."""
        return SessionOptions(self.intra_op_threads, bool(self.allow_spinning))

    def shown(self) -> dict[str, float]:
        """All values by name."""
        return {name: getattr(self, name) for name in self.__slots__}


def knobs_for(
    settings: ServingSettings, model: str, version: int, written: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """Return the values for one version: settings, then the knobs of ever narrower scopes."""
    values = Knobs.of(settings).shown()
    for scope in (ROOT, f"{ROOT}/{model}", f"{ROOT}/{model}/{version}"):
        values.update(written.get(scope, {}))
    return values


def session_for(
    settings: ServingSettings, model: str, version: int, written: Mapping[str, Mapping[str, float]]
) -> SessionOptions:
    """Return what a version's session is to be made with."""
    knobs = Knobs.of(settings)
    knobs.turn(knobs_for(settings, model, version, written))
    return knobs.session


def usable(written: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, float]]:
    """Return knobs without what is no number: whoever may write the table may write anything."""
    return {
        scope: {
            name: float(value)
            for name, value in values.items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
        for scope, values in written.items()
    }
