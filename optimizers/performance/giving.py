"""What may be taken from those that keep a process waiting: one knob at a time, mildest first.

Never taken from: the predictor, the agent and the servers around it. Nobody is left without a core,
or with less than a hundredth of the usual weight. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from pydantic import JsonValue

from optimizers.performance.scarcity import Load, Shortage
from optimizers.targets.processes_facts import AFFINITY, CPU_WEIGHT, NICE
from registry.agent_records import Change

_NICER = 10
_NICEST = 19
# The weight that a cgroup has by itself, by the highest it may have (of version 1, of version 2).
_USUAL = {262_144: 1024, 10_000: 100}
_LESS = 10
_LEAST_OF_USUAL = 100


@dataclass(frozen=True, slots=True)
class Move:
    """One change that takes from a process; `text` says it in plain words."""

    change: Change
    text: str


def moves(short: Shortage) -> list[Move]:
    """What could be tried, in order: weights and niceness of each rival, then its cores."""
    weights = [one for rival in short.rivals for one in _weight(rival)]
    niceness = [one for rival in short.rivals for one in _nice(rival, short.limiter)]
    cores = [one for rival in short.rivals for one in _cores(rival, short.limiter)]
    return [*weights, *niceness, *cores]


def advice(short: Shortage) -> str:
    """What a person would run where the agent must not, for it could not take it back."""
    for rival in short.rivals:
        if rival.process.final_nice and _shares(rival, short.limiter):
            pids = " ".join(f"-p $(ls /proc/{pid}/task)" for pid in rival.process.pids)
            return (
                f"; the agent could not lower the niceness of {rival.process.name} again, so it "
                f"leaves it: run renice -n {_NICER} {pids}, or give the agent CAP_SYS_NICE"
            )
    return ""


def _weight(rival: Load) -> Iterator[Move]:
    name, before = rival.process.name, rival.process.knobs.get(CPU_WEIGHT)
    low, high = rival.process.bounds.get(CPU_WEIGHT, (0, 0))
    if not isinstance(before, int) or high not in _USUAL:
        return
    least = max(low, _USUAL[high] // _LEAST_OF_USUAL)
    after = max(before // _LESS, least)
    if after < before:
        text = f"Give the cgroup of {name} the weight {after} instead of {before}"
        yield Move(Change(f"{CPU_WEIGHT}:{name}", before, after), text)


def _nice(rival: Load, limiter: Load) -> Iterator[Move]:
    name, before = rival.process.name, rival.process.knobs.get(NICE)
    if rival.process.final_nice or not isinstance(before, int) or not _shares(rival, limiter):
        return
    after = _NICER if before < _NICER else _NICEST
    if after > before:
        text = f"Give {name} the niceness {after} instead of {before}"
        yield Move(Change(f"{NICE}:{name}", before, after), text)


def _shares(rival: Load, limiter: Load) -> bool:
    """Niceness tells only among those whom the kernel gives one share of the processor together."""
    return rival.process.group == limiter.process.group


def _cores(rival: Load, limiter: Load) -> Iterator[Move]:
    name, before = rival.process.name, _list(rival.process.knobs.get(AFFINITY))
    common = [one for one in before if one in _list(limiter.process.knobs.get(AFFINITY))]
    lacking = math.ceil((limiter.used + limiter.waited) / 100.0)
    count = min(lacking, len(before) - 1, len(common))
    if count < 1:
        return
    taken: Collection[int] = common[:count]
    after: list[JsonValue] = [one for one in before if one not in taken]
    text = f"Keep {name} off core {', '.join(map(str, taken))}"
    yield Move(Change(f"{AFFINITY}:{name}", [*before], after), text)


def _list(value: JsonValue) -> list[int]:
    return [one for one in value if isinstance(one, int)] if isinstance(value, list) else []
