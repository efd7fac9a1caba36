"""What the agent sees of caches, made up, and the studies it may have of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from config.performance_settings import RedisSettings
from config.settings import Settings
from optimizers.targets.redis import RedisFacts
from optimizers.targets.serving import ServedArm, ServedModel, ServingFacts
from optimizers.view import Study, View
from registry.agent_records import Observation

NOW = 1_700_000_000.0
LABELS = (("model", "digits"), ("version", "3"))
SETTINGS = Settings(redis=(RedisSettings(name="sessions", url="redis://127.0.0.1:1"),))
KNOB = "serving/digits.cache_entries"


def series(
    target: str, metric: str, value: float, labels: tuple[tuple[str, str], ...] = ()
) -> list[Observation]:
    """Five looks that all saw the same."""
    return [
        Observation(target, metric, value, NOW - 30.0 * age, labels=labels)
        for age in reversed(range(5))
    ]


def facts(entries: int = 500, traffic: Path | None = None) -> ServingFacts:
    """A predictor that serves one version of `digits`."""
    arm = ServedArm(variant="champion", version=3, knobs={"cache_entries": entries})
    model = ServedModel(mode="single", weight=0.0, experiment_id=None, arms=(arm,))
    return ServingFacts(
        ready=True, models={"digits": model}, problems={}, stale={}, traffic_folder=traffic
    )


def redis_facts(
    policy: str = "allkeys-lru", *, expires: int = 0, replica: bool = False
) -> RedisFacts:
    """A server with 8 MB."""
    return RedisFacts(
        maxmemory=8 * 2**20,
        policy=policy,
        used_bytes=8 * 2**20,
        fixed_bytes=900_000,
        keys=30_000,
        expires=expires,
        replica=replica,
    )


def study(**other: JsonValue) -> dict[str, JsonValue]:
    """A study of the prediction cache of `digits`."""
    return {
        "target": "serving",
        "knob": KNOB,
        "before": None,
        "after": 4000,
        "seen": 500,
        "present": 500,
        "entries": 4000,
        "rate_now": 0.6,
        "predicted": 0.9,
        "low": 0.88,
        "high": 0.92,
        "basis": "target",
        "reachable": 0.95,
        "requests": 50_000,
        "warm_seconds": 40.0,
        **other,
    }


def redis_study(**other: JsonValue) -> dict[str, JsonValue]:
    """A study of the server `sessions`."""
    sizes: dict[str, JsonValue] = {"before": 8 * 2**20, "seen": 8 * 2**20, "after": 20 * 2**20}
    names: dict[str, JsonValue] = {"target": "sessions", "knob": "sessions.maxmemory"}
    return study(**{**names, **sizes, **other})


def view(
    rate: float = 0.6,
    *,
    known: Mapping[str, JsonValue] | None = None,
    entries: int = 500,
    memory_percent: float = 40.0,
    traffic: Path | None = None,
) -> View:
    """A prediction cache with a hit rate, and what is known of it."""
    history = {
        ("serving", "cache_hit_rate"): series("serving", "cache_hit_rate", rate, LABELS),
        ("host", "memory_percent"): series("host", "memory_percent", memory_percent),
    }
    studies = {} if known is None else {("cache_resize", "digits"): Study(NOW - 5.0, dict(known))}
    return View(
        at=NOW, history=history, facts={"serving": facts(entries, traffic)}, studies=studies
    )


def redis_view(
    metric: str,
    value: float,
    server: RedisFacts,
    known: Mapping[str, JsonValue] | None = None,
) -> View:
    """A Redis server of which one metric was seen, and what is known of it."""
    history = {("sessions", metric): series("sessions", metric, value)}
    key = ("cache_resize", "sessions/keys")
    studies = {} if known is None else {key: Study(NOW - 5.0, dict(known))}
    return View(at=NOW, history=history, facts={"sessions": server}, studies=studies)
