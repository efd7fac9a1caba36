"""Reading and fetching from a real MLflow server: checked, cached, fetched once, kept in place."""

from __future__ import annotations

import json
import multiprocessing
import stat
import uuid
from pathlib import Path

import httpx
import numpy as np
import pytest
from mlflow import MlflowClient

from config.clock import SystemClock
from config.errors import (
    InputError,
    ModelRefused,
    RegistryUnavailable,
    UnknownModel,
    UnknownVersion,
)
from registry import version_tags as tags_of
from registry.evaluation import EvaluationData
from registry.mlflow_models import ModelRegistry
from registry.reader import RegistryReader
from tests.services.onnx_models import linear_model, write_model


@pytest.fixture
def model() -> str:
    return f"digits {uuid.uuid4().hex[:8]}"


@pytest.fixture
def registry(mlflow_uri: str) -> ModelRegistry:
    return ModelRegistry(mlflow_uri, SystemClock())


@pytest.fixture
def reader(mlflow_uri: str, tmp_path: Path) -> RegistryReader:
    return RegistryReader(mlflow_uri, tmp_path / "cache")


def _tag(uri: str, model: str, key: str, value: str) -> None:
    body = {"name": model, "version": "1", "key": key, "value": value}
    httpx.post(f"{uri}/api/2.0/mlflow/model-versions/set-tag", json=body).raise_for_status()


def _overwrite(uri: str, reader: RegistryReader, model: str, content: bytes) -> None:
    """Change a stored file behind the registry's back."""
    run = reader.version(model, 1).run_id
    experiment = httpx.get(f"{uri}/api/2.0/mlflow/runs/get", params={"run_id": str(run)}).json()[
        "run"
    ]["info"]["experiment_id"]
    route = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/model/model.onnx"
    httpx.put(uri + route, content=content).raise_for_status()


def test_lists_models_aliases_and_versions(
    registry: ModelRegistry, reader: RegistryReader, model: str, tmp_path: Path
) -> None:
    for seed in range(3):
        path = write_model(tmp_path / "m.onnx", linear_model(seed=seed))
        registry.register(model, path, metrics={"accuracy": 0.5 + seed / 10}, description="d")
    registry.set_alias(model, "champion", 2)
    assert model in reader.models()
    assert reader.aliases(model) == reader.all_aliases()[model] == {"champion": 2}
    versions = reader.versions(model)
    assert [version.version for version in versions] == [1, 2, 3]
    assert versions[1] == reader.version(model, 2)
    assert [version.metrics["accuracy"] for version in versions] == [0.5, 0.6, 0.7]
    assert versions[0].description == "d"


def test_unknown_names_are_told(reader: RegistryReader) -> None:
    assert reader.versions("nobody") == []
    with pytest.raises(UnknownModel, match="nobody"):
        reader.aliases("nobody")
    with pytest.raises(UnknownVersion, match="nobody"):
        reader.fetch("nobody", 1)


def test_what_is_fetched_is_what_was_registered(
    registry: ModelRegistry, reader: RegistryReader, model: str, tmp_path: Path
) -> None:
    path = write_model(tmp_path / "m.onnx")
    version = registry.register(model, path)
    file = reader.fetch(model, 1)
    assert file.path.read_bytes() == path.read_bytes()
    assert (file.digest, file.schema) == (version.digest, version.schema)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    assert reader.fetch(model, 1) == file


@pytest.mark.parametrize("name", ["a..b", "a b'c", 'x"y', "-rf", "ü ∂", "%2e%2e%2f", "a\\..\\b"])
def test_odd_names_stay_inside_the_cache(
    registry: ModelRegistry, reader: RegistryReader, name: str, tmp_path: Path
) -> None:
    path = write_model(tmp_path / "m.onnx")
    name = f"{name} {uuid.uuid4().hex[:6]}"
    registry.register(name, path)
    assert reader.fetch(name, 1).path.parent == tmp_path / "cache"
    assert [version.model for version in reader.versions(name)] == [name]


def test_a_changed_artifact_is_refused_and_not_kept(
    registry: ModelRegistry, reader: RegistryReader, model: str, mlflow_uri: str, tmp_path: Path
) -> None:
    registry.register(model, write_model(tmp_path / "m.onnx"))
    _overwrite(mlflow_uri, reader, model, linear_model(seed=9).SerializeToString())
    with pytest.raises(ModelRefused, match="was changed"):
        reader.fetch(model, 1)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_file_damaged_in_the_cache_is_fetched_again(
    registry: ModelRegistry, reader: RegistryReader, model: str, tmp_path: Path
) -> None:
    registry.register(model, write_model(tmp_path / "m.onnx"))
    file = reader.fetch(model, 1)
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[:-1] + b"x")
    assert reader.fetch(model, 1).path.read_bytes() == whole


