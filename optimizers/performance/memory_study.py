"""The closer look of `memory_cleanup`: how its knobs are written, and what the caches are good for.

Whatever computes is imported where it is used: the resident agent reads these studies, the process
of a cycle makes them.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, JsonValue

from config.clock import Clock
from config.settings import Settings
from optimizers.capability import Tools
from optimizers.performance.reclaimable import TARGET, Reclaimable
from optimizers.targets.serving import ServingFacts
from optimizers.view import View

IDLE = f"{TARGET}.idle_unload_seconds"
RELEASE = f"{TARGET}.release_memory"

# A cache smaller than this is not worth the reading of its traffic.
_LEAST_MB = 1.0
# Reading and counting up to a million requests takes some seconds.
_LEAST_LEFT_S = 5.0


class CacheFound(BaseModel):
    """A model's caches: larger than their curve justifies.

    Attributes:
        present, justified: entries of one cache now, and as many as would do.
        hit_rate, then: of both sizes, by the curve.
        gives_mb: what all caches of the model would give back.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    present: int
    justified: int
    hit_rate: float
    then: float
    gives_mb: float

    @property
    def knob(self) -> str:
        """Its knob."""
        return cache_knob(self.model)


class MemoryStudy(BaseModel):
    """How the knobs are written, by name, and the caches that are too large."""

    model_config = ConfigDict(frozen=True)

    written: Mapping[str, JsonValue]
    caches: tuple[CacheFound, ...]


def cache_knob(model: str) -> str:
    """The knob of a model's cache size."""
    return f"{TARGET}/{model}.cache_entries"


def study_memory(
    found: Reclaimable, view: View, tools: Tools, settings: Settings, seconds: float
) -> MemoryStudy:
    """Read the knobs, and the curve of every cache that holds a MB or more.

    Raises:
        UnavailableError: the ledger does not answer.
    """
    facts = view.facts.get(TARGET)
    caches = _caches(found, facts, tools.clock, settings, seconds)
    target = tools.targets[TARGET]
    knobs = (IDLE, RELEASE, *(one.knob for one in caches))
    return MemoryStudy(written={knob: target.read(knob) for knob in knobs}, caches=tuple(caches))


def _caches(
    found: Reclaimable, facts: object, clock: Clock, settings: Settings, seconds: float
) -> list[CacheFound]:
    """The largest first, as far as the time allows."""
    if not isinstance(facts, ServingFacts) or facts.traffic_folder is None:
        return []
    ends = clock.monotonic() + seconds
    by_size = sorted(found.caches.items(), key=lambda one: -one[1])
    oversized = (
        _oversized(facts, model, mb, settings)
        for model, mb in by_size
        if mb >= _LEAST_MB and ends - clock.monotonic() >= _LEAST_LEFT_S
    )
    return [one for one in oversized if one is not None]


def _oversized(facts: ServingFacts, model: str, mb: float, settings: Settings) -> CacheFound | None:
    from benchmarks.cache_curves.choice import justified_size  # noqa: PLC0415
    from benchmarks.cache_curves.recorded import recorded_curve  # noqa: PLC0415

    served = facts.models.get(model)
    if served is None or facts.traffic_folder is None:
        return None
    present = max(int(arm.knobs.get("cache_entries", 0.0)) for arm in served.arms)
    curve = recorded_curve(facts.traffic_folder, model).curve
    target = settings.performance.cache_resize.target_hit_rate
    justified = justified_size(curve, present=present, target=target)
    if justified is None:
        return None
    return CacheFound(
        model=model,
        present=present,
        justified=justified,
        hit_rate=curve.at(present),
        then=curve.at(justified),
        # A cache that is not full yet gives less; what it was asked for tells how full it is.
        gives_mb=mb * (1.0 - justified / present),
    )
