"""The mark of retirement on a real MLflow server."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from config.clock import SystemClock
from config.errors import ConflictError, UnknownVersion
from registry.mlflow_models import ModelRegistry
from registry.retirement import RetirementClient
from tests.services.toy_models import classifier


@pytest.fixture
def model(mlflow_uri: str, tmp_path: Path) -> str:
    """A model of two versions."""
    name = f"toy-{uuid.uuid4().hex[:8]}"
    registry = ModelRegistry(mlflow_uri, SystemClock())
    for noise in (0.0, 1.0):
        registry.register(name, classifier(tmp_path / f"{noise}.onnx", noise))
    return name


@pytest.fixture
def marks(mlflow_uri: str) -> RetirementClient:
    return RetirementClient(mlflow_uri, SystemClock())


def test_a_mark_is_set_once_and_taken_away(
    mlflow_uri: str, marks: RetirementClient, model: str
) -> None:
    versions = ModelRegistry(mlflow_uri, SystemClock())
    for wanted in (True, True, False, False):
        marks.set_retired(model, 1, wanted)
        assert marks.is_retired(model, 1) is wanted
    assert not marks.is_retired(model, 2)
    assert versions.aliases(model) == {}


def test_what_an_alias_names_is_not_retired(
    mlflow_uri: str, marks: RetirementClient, model: str
) -> None:
    ModelRegistry(mlflow_uri, SystemClock()).set_alias(model, "champion", 2)
    with pytest.raises(ConflictError, match="is @champion"):
        marks.set_retired(model, 2, True)
    assert not marks.is_retired(model, 2)


def test_an_unknown_version_is_told(marks: RetirementClient, model: str) -> None:
    with pytest.raises(UnknownVersion):
        marks.set_retired(model, 99, True)