def test_a_version_without_digest_is_refused(
    registry: ModelRegistry, reader: RegistryReader, model: str, mlflow_uri: str, tmp_path: Path
) -> None:
    registry.register(model, write_model(tmp_path / "m.onnx"))
    for value in ("", "ab", "../../etc/passwd", "0" * 63 + "g"):
        _tag(mlflow_uri, model, tags_of.DIGEST, value)
        with pytest.raises(ModelRefused, match="no pinned digest"):
            reader.fetch(model, 1)


def test_another_schema_than_pinned_is_refused(
    registry: ModelRegistry, reader: RegistryReader, model: str, mlflow_uri: str, tmp_path: Path
) -> None:
    schema = registry.register(model, write_model(tmp_path / "m.onnx")).schema
    assert schema is not None
    other = json.loads(schema.to_json())
    other["inputs"][0]["shape"] = [None, 5]
    _tag(mlflow_uri, model, tags_of.SCHEMA, json.dumps(other))
    with pytest.raises(ModelRefused, match="other tensors"):
        reader.fetch(model, 1)


def test_a_path_out_of_the_version_is_refused(
    registry: ModelRegistry, reader: RegistryReader, model: str, mlflow_uri: str, tmp_path: Path
) -> None:
    registry.register(model, write_model(tmp_path / "m.onnx"))
    _tag(mlflow_uri, model, tags_of.FILE, "../../../../../../etc/passwd")
    with pytest.raises(ModelRefused, match="cannot be fetched"):
        reader.fetch(model, 1)


def test_a_file_over_the_limit_is_refused(
    registry: ModelRegistry, mlflow_uri: str, model: str, tmp_path: Path
) -> None:
    registry.register(model, write_model(tmp_path / "m.onnx"))
    small = RegistryReader(mlflow_uri, tmp_path / "cache", max_model_bytes=50)
    with pytest.raises(ModelRefused, match="larger than 50"):
        small.fetch(model, 1)


def test_evaluation_data_comes_back(
    registry: ModelRegistry, reader: RegistryReader, model: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    data = EvaluationData(rng.normal(size=(20, 4)).astype(np.float32), rng.integers(0, 3, 20))
    registry.register(model, write_model(tmp_path / "m.onnx"), evaluation=data)
    found = reader.fetch_evaluation(model, 1)
    assert np.array_equal(found.inputs, data.inputs)
    assert np.array_equal(found.labels, data.labels)


def test_a_version_without_evaluation_data_says_so(
    registry: ModelRegistry, reader: RegistryReader, model: str, tmp_path: Path
) -> None:
    registry.register(model, write_model(tmp_path / "m.onnx"))
    with pytest.raises(InputError, match="no evaluation data"):
        reader.fetch_evaluation(model, 1)


def _fetch(uri: str, cache: Path, model: str) -> None:
    RegistryReader(uri, cache, timeout_s=30).fetch(model, 1)


def test_workers_that_start_together_share_one_file(
    registry: ModelRegistry, mlflow_uri: str, model: str, tmp_path: Path
) -> None:
    registry.register(model, write_model(tmp_path / "m.onnx"))
    cache = tmp_path / "shared"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_fetch, args=(mlflow_uri, cache, model)) for _ in range(5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 5
    assert sorted(path.suffix for path in cache.iterdir()) == [".lock", ".onnx"]


def test_artifacts_beyond_the_server_come_through_the_client(
    mlflow_uri: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_model(tmp_path / "model.onnx")
    client = MlflowClient(mlflow_uri)
    # The working directory of whoever asks: the server's is another than ours.
    elsewhere = client.create_experiment(model, "file:///proc/self/cwd/artifacts")
    run = client.create_run(elsewhere)
    client.log_artifact(run.info.run_id, str(path), "model")
    client.create_registered_model(model)
    source = f"{run.info.artifact_uri}/model"
    client.create_model_version(model, source, run.info.run_id, await_creation_for=0)
    ModelRegistry(mlflow_uri, SystemClock()).adopt(model, 1)
    reader = RegistryReader(mlflow_uri, tmp_path / "cache", timeout_s=10)
    assert reader.fetch(model, 1).path.read_bytes() == path.read_bytes()
    (tmp_path / "artifacts").rename(tmp_path / "away")
    with pytest.raises(RegistryUnavailable, match="neither"):
        RegistryReader(mlflow_uri, tmp_path / "other", timeout_s=10).fetch(model, 1)
