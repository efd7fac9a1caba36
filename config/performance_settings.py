"""Settings of the performance optimizer: triggers, priors and bounds of its six capabilities.

Triggers, expected improvement and risk are the specification's table. A trigger holds when it is
met in `samples` of the last `of` looks.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from config.sections import Names, Seconds, Section, Share

_NAME = r"^[a-z0-9][a-z0-9._-]*$"


class TriggerSettings(Section):
    """What every capability has: how sustained its trigger is, and what is believed of it.

    `expected_improvement` and `risk` are the prior: what was learned replaces the first.
    """

    samples: int = Field(default=3, ge=1, le=1000)
    of: int = Field(default=5, ge=1, le=1000)
    expected_improvement: Share
    risk: Share

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.samples > self.of:
            raise ValueError(f"samples ({self.samples}) cannot be more than of ({self.of})")
        return self


class CpuSettings(TriggerSettings):
    """`cpu_optimization`: predictor workers out and in."""

    cpu_percent: float = Field(default=85.0, gt=0.0, le=100.0)
    target_cpu: float = Field(default=70.0, gt=0.0, le=100.0)
    idle_cpu_percent: float = Field(default=30.0, ge=0.0, le=100.0)
    min_workers: int = Field(default=1, ge=1, le=64)
    max_workers: int | None = Field(default=None, ge=1, le=64)
    expected_improvement: Share = 0.15
    risk: Share = 0.3


class MemorySettings(TriggerSettings):
    """`memory_cleanup`: what serving holds and nobody uses."""

    memory_percent: float = Field(default=85.0, gt=0.0, le=100.0)
    pressure_percent: float = Field(default=10.0, gt=0.0, le=100.0)
    idle_seconds: Seconds = 600.0
    expected_improvement: Share = 0.10
    risk: Share = 0.2


class BatchSettings(TriggerSettings):
    """`batch_inference`: how requests are run together."""

    latency_ms: float = Field(default=100.0, gt=0.0, le=600_000.0)
    max_batch_size: int = Field(default=128, ge=1, le=4096)
    max_wait_ms: float = Field(default=50.0, ge=0.0, le=1000.0)
    max_threads: int | None = Field(default=None, ge=1, le=256)
    expected_improvement: Share = 0.20
    risk: Share = 0.4


class CacheSettings(TriggerSettings):
    """`cache_resize`: the prediction cache, and Redis."""

    hit_rate: Share = 0.70
    target_hit_rate: Share = 0.90
    max_entries: int = Field(default=1_000_000, ge=1, le=10_000_000)
    max_redis_mb: float = Field(default=1024.0, gt=0.0, le=1_000_000.0)
    redis_seconds: float = Field(default=10.0, gt=0.0, le=600.0)
    expected_improvement: Share = 0.15
    risk: Share = 0.2


class TcpSettings(TriggerSettings):
    """`tcp_tuning`: the kernel's network settings, by network namespace."""

    latency_ms: float = Field(default=50.0, gt=0.0, le=600_000.0)
    retransmit_share: float = Field(default=0.01, gt=0.0, le=1.0)
    namespaces: Names = ()
    max_buffer_mb: float = Field(default=64.0, gt=0.0, le=4096.0)
    expected_improvement: Share = 0.10
    risk: Share = 0.5


class ProcessSettings(Section):
    """Processes that the agent may give to and take from, found by a part of their command line."""

    name: str = Field(min_length=1, max_length=100, pattern=_NAME)
    command: str = Field(min_length=3, max_length=500)
    cgroup: str | None = Field(default=None, min_length=1, max_length=500)


class ReallocationSettings(TriggerSettings):
    """`resource_reallocation`: cores and weights among named processes."""

    score: float = Field(default=70.0, gt=0.0, le=100.0)
    processes: tuple[ProcessSettings, ...] = ()
    expected_improvement: Share = 0.12
    risk: Share = 0.4


class PerformanceSettings(Section):
    """The performance optimizer."""

    cpu_optimization: CpuSettings = CpuSettings()
    memory_cleanup: MemorySettings = MemorySettings()
    batch_inference: BatchSettings = BatchSettings()
    cache_resize: CacheSettings = CacheSettings()
    tcp_tuning: TcpSettings = TcpSettings()
    resource_reallocation: ReallocationSettings = ReallocationSettings()


class RedisSettings(Section):
    """A Redis server that is looked at and tuned."""

    name: str = Field(default="redis", min_length=1, max_length=100, pattern=_NAME)
    url: str = Field(min_length=1, max_length=2000)
