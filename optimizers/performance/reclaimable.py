"""What serving holds that nobody needs: idle versions, cache entries, and freed memory it kept.

All of it is told from what was observed, so it is known before anything is tried. Sizes are MB over
all workers of the predictor.
"""

from __future__ import annotations

from dataclasses import dataclass

from optimizers.targets.serving import ServedArm, ServingFacts
from optimizers.view import View
from registry.agent_records import Observation

TARGET = "serving"

_FRESH_S = 300.0
_MEMORY, _CACHE, _SERVED, _ASLEEP = "memory_mb", "cache_bytes", "models_served", "models_idle"
_MEGABYTE = 1024 * 1024
# Less than this share above its lowest is how memory moves by itself.
_LEAST_SWELL = 0.1


@dataclass(frozen=True, slots=True)
class Reclaimable:
    """What could be given back, MB each.

    Attributes:
        held: what serving holds in all.
        idle: versions without a request for long, as `model version`.
        idle_mb: the size of their files; a session takes about as much.
        caches: the prediction caches, by model, whatever they are good for.
        swollen_mb: more than at the lowest point of the last hour, with no more in it.
    """

    held: float
    idle: tuple[str, ...]
    idle_mb: float
    caches: dict[str, float]
    swollen_mb: float

    @property
    def anything(self) -> bool:
        """Something may be had, if a closer look agrees."""
        return (
            self.idle_mb > 0 or self.swollen_mb > 0 or any(mb >= 1 for mb in self.caches.values())
        )


def reclaimable(view: View, idle_s: float, workers: int) -> Reclaimable | None:
    """Return what serving could give back; None while it does not tell what it holds.

    Args:
        view: what is known.
        idle_s: a version without a request for this long is idle.
        workers: of the predictor; each has its own copy of everything.
    """
    facts, held = view.facts.get(TARGET), _now(view, _MEMORY)
    if not isinstance(facts, ServingFacts) or held is None:
        return None
    idle = {
        f"{name} {arm.version}": workers * (arm.file_mb or 0.0)
        for name, model in sorted(facts.models.items())
        for arm in model.arms
        if _idle(arm, idle_s)
    }
    return Reclaimable(held, tuple(idle), sum(idle.values()), _caches(view), _swollen(view, held))


def _idle(arm: ServedArm, idle_s: float) -> bool:
    """In memory for nobody, and not on its way out already."""
    leaves = 0 < arm.knobs.get("idle_unload_seconds", 0.0) <= idle_s
    return arm.loaded and not leaves and (arm.idle_seconds or 0.0) >= idle_s


def _caches(view: View) -> dict[str, float]:
    found: dict[str, float] = {}
    newest: dict[tuple[tuple[str, str], ...], Observation] = {
        one.labels: one for one in view.recent(TARGET, _CACHE, _FRESH_S) if one.labels
    }
    for labels, one in newest.items():
        model = dict(labels).get("model", "")
        found[model] = found.get(model, 0.0) + one.value / _MEGABYTE
    return found


def _swollen(view: View, held: float) -> float:
    """How far memory has grown above its lowest point, with as many versions and entries in it."""
    past = _whole(view, _MEMORY)
    lowest = min(past, key=lambda at: past[at])
    then, now = _filling(view, lowest), _filling(view, max(past))
    if then is None or now is None or now[0] > then[0]:
        return 0.0
    swell = held - past[lowest] - max(0.0, now[1] - then[1])
    return swell if swell >= _LEAST_SWELL * held else 0.0


def _filling(view: View, at: float) -> tuple[float, float] | None:
    """How many models were in memory at a look, and the MB of all caches."""
    served, asleep = _whole(view, _SERVED).get(at), _whole(view, _ASLEEP).get(at)
    if served is None or asleep is None:
        return None
    return served - asleep, _whole(view, _CACHE).get(at, 0.0) / _MEGABYTE


def _whole(view: View, metric: str) -> dict[float, float]:
    """A metric of the whole predictor, by the moment of the look."""
    return {one.at: one.value for one in view.history.get((TARGET, metric), ()) if not one.labels}


def _now(view: View, metric: str) -> float | None:
    recent = [one for one in view.recent(TARGET, metric, _FRESH_S) if not one.labels]
    return recent[-1].value if recent else None
