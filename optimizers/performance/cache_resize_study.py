"""What `cache_resize` finds out about a cache: its curve, and the size that would do.

Whatever computes is imported where it is used: the resident agent reads these studies, the process
of a cycle makes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, JsonValue

from config.errors import InputError, UnavailableError
from config.settings import Settings
from optimizers.capability import Tools
from optimizers.targets.base import Observed
from optimizers.targets.redis import MAXMEMORY, MEGABYTE, POLICY, RedisFacts, RedisTarget
from optimizers.targets.redis_server import CommandRefused
from optimizers.targets.serving import ServedModel, ServingFacts
from optimizers.view import View
from registry.agent_records import Change, Finding

if TYPE_CHECKING:
    from benchmarks.cache_curves.curves import HitCurve, Rate

LEAST_REQUESTS = 1000
"""Fewer requests than this tell no curve."""

NO_EVICTION = "noeviction"
_LRU_INSTEAD = {
    "allkeys-random": "allkeys-lru",
    "volatile-random": "volatile-lru",
    "volatile-ttl": "volatile-lru",
}
# What the policy costs, and what has nothing to do with the size, shows when it is more than this.
_CLEAR_GAP = 0.02
_POINTS = 40
# `maxmemory` is set in steps of so many bytes.
_STEP = 65_536
_LOOK_S = 5.0
# Of the memory that is free, a larger cache may take half.
_SHARE_OF_FREE = 0.5


class CacheStudy(BaseModel):
    """The curve of one cache, and the change that follows from it.

    Attributes:
        knob, before, after: the change; `after` is as `before` where nothing is to be gained.
        seen: what the target itself said of the value then; another one now is somebody else's.
        present, entries: the size now and then, entries of one cache.
        rate_now: the hit rate at the present size.
        predicted, low, high: the one for the new size, with its 95 % interval.
        basis: `target` or `knee`, or `policy` where another policy is proposed.
        reachable: the hit rate of the largest cache that the window tells of.
        requests: in the window.
        warm_seconds: how long the new size takes to fill.
        forbidden: why the agent may not make the change, so that it is advice only.
        curve: sizes and their hit rates, to be looked at.
    """

    model_config = ConfigDict(frozen=True)

    target: str
    knob: str
    before: JsonValue
    after: JsonValue
    seen: JsonValue
    present: int
    entries: int
    rate_now: float
    predicted: float
    low: float
    high: float
    basis: str
    reachable: float
    requests: int
    warm_seconds: float
    forbidden: str = ""
    curve: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """What a study begins with."""

    finding: Finding
    view: View
    tools: Tools
    settings: Settings


@dataclass(frozen=True, slots=True)
class _Cache:
    """A cache as it is.

    Attributes:
        curve: of its keys.
        seen: its setting, as the target shows it.
        present: its size, entries.
        rate: look-ups a second.
        measured: its hit rate now, where that may differ from the curve's; None: not compared.
    """

    curve: HitCurve
    seen: JsonValue
    present: int
    rate: float
    measured: float | None = None


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A size, what it was chosen by, and its hit rate by the curve."""

    entries: int
    basis: str
    rate: Rate


def study_of(case: Case, seconds: float) -> JsonValue | None:
    """Look at the cache that a finding is about; None while too little was asked of it.

    Raises:
        UnavailableError: the target does not answer, or refuses.
        InputError: its size is not what holds its hit rate down, or cannot be judged.
    """
    target = case.tools.targets.get(case.finding.target)
    facts = case.view.facts.get(case.finding.target)
    if isinstance(target, RedisTarget) and isinstance(facts, RedisFacts):
        found = _redis(case, target, facts, seconds)
    elif isinstance(facts, ServingFacts):
        found = _serving(case, facts)
    else:
        raise UnavailableError(f"{case.finding.target} was not seen; look at it again")
    return None if found is None else found.model_dump(mode="json")


