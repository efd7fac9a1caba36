"""What is known of the named processes: the facts of the target `processes`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

TARGET = "processes"
PREDICTOR, HOUSE = "predictor", "house"
NICE, AFFINITY, CPU_WEIGHT = "nice", "affinity", "cpu_weight"


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread: its process, its own number, and when it began in clock ticks since the boot."""

    pid: int
    tid: int
    began: int

    @property
    def key(self) -> str:
        """Its name in a knob's value: no other thread ever has the same until the next boot."""
        return f"{self.tid}@{self.began}"


@dataclass(frozen=True, slots=True)
class NamedProcess:
    """The processes of one name.

    Attributes:
        role: `predictor`, `house` (the agent and the servers around it), else empty.
        pids: of those that run.
        knobs: value by kind, as it is now; a kind that cannot be read is left out.
        bounds: the lowest and highest number of a kind of its cgroup.
        group: those of one group share cores by niceness, others do not.
        final_nice: niceness could be raised, but not lowered again.
    """

    name: str
    role: str
    pids: tuple[int, ...]
    knobs: Mapping[str, JsonValue] = field(default_factory=dict)
    bounds: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    group: str = ""
    final_nice: bool = False


@dataclass(frozen=True, slots=True)
class ProcessesFacts:
    """What runs of the named processes, by name, and the cores that are switched on."""

    named: Mapping[str, NamedProcess]
    cores: tuple[int, ...]
