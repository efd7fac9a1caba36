"""What the flow `model_deploy` does at a remote registry: on a real MLflow server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.errors import ConfigError, ConflictError, InputError
from config.settings import DeploymentTargetSettings, Settings
from flows.context import Context
from flows.model_deploy import target_named, to_device, to_predictor
from registry.alias_client import AliasClient
from registry.catalog import Catalog
from registry.records import ModelFile
from tests.services.small_predictor import SmallPredictor, small_predictor
from tests.services.toy_models import classifier, evaluation, model_file


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    home = {"home": tmp_path / "home", "mlflow": {"tracking_uri": "http://ours.example"}}
    made = Context(Settings.model_validate(home))
    yield made
    made.close()


@pytest.fixture
def file(tmp_path: Path) -> ModelFile:
    """Our version 7 of a model that is unknown over there."""
    path = classifier(tmp_path / "ours.onnx", 0.0)
    return model_file(path, f"toy-{uuid.uuid4().hex[:8]}", 7)


@pytest.fixture
def predictor(mlflow_uri: str) -> Iterator[SmallPredictor]:
    with small_predictor(AliasClient(mlflow_uri)) as running:
        yield running


def target(predictor: SmallPredictor, registry: str | None) -> DeploymentTargetSettings:
    return DeploymentTargetSettings(
        name="berlin", kind="remote", url=predictor.url, registry=registry
    )


def test_a_version_is_registered_there_and_served(
    context: Context, mlflow_uri: str, predictor: SmallPredictor, file: ModelFile
) -> None:
    told = to_predictor(context, target(predictor, mlflow_uri), file, evaluation())
    assert told == "it serves version 1 of its own"
    there = Catalog(mlflow_uri)
    assert there.aliases(file.model) == {"champion": 1}
    copied = there.version(file.model, 1)
    assert copied.digest == file.digest
    assert copied.evaluation_digest is not None
    assert to_predictor(context, target(predictor, mlflow_uri), file, evaluation()) == told
    assert len(there.versions(file.model)) == 1


def test_a_predictor_that_does_not_follow_keeps_what_it_had(
    context: Context,
    mlflow_uri: str,
    predictor: SmallPredictor,
    file: ModelFile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flows.model_deploy._FOLLOW_S", 0.0)
    predictor.stuck[file.model] = 99
    with pytest.raises(ConflictError):
        to_predictor(context, target(predictor, mlflow_uri), file, None)
    assert Catalog(mlflow_uri).aliases(file.model) == {}


def test_what_cannot_be_deployed_to_is_told(
    context: Context, predictor: SmallPredictor, file: ModelFile, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="follows this one by itself"):
        to_predictor(context, target(predictor, None), file, None)
    with pytest.raises(InputError, match="this very registry"):
        to_predictor(context, target(predictor, "http://ours.example/"), file, None)
    with pytest.raises(ConfigError, match="names no folder"):
        to_device(context, DeploymentTargetSettings(name="pi", kind="edge"), file, None)
    with pytest.raises(ConfigError, match="there are: none"):
        target_named(context, "nowhere")