def entries_of(model: ServedModel) -> int:
    """The entries that the caches of a model may have now: the most that a version may."""
    return int(max((arm.knobs.get("cache_entries", 0) for arm in model.arms), default=0))


def _serving(case: Case, facts: ServingFacts) -> CacheStudy | None:
    from benchmarks.cache_curves.choice import choose_size  # noqa: PLC0415
    from benchmarks.cache_curves.recorded import recorded_curve  # noqa: PLC0415

    name = case.finding.subject
    model = facts.models.get(name)
    if model is None or facts.traffic_folder is None:
        raise InputError(f"no traffic of {name} is recorded on this machine; it cannot be judged")
    recorded = recorded_curve(facts.traffic_folder, name, {arm.version for arm in model.arms})
    if recorded.curve.requests < LEAST_REQUESTS:
        return None
    most = _most_entries(case, recorded.caches, entries_of(model))
    target_rate = case.settings.performance.cache_resize.target_hit_rate
    entries = entries_of(model)
    choice = choose_size(recorded.curve, target=target_rate, most=most, present=entries)
    if choice is None:
        return None
    cache = _Cache(recorded.curve, entries, min(entries, most), recorded.rate)
    chosen = _Chosen(choice.size, choice.basis.value, choice.predicted)
    target = case.tools.targets[case.finding.target]
    # The narrowest knob of the size: that of the model.
    own = f"serving/{name}.cache_entries"
    knob = own if own in target.knobs() else "serving.cache_entries"
    return _study(case, Change(knob, target.read(knob), choice.size), cache, chosen)


def _most_entries(case: Case, caches: int, present: int) -> int:
    """The most entries that settings, the byte limit and the free memory allow."""
    most = case.settings.performance.cache_resize.max_entries
    size = _entry_bytes(case.view, case.finding)
    if size is None:
        return most
    most = min(most, int(case.settings.serving.cache_max_mb * MEGABYTE / size))
    free = case.view.last("host", "memory_available_bytes")
    if free is not None and caches > 0:
        most = min(most, present + int(_SHARE_OF_FREE * free.value / size / caches))
    return most


def _entry_bytes(view: View, finding: Finding) -> float | None:
    """What an entry of a model's caches takes; None while they hold none."""
    totals = [0.0, 0.0]
    for place, metric in enumerate(("cache_bytes", "cache_entries")):
        newest = {
            one.labels: one.value
            for one in view.history.get((finding.target, metric), ())
            if ("model", finding.subject) in one.labels
        }
        totals[place] = sum(newest.values())
    return totals[0] / totals[1] if min(totals) > 0 else None


def _redis(case: Case, target: RedisTarget, facts: RedisFacts, seconds: float) -> CacheStudy | None:
    from benchmarks.cache_curves.choice import choose_size  # noqa: PLC0415
    from benchmarks.cache_curves.curves import hit_curve  # noqa: PLC0415
    from benchmarks.cache_curves.redis_memory import KeySizes  # noqa: PLC0415

    own = case.settings.performance.cache_resize
    _check_evicting(target.name, facts)
    knob = f"{target.name}.{MAXMEMORY}"
    before, forbidden = _read(target, knob, facts)
    sizes = KeySizes.of(
        used=facts.used_bytes, fixed=facts.fixed_bytes, keys=facts.keys, expires=facts.expires
    )
    if sizes is None:
        return None
    # The hit rate of the very requests that are heard: that of the last look was chosen for being
    # low, and says less.
    target.observe(case.view.at, _LOOK_S)
    heard = target.listen(min(own.redis_seconds, seconds / 2))
    measured = _hit_rate(target.observe(case.view.at, _LOOK_S))
    curve = hit_curve([heard.keys])
    if curve.requests < LEAST_REQUESTS:
        return None
    cache = _Cache(curve, facts.maxmemory, sizes.keys_in(facts.maxmemory), heard.rate, measured)
    policy = _better_policy(case, facts, cache)
    if policy is not None:
        return policy
    largest = int(own.max_redis_mb) * MEGABYTE
    most = sizes.keys_in(largest)
    choice = choose_size(curve, target=own.target_hit_rate, most=most, present=cache.present)
    if choice is None:
        return None
    after = min(math.ceil(sizes.bytes_for(choice.size) / _STEP) * _STEP, largest)
    entries = sizes.keys_in(after)
    chosen = _Chosen(entries, choice.basis.value, curve.rate(entries))
    found = _study(case, Change(knob, before, after), cache, chosen)
    return found.model_copy(update={"forbidden": forbidden})


