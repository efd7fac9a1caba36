"""Models and experiments with a real registry, and without it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from config.clock import ManualClock, SystemClock
from config.settings import Settings
from registry.mlflow_models import ModelRegistry
from registry.records import (
    ArmCounts,
    Experiment,
    ExperimentState,
    Look,
    RouteMode,
    Stage,
    Variant,
)
from registry.trial_config import ABTestConfig
from serving.api import world_views
from serving.api.stores import AgentStores
from serving.api.views import NotFound
from tests.services.predictor import write_classifier
from tests.services.processes import free_port

MODEL = "api-digits"


def _stores(engine: Engine, settings: Settings, clock: ManualClock, uri: str) -> AgentStores:
    mlflow = settings.mlflow.model_copy(update={"tracking_uri": uri, "timeout_seconds": 20.0})
    return AgentStores.of(engine, settings.model_copy(update={"mlflow": mlflow}), clock)


@pytest.fixture(scope="module")
def registered(mlflow_uri: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registry with two versions of a model, the first of them the champion."""
    folder = tmp_path_factory.mktemp("models")
    registry = ModelRegistry(mlflow_uri, SystemClock())
    for number in (1, 2):
        registry.register(MODEL, write_classifier(folder / f"{number}.onnx", number))
    registry.set_alias(MODEL, "champion", 1)
    return mlflow_uri


def _experiment(clock: ManualClock, number: int) -> Experiment:
    name = f"model-{number}"
    config = ABTestConfig(test_id=f"trial-{number}", model=name, model_a=1, model_b=2)
    return Experiment(
        id=f"trial-{number}",
        model=name,
        champion=1,
        challenger=2,
        mode=RouteMode.AB,
        salt="salt",
        weight=0.1,
        config=config,
        state=ExperimentState.RUNNING,
        verdict=None,
        reason="",
        started_at=clock.now(),
    )


def test_models_with_their_aliases_and_versions(
    registered: str, engine: Engine, api_settings: Settings, clock: ManualClock
) -> None:
    stores = _stores(engine, api_settings, clock, registered)
    stores.lifecycle.put(MODEL, 2, None, Stage.FOUND, "it is new")
    # The server has those of other tests besides.
    models = world_views.models(stores, limit=100_000)
    assert models.registry == ""
    assert {one.model: one.aliases for one in models.items}[MODEL] == {"champion": 1}
    newest = world_views.model(stores, MODEL, limit=1)
    (second,) = newest.items
    assert (second.version, second.stage, second.reason, second.aliases) == (
        2,
        "found",
        "it is new",
        [],
    )
    (first,) = world_views.model(stores, MODEL, newest.next, limit=1).items
    assert (first.version, first.stage, first.aliases) == (1, None, ["champion"])
    assert first.digest is not None


def test_an_unknown_model_is_not_there(
    registered: str, engine: Engine, api_settings: Settings, clock: ManualClock
) -> None:
    stores = _stores(engine, api_settings, clock, registered)
    for name in ("nope", "it's", "..", "a/b", "é"):
        with pytest.raises(NotFound):
            world_views.model(stores, name)


def test_without_its_registry_the_ledgers_part_is_shown(
    engine: Engine, api_settings: Settings, clock: ManualClock
) -> None:
    stores = _stores(engine, api_settings, clock, f"http://127.0.0.1:{free_port()}")
    stores.lifecycle.put(MODEL, 2, None, Stage.FOUND, "it is new")
    stores.routes.put(
        MODEL, expected_revision=0, mode=RouteMode.NONE, champion=1, by="anna", reason="a test"
    )
    models = world_views.models(stores)
    assert [one.model for one in models.items] == [MODEL]
    assert "MLflow" in models.registry
    answer = world_views.model(stores, MODEL)
    assert [one.version for one in answer.items] == [2]
    assert answer.registry


def test_experiments_come_in_pages_with_their_looks(
    engine: Engine, api_settings: Settings, clock: ManualClock
) -> None:
    stores = AgentStores.of(engine, api_settings, clock)
    for number in (1, 2, 3):
        stores.experiments.create(_experiment(clock, number))
        clock.advance(1.0)
    first = world_views.experiments(stores, limit=2)
    rest = world_views.experiments(stores, after=first.next, limit=2)
    assert [one.experiment_id for one in (*first.items, *rest.items)] == [
        "trial-3",
        "trial-2",
        "trial-1",
    ]
    assert [one.model for one in world_views.experiments(stores, "model-2").items] == ["model-2"]
    stores.experiments.record_look(stores.experiments.claim("trial-1", "me", 60.0), _look())
    story = world_views.experiment(stores, "trial-1")
    assert story.state == "running"
    assert [look["number"] for look in story.looks] == [1]


def _look() -> Look:
    counts = ArmCounts(exposures=10)
    return Look(
        number=1,
        at=1.0,
        elapsed_s=10.0,
        arms={Variant.CHAMPION: counts, Variant.CHALLENGER: replace(counts, errors=1)},
        information_fraction=0.1,
        z=None,
        boundary=None,
        estimate=None,
        interval=None,
        evidence={"errors": 1.0},
        thresholds={"errors": 50.0},
        verdict="continue",
        reason="too early",
    )
