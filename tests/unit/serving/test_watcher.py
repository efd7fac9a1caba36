from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from config.clock import SystemClock
from config.settings import ServingSettings
from registry.mlflow_models import ModelRegistry
from registry.reader import RegistryReader
from registry.records import RouteMode
from serving.knobs import SessionOptions
from serving.ledger import LedgerLink
from serving.loader import Loader
from serving.plans import Wanted
from serving.release import Release
from serving.state import Update
from serving.watcher import Watcher
from tests.services.predictor import write_classifier
from tests.unit.serving.serving_scene import Memory

CLOCK = SystemClock()


class Scene:
    """A watcher on a real registry and ledger, polled by hand."""

    def __init__(self, mlflow_uri: str, folder: Path) -> None:
        self.model = f"model-{uuid4().hex[:8]}"
        registry = ModelRegistry(mlflow_uri, CLOCK)
        for always in (0, 1):
            registry.register(self.model, write_classifier(folder / f"{always}.onnx", always))
        registry.set_alias(self.model, "champion", 1)
        self.mlflow_uri, self.folder = mlflow_uri, folder
        self.ledger = LedgerLink(f"sqlite:///{folder}/ledger.db", CLOCK)
        self.loader = Loader(folder / "load.lock")
        self.updates: list[Update] = []
        self.watcher = self.started(self.ledger)

    def started(self, ledger: LedgerLink) -> Watcher:
        """A watcher as a worker begins with it."""
        folder = self.folder
        return Watcher(
            RegistryReader(self.mlflow_uri, folder / "models"),
            ledger,
            ServingSettings(models=(self.model,)),
            CLOCK,
            publish=self.updates.append,
            loader=self.loader,
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


def test_sessions_are_made_as_the_knobs_have_it(scene: Scene) -> None:
    knobs = scene.ledger.stores().knobs
    knobs.write(f"serving/{scene.model}", "intra_op_threads", None, 2, "a test", "to see")
    knobs.write("serving", "allow_spinning", None, 0, "a test", "to see")
    [warm] = scene.poll().warm.values()
    assert warm.options == SessionOptions(2, spinning=False)


def test_a_restart_without_the_ledger_goes_on_with_the_knobs_as_they_were(scene: Scene) -> None:
    written = {"idle_unload_seconds": 60.0, "release_memory": 3.0, "workers": 2.0}
    for name, value in written.items():
        scene.ledger.stores().knobs.write("serving", name, None, value, "a test", "to see")
    assert scene.poll().knobs == {"serving": written}
    watcher = scene.started(LedgerLink(f"sqlite:///{scene.folder}/models", CLOCK))
    watcher.poll()
    assert "ledger" in scene.updates[-1].stale
    assert scene.updates[-1].knobs == {"serving": written}


def test_a_model_that_does_not_fit_is_not_served_and_says_why(scene: Scene) -> None:
    memory = Memory(scene.folder / "memory")
    memory.free(1)
    scene.loader = Loader(scene.folder / "load.lock", memory.files)
    scene.started(scene.ledger).poll()
    assert scene.updates[-1].wanted == {}
    assert "1 MB are free" in scene.updates[-1].problems[scene.model]
