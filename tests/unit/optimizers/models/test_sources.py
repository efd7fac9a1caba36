"""New models from a folder and from another registry, on a real MLflow server."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from config.clock import ManualClock, SystemClock
from config.errors import InputError, RegistryUnavailable
from optimizers.models.sources import UpdateSources
from optimizers.models.watching import ModelView
from registry.mlflow_models import ModelRegistry
from registry.model_folder import ModelFolder
from registry.onnx_files import sha256
from registry.reader import RegistryReader
from tests.services.processes import free_port
from tests.services.toy_models import classifier, evaluation


@pytest.fixture
def model() -> str:
    return f"toy-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def drop(tmp_path: Path) -> ModelFolder:
    later = ManualClock(SystemClock().now() + timedelta(hours=1))
    return ModelFolder(tmp_path / "drop", later)


def put(tmp_path: Path, model: str, noise: float) -> Path:
    folder = tmp_path / "drop" / model
    folder.mkdir(parents=True, exist_ok=True)
    return classifier(folder / f"noise-{noise}.onnx", noise)


def test_a_champion_elsewhere_is_brought_over_with_its_rows(
    mlflow_uri: str, model: str, tmp_path: Path
) -> None:
    registry = ModelRegistry(mlflow_uri, SystemClock())
    file = classifier(tmp_path / "a.onnx", 0.0)
    version = registry.register(model, file, evaluation=evaluation()).version
    registry.set_alias(model, "champion", version)
    other = RegistryReader(mlflow_uri, tmp_path / "cache")
    sources = UpdateSources(None, other, address="there", names=(model,))
    (found,) = sources.find([])
    assert (found.model, found.digest, found.refused) == (model, sha256(file), "")
    incoming = sources.bring(model, found.reference, found.digest, tmp_path)
    assert sha256(incoming.path) == found.digest
    assert incoming.evaluation is not None
    here = ModelView(model, None, tuple(other.versions(model)), {})
    assert sources.find([here]) == []
    with pytest.raises(InputError):
        sources.bring(model, found.reference, "0" * 64, tmp_path)


def test_another_registry_that_is_away_is_told(tmp_path: Path) -> None:
    away = RegistryReader(f"http://127.0.0.1:{free_port()}", tmp_path / "cache", timeout_s=1.0)
    with pytest.raises(RegistryUnavailable):
        UpdateSources(None, away).find([])


def test_a_file_in_the_folder_is_found_until_it_is_registered(
    mlflow_uri: str, model: str, drop: ModelFolder, tmp_path: Path
) -> None:
    put(tmp_path, model, 0.0)
    sources = UpdateSources(drop, None)
    (found,) = sources.find([])
    incoming = sources.bring(model, found.reference, found.digest, tmp_path)
    registry = ModelRegistry(mlflow_uri, SystemClock())
    registered = registry.register(model, incoming.path, description=incoming.description)
    view = ModelView(model, None, (registered,), {})
    assert sources.find([view]) == []


def test_models_nobody_looks_after_stay_outside(drop: ModelFolder, tmp_path: Path) -> None:
    put(tmp_path, "other", 0.0)
    assert UpdateSources(drop, None, names=("toy",)).find([]) == []


@pytest.mark.parametrize(
    "reference", ["", "folder:other/noise-0.0.onnx", "registry:1", "http://x", "folder:../x.onnx"]
)
def test_a_reference_leads_only_to_the_model_s_own_file(
    drop: ModelFolder, tmp_path: Path, reference: str
) -> None:
    put(tmp_path, "other", 0.0)
    with pytest.raises(InputError):
        UpdateSources(drop, None).bring("toy", reference, "0" * 64, tmp_path)
