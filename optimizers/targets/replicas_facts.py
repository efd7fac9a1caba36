"""What is known of the predictor's workers: the facts of the target `replicas`. Pure."""

from __future__ import annotations

from dataclasses import dataclass

TARGET = "replicas"
KNOB = "replicas:predictor"


@dataclass(frozen=True, slots=True)
class Room:
    """What the workers may use of this machine.

    Attributes:
        cores: by affinity and by the quota of their cgroups; may be a fraction.
        host_cores: all the machine has.
        available_mb: memory that can be had, within the bounds of their cgroups.
        total_mb: all the machine has.
    """

    cores: float
    host_cores: int
    available_mb: float
    total_mb: float


@dataclass(frozen=True, slots=True)
class ReplicasFacts:
    """What the workers are and have.

    Attributes:
        written: the knob, None when it is not written.
        wanted: how many the predictor tries to run.
        running: how many take requests.
        room: what they may use.
        worker_mb: memory of the largest one that is its alone; None when none could be seen.
    """

    written: int | None
    wanted: int
    running: int
    room: Room
    worker_mb: float | None
