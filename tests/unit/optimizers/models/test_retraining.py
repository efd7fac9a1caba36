"""The user's training: how it is named, called, and what it may hand over."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from config.clock import ManualClock
from config.errors import ConfigError, InputError, ModelRefused
from optimizers.models.retraining import Trained, find_trainer, is_deployment, train
from registry.mlflow_models import ModelRegistry
from tests.services.toy_models import classifier, evaluation

CODE = """
from pathlib import Path
from optimizers.models.retraining import Trained
from tests.services.toy_models import classifier, evaluation

def good(model, folder, reason):
    return Trained(classifier(folder / "new.onnx", 0.01), evaluation(), {"accuracy": 0.9}, reason)

def path_only(model, folder, reason):
    return classifier(Path(folder) / "new.onnx", 0.01)

def pickled(model, folder, reason):
    (folder / "new.onnx").write_bytes(b"a pickle, perhaps")
    return folder / "new.onnx"

def nothing(model, folder, reason):
    return None

not_a_function = 3
"""


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "their_training.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "their_training"
    sys.modules.pop("their_training", None)


@pytest.mark.parametrize(
    ("entrypoint", "deployment"),
    [("train/nightly", True), ("my.module:train", False)],
)
def test_an_entry_point_is_a_deployment_or_a_function(entrypoint: str, deployment: bool) -> None:
    assert is_deployment(entrypoint) is deployment


@pytest.mark.parametrize("entrypoint", ["", "train", "a/b/c", ":f", "m:", "/x", "train/"])
def test_anything_else_is_refused_with_both_forms(entrypoint: str) -> None:
    with pytest.raises(ConfigError, match="flow/deployment"):
        is_deployment(entrypoint)


@pytest.mark.parametrize("function", ["missing", "not_a_function"])
def test_a_function_that_is_none_is_refused(user_module: str, function: str) -> None:
    with pytest.raises(ConfigError, match=function):
        find_trainer(f"{user_module}:{function}")


def test_a_module_that_is_missing_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be imported"):
        find_trainer("no_such_module_anywhere:train")


@pytest.mark.parametrize("function", ["good", "path_only"])
def test_what_training_made_becomes_a_new_version(
    user_module: str, function: str, mlflow_uri: str, tmp_path: Path
) -> None:
    registry = ModelRegistry(mlflow_uri, ManualClock(datetime(2025, 6, 1, tzinfo=UTC)))
    model = f"retrained-{function}"
    registry.register(
        model,
        classifier(tmp_path / "old.onnx", 0.1),
        evaluation=evaluation(),
        metrics={},
        description="",
        tags={},
    )
    trainer = find_trainer(f"{user_module}:{function}")
    assert train(trainer, registry, model, tmp_path, "degraded") == 2


def test_a_file_that_is_no_onnx_is_refused_unread(
    user_module: str, mlflow_uri: str, tmp_path: Path
) -> None:
    registry = ModelRegistry(mlflow_uri, ManualClock(datetime(2025, 6, 1, tzinfo=UTC)))
    with pytest.raises(ModelRefused):
        train(find_trainer(f"{user_module}:pickled"), registry, "pickled", tmp_path, "why")


def test_a_function_that_returns_nothing_is_told_what_to_return(
    user_module: str, mlflow_uri: str, tmp_path: Path
) -> None:
    registry = ModelRegistry(mlflow_uri, ManualClock(datetime(2025, 6, 1, tzinfo=UTC)))
    with pytest.raises(InputError, match="a path, a Trained or a version number"):
        train(find_trainer(f"{user_module}:nothing"), registry, "none", tmp_path, "why")


def test_trained_needs_no_more_than_the_file(tmp_path: Path) -> None:
    assert Trained(tmp_path / "x.onnx").evaluation is None
