from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from config.clock import SystemClock
from config.settings import ServingSettings
from registry.mlflow_models import ModelRegistry
from registry.reader import RegistryReader
from registry.records import RouteMode
from serving.ledger import LedgerLink
from serving.loader import Loader
from serving.plans import Wanted
from serving.release import Release
from serving.state import Update
from serving.watcher import Watcher
from tests.services.predictor import write_classifier

CLOCK = SystemClock()


class Scene:
    """A watcher on a real registry and ledger, polled by hand."""

    def __init__(self, mlflow_uri: str, folder: Path) -> None:
        self.model = f"model-{uuid4().hex[:8]}"
        registry = ModelRegistry(mlflow_uri, CLOCK)
        for always in (0, 1):
            registry.register(self.model, write_classifier(folder / f"{always}.onnx", always))
        registry.set_alias(self.model, "champion", 1)
        self.ledger = LedgerLink(f"sqlite:///{folder}/ledger.db", CLOCK)
        self.updates: list[Update] = []
        self.watcher = Watcher(
            RegistryReader(mlflow_uri, folder / "models"),
            self.ledger,
            ServingSettings(models=(self.model,)),
            CLOCK,
            publish=self.updates.append,
            loader=Loader(folder / "load.lock"),
            release=Release(folder / "models"),
            state_file=folder / "last-good.json",
            worker="worker-1",
        )

    def split(self) -> None:
        self.ledger.stores().routes.put(
            self.model,
            expected_revision=0,
            mode=RouteMode.AB,
            champion=1,
            challenger=2,
            weight=0.1,
            salt="s",
            by="test",
            reason="a test",
        )

    def poll(self) -> Update:
        self.watcher.poll()
        return self.updates[-1]


@pytest.fixture
def scene(mlflow_uri: str, tmp_path: Path) -> Scene:
    return Scene(mlflow_uri, tmp_path)


def test_models_are_loaded_before_the_plan_that_needs_them_is_published(scene: Scene) -> None:
    first = scene.poll()
    assert first.wanted == {scene.model: Wanted(1)}
    assert set(first.warm) == {(scene.model, 1)}
    scene.split()
    second = scene.poll()
    assert second.wanted[scene.model].challenger == 2
    assert set(second.warm) == {(scene.model, 2)}
    assert scene.poll().warm == {}


def test_a_broken_alias_history_does_not_keep_routes_from_being_followed(scene: Scene) -> None:
    engine = scene.ledger.stores().engine
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE alias_moves RENAME TO elsewhere")
    scene.split()
    update = scene.poll()
    assert "alias history" in update.stale
    assert update.wanted[scene.model].challenger == 2
