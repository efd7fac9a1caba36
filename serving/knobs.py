"""The limits of one served version that may be turned while it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from config.settings import ServingSettings

# Bounds as in the settings: a knob turned beyond them is held at the bound.
_BOUNDS = {
    "max_batch_size": (1, 4096),
    "max_wait_ms": (0, 1000),
    "cache_entries": (0, 10_000_000),
    "queue_limit": (1, 100_000),
}


@dataclass(slots=True)
class Knobs:
    """Current limits, read on every request; changed in place on the event loop only."""

    max_batch_size: int = 32
    max_wait_ms: float = 0.0
    cache_entries: int = 0
    queue_limit: int = 256

    @classmethod
    def of(cls, settings: ServingSettings) -> Knobs:
        """Return the limits of the settings, used where no knob was turned."""
        return cls(
            settings.max_batch_size,
            settings.max_wait_ms,
            settings.cache_entries,
            settings.queue_limit,
        )

    def turn(self, values: Mapping[str, float]) -> None:
        """Take new values by name; unknown names are left to whom they belong."""
        for name, value in values.items():
            if name in _BOUNDS and math.isfinite(value):
                low, high = _BOUNDS[name]
                held = min(max(value, low), high)
                setattr(self, name, held if name == "max_wait_ms" else round(held))


def knobs_for(
    settings: ServingSettings, model: str, version: int, written: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """Return the values for one version: settings, then the knobs of ever narrower scopes."""
    values: dict[str, float] = {
        "max_batch_size": settings.max_batch_size,
        "max_wait_ms": settings.max_wait_ms,
        "cache_entries": settings.cache_entries,
        "queue_limit": settings.queue_limit,
    }
    for scope in ("serving", f"serving/{model}", f"serving/{model}/{version}"):
        values.update(written.get(scope, {}))
    return values
