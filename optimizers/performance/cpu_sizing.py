"""How many predictor workers the load calls for, and within which bounds. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from pydantic import JsonValue

from benchmarks.workers import Bursts, Choice, Load, Objective, choose
from config.performance_settings import CpuSettings
from optimizers.targets.replicas_facts import TARGET, ReplicasFacts
from optimizers.view import View
from registry.agent_records import Observation

SERVING, HOST = "serving", "host"
BUSY = "worker_cpu_percent"

IDLE_WINDOWS = 2
"""Workers are taken away only after this many times as many quiet looks as a trigger has."""

# Memory that stays free: this share of the machine's, and not less than so many MB.
_RESERVE_SHARE, _RESERVE_MB = 0.05, 256.0
# A share of a core that a further worker has to find, to be of any use.
_USEFUL_CORE = 0.5
# What is assumed of service times until a study has looked at the requests.
_VARIABILITY = 1.0


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most workers that fit, and what stands in the way of more, in words."""

    workers: int
    by: str


@dataclass(frozen=True, slots=True)
class Sizing:
    """What the load was over the last looks, and the number of workers it calls for.

    Attributes:
        busy: how busy the workers are, percent of a core, on average.
        host: how busy the machine is, percent; None where it is not known.
    """

    facts: ReplicasFacts
    load: Load
    busy: float
    host: float | None
    ceiling: Ceiling
    choice: Choice


def ceiling_of(facts: ReplicasFacts, settings: CpuSettings, host: float | None) -> Ceiling:
    """The most workers that have a core, memory, and the settings' permission."""
    room, running = facts.room, facts.running
    found = [
        Ceiling(max(1, math.floor(room.cores)), f"there are {room.cores:g} cores for the workers"),
    ]
    if settings.max_workers is not None:
        found.append(Ceiling(settings.max_workers, "max_workers in the settings allows no more"))
    if host is not None:
        spare = room.host_cores * (1.0 - host / 100.0)
        text = f"the processor is {host:.0f} % busy, so that no further core is to be had"
        found.append(Ceiling(running + math.floor(spare + 1.0 - _USEFUL_CORE), text))
    if facts.worker_mb:
        free = room.available_mb - max(_RESERVE_MB, _RESERVE_SHARE * room.total_mb)
        text = f"of {room.available_mb:.0f} MB free memory a worker takes {facts.worker_mb:.0f}"
        found.append(Ceiling(running + max(0, math.floor(free / facts.worker_mb)), text))
    return min(found, key=lambda one: one.workers)


def size(
    view: View, settings: CpuSettings, latency_s: float, study: JsonValue, looks: int
) -> Sizing | None:
    """Size the workers for the mean load of the last `looks`; None without data.

    While workers come or go there is none: what is measured then is neither before nor after.
    """
    facts = view.facts.get(TARGET)
    busy = values(view, (TARGET, BUSY), looks)
    if not isinstance(facts, ReplicasFacts) or not busy or facts.running != facts.wanted:
        return None
    rates = values(view, (SERVING, "throughput_rps"), looks)
    rate = fmean(rates) if rates else 0.0
    cores = fmean(busy) / 100.0 * facts.running
    service_s = cores / rate if rate > 0 else 0.0
    load = Load(rate, service_s, *_described(study))
    host = values(view, (HOST, "cpu_percent"), looks)
    busiest = fmean(host) if host else None
    ceiling = ceiling_of(facts, settings, busiest)
    low = min(settings.min_workers, ceiling.workers)
    wanted = Objective(settings.target_cpu / 100.0, latency_s)
    choice = choose(load, wanted, low, max(low, ceiling.workers))
    return Sizing(facts, load, fmean(busy), busiest, ceiling, choice)


def values(view: View, series: tuple[str, str], looks: int) -> list[float]:
    """The last values of a whole target's metric."""
    return [one.value for one in _looks(view, series, looks)]


def began(view: View, series: tuple[str, str], looks: int) -> float:
    """When the first of the last `looks` at a whole target's metric was; now without any."""
    return min((one.at for one in _looks(view, series, looks)), default=view.at)


def _looks(view: View, series: tuple[str, str], looks: int) -> list[Observation]:
    found = [one for one in view.history.get(series, ()) if not one.labels and one.at <= view.at]
    return found[-looks:]


def _described(study: JsonValue) -> tuple[float, Bursts]:
    """Variability and bursts as a study has them; else as they are assumed."""
    if not isinstance(study, Mapping):
        return _VARIABILITY, Bursts()
    seconds, dispersion = _floats(study.get("seconds")), _floats(study.get("dispersion"))
    variability = study.get("variability")
    known = isinstance(variability, int | float) and 0.0 <= variability < math.inf
    bursts = Bursts(seconds, dispersion) if len(seconds) == len(dispersion) else Bursts()
    return float(str(variability)) if known else _VARIABILITY, bursts


def _floats(found: JsonValue) -> tuple[float, ...]:
    if not isinstance(found, list):
        return ()
    return tuple(float(one) for one in found if isinstance(one, int | float))
