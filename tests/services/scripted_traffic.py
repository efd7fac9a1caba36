"""Writes into the ledger what a predictor would, at a chosen rate, accuracy and error rate.

For tests of what happens around serving: the real predictor has its own.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import Engine

from config.clock import Clock, SystemClock, epoch
from config.errors import UnavailableError
from registry.exposures import ExposureStore
from registry.feedback import FeedbackStore
from registry.records import ExposureWindow, FeedbackItem, Route, RouteMode, Variant
from registry.routing import RouteStore
from registry.sketch import bucket_of

OBJECTIVE_MS = 100.0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What users see of one version."""

    accuracy: float = 0.9
    error_rate: float = 0.0
    latency_ms: float = 5.0
    labels: bool = True
    silent: bool = False


@dataclass(slots=True)
class ScriptedTraffic:
    """Requests to one model, split as the route says; `champion` is what @champion names."""

    engine: Engine
    model: str
    champion: int
    behaviours: Mapping[int, Behaviour]
    seed: int = 7
    worker: str = "scripted"
    metric: str = "accuracy"
    clock: Clock = field(default_factory=SystemClock)
    _windows: dict[Hashable, ExposureWindow] = field(default_factory=dict)
    _count: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def send(self, requests: int) -> None:
        """Let some requests be answered, and their labels come in."""
        route = RouteStore(self.engine, self.clock).current(self.model)
        items = [item for _ in range(requests) for item in self._request(route)]
        ExposureStore(self.engine).upsert(list(self._windows.values()))
        FeedbackStore(self.engine).record(items)

    def run(self, stop: threading.Event, *, per_second: float) -> None:
        """Send until `stop` is set; a ledger that is away is waited for."""
        while not stop.wait(0.2):
            try:
                self.send(max(1, round(per_second * 0.2)))
            except UnavailableError:
                continue

    def _request(self, route: Route) -> list[FeedbackItem]:
        split = route.mode is RouteMode.AB and route.champion == self.champion
        on_trial = split and self._random.random() < route.weight
        version = route.challenger if on_trial else self.champion
        assert version is not None
        variant = Variant.CHALLENGER if on_trial else Variant.CHAMPION
        test = route.experiment_id if split else None
        behaviour = self.behaviours.get(version, Behaviour())
        self._count += 1
        if behaviour.silent:
            return []
        return self._answer(behaviour, version, variant, test)

    def _answer(
        self, behaviour: Behaviour, version: int, variant: Variant, test: str | None
    ) -> list[FeedbackItem]:
        now = epoch(self.clock.now())
        failed = self._random.random() < behaviour.error_rate
        latency = behaviour.latency_ms * self._random.uniform(0.8, 1.2)
        place = (version, variant, test, now - now % 60)
        before = self._windows.get(place, ExposureWindow(
            self.worker, self.model, version, variant, test, now - now % 60, 0, 0, 0, 0.0, 0.0, {}
        ))  # fmt: skip
        bucket = bucket_of(latency)
        self._windows[place] = replace(
            before,
            count=before.count + 1,
            errors=before.errors + failed,
            over_objective=before.over_objective + (latency > OBJECTIVE_MS),
            latency_sum_ms=before.latency_sum_ms + latency,
            latency_sumsq=before.latency_sumsq + latency**2,
            sketch=before.sketch | {bucket: before.sketch.get(bucket, 0) + 1},
        )
        if failed or not behaviour.labels:
            return []
        right = float(self._random.random() < behaviour.accuracy)
        nonce = f"{self.worker}-{self.seed}-{self._count}"
        return [
            FeedbackItem(nonce, self.model, version, variant, test, self.metric, right, None, now)
        ]