def _read(target: RedisTarget, knob: str, facts: RedisFacts) -> tuple[JsonValue, str]:
    """A knob's value; where the agent may not read it, as the server shows it, and why not."""
    try:
        return target.read(knob), ""
    except CommandRefused as error:
        return facts.maxmemory, str(error)


def _hit_rate(seen: Observed) -> float | None:
    found = [one.value for one in seen.observations if one.metric == "cache_hit_rate"]
    return found[0] if found else None


def _check_evicting(name: str, facts: RedisFacts) -> None:
    if facts.maxmemory == 0:
        raise InputError(
            f"{name} has no maxmemory, so it drops nothing for want of room; what it misses has "
            "expired or was never set"
        )
    if facts.policy == NO_EVICTION:
        raise InputError(f"{name} never evicts ({NO_EVICTION}), so its size is not why it misses")


def _better_policy(case: Case, facts: RedisFacts, cache: _Cache) -> CacheStudy | None:
    """An LRU policy, where the present one does clearly worse in the same memory."""
    instead = _LRU_INSTEAD.get(facts.policy)
    rate = cache.curve.rate(cache.present)
    if instead is None or cache.measured is None or rate.low - cache.measured <= _CLEAR_GAP:
        return None
    change = Change(f"{case.finding.target}.{POLICY}", facts.policy, instead)
    # Compared already: it is the policy that makes the difference.
    alone = _Cache(cache.curve, facts.policy, cache.present, cache.rate)
    found = _study(case, change, alone, _Chosen(cache.present, "policy", rate))
    return found.model_copy(update={"rate_now": cache.measured})


def _study(case: Case, change: Change, cache: _Cache, chosen: _Chosen) -> CacheStudy:
    curve, rate = cache.curve, chosen.rate
    rate_now = curve.at(cache.present)
    gap = 0.0 if cache.measured is None else rate_now - cache.measured
    # What expires or was never set misses at any size.
    lost = gap if gap > _CLEAR_GAP else 0.0
    return CacheStudy(
        target=case.finding.target,
        knob=change.knob,
        before=change.before,
        after=change.after,
        seen=cache.seen,
        present=cache.present,
        entries=chosen.entries,
        rate_now=rate_now - lost,
        predicted=rate.mean - lost,
        low=rate.low - lost,
        high=rate.high - lost,
        basis=chosen.basis,
        reachable=curve.at(curve.reach),
        requests=curve.requests,
        warm_seconds=_warm_seconds(cache, chosen),
        curve=_points(curve),
    )


def _warm_seconds(cache: _Cache, chosen: _Chosen) -> float:
    """How long the new entries take to come: one with each miss, and there are more at first."""
    fresh = chosen.entries - cache.present
    if fresh <= 0:  # another policy: the old entries have to go
        fresh = cache.present
    return fresh / max(cache.rate * (1.0 - chosen.rate.mean), 1e-3)


def _points(curve: HitCurve) -> tuple[tuple[int, float], ...]:
    import numpy as np  # noqa: PLC0415

    sizes = np.unique(np.rint(np.geomspace(1, max(1, curve.reach), _POINTS)).astype(int))
    return tuple((int(size), round(curve.at(int(size)), 5)) for size in sizes)
