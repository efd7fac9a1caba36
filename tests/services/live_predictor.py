"""A running predictor with its registry and its ledger, as people and tests see it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
from sqlalchemy import Engine

from config.clock import SystemClock
from registry.mlflow_models import ModelRegistry
from registry.records import Route, RouteMode
from registry.routing import RouteStore
from tests.services.predictor import FEATURES, RunningPredictor, write_classifier
from tests.services.processes import wait_until

ROW = [[0.0] * FEATURES]
CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class World:
    """A predictor with its registry and its ledger."""

    registry: ModelRegistry
    predictor: RunningPredictor
    home: Path
    ledger: Engine
    workers: int = 1

    def publish(self, model: str, *classes: int, fails: bool = False) -> None:
        """Register versions that answer these classes; the first becomes the champion."""
        for always in classes:
            path = write_classifier(self.home / f"{uuid4().hex}.onnx", always, fails=fails)
            self.registry.register(model, path)
        self.registry.set_alias(model, "champion", 1)

    def route(self, model: str, mode: RouteMode, weight: float = 0.0) -> Route:
        store = RouteStore(self.ledger, CLOCK)
        return store.put(
            model,
            expected_revision=store.current(model).revision,
            mode=mode,
            champion=1,
            challenger=2,
            weight=weight,
            experiment_id=f"exp-{model}",
            salt=f"salt-{model}",
            by="test",
            reason="a test",
        )

    def arms(self, model: str) -> list[tuple[str, int]]:
        with self.predictor.client() as client:
            plan = client.get("/models").json()["models"].get(model)
        return [(arm["variant"], arm["version"]) for arm in plan["arms"]] if plan else []

    def arms_by_worker(self, model: str) -> list[set[tuple[str, int]]]:
        """What every worker serves, as the metrics of any of them show it."""
        with self.predictor.client() as client:
            lines = client.get("/metrics").text.splitlines()
        arms: dict[str, set[tuple[str, int]]] = {}
        for line in lines:
            if "served_version{" in line and f'model="{model}"' in line:
                labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
                version = int(float(line.rpartition(" ")[2]))
                arms.setdefault(labels["worker"], set()).add((labels["variant"], version))
        return list(arms.values())

    def await_arms(self, model: str, *arms: tuple[str, int]) -> None:
        wanted = [set(arms)] * self.workers
        what = f"{model} to be served by {arms} on all workers"
        wait_until(lambda: self.arms_by_worker(model) == wanted, 40, what)


def label(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text
    return int(answer.json()["outputs"]["label"][0])
