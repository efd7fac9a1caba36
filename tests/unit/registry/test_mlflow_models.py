"""Registering, adopting and retiring versions on a real MLflow server."""

from __future__ import annotations

import os
import pickle
import uuid
from pathlib import Path

import mlflow
import numpy as np
import onnx
import pytest

from config.clock import SystemClock
from config.errors import InputError, ModelRefused, RegistryUnavailable, UnknownVersion
from registry.evaluation import EvaluationData, evaluation_from_bytes
from registry.mlflow_models import ModelRegistry
from registry.onnx_files import sha256
from registry.reader import RegistryReader
from tests.services.onnx_models import linear_model, write_model
from tests.services.processes import free_port


@pytest.fixture
def model() -> str:
    return f"digits-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def registry(mlflow_uri: str) -> ModelRegistry:
    return ModelRegistry(mlflow_uri, SystemClock())


@pytest.fixture
def client(mlflow_uri: str) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(mlflow_uri)


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def _plain(client: mlflow.MlflowClient, model: str, files: dict[str, Path | str]) -> None:
    """Register a version as somebody would who never heard of Prime Spark."""
    run = client.create_run("0")
    for name, content in files.items():
        if isinstance(content, Path):
            client.log_artifact(run.info.run_id, str(content), "model")
        else:
            client.log_text(run.info.run_id, content, f"model/{name}")
    client.log_metric(run.info.run_id, "accuracy", 0.75)
    client.set_terminated(run.info.run_id)
    client.create_registered_model(model)
    client.create_model_version(
        model, f"{run.info.artifact_uri}/model", run.info.run_id, await_creation_for=0
    )


# mlflow warns about type hints of its own when its loaders are imported.
uses_mlflow_loaders = pytest.mark.filterwarnings("ignore:.*type hint:UserWarning")
ONNX_FLAVOR = "flavors:\n  onnx:\n    data: model.onnx\n"


def test_a_version_carries_its_facts(
    registry: ModelRegistry, model: str, tmp_path: Path, client: mlflow.MlflowClient
) -> None:
    path = write_model(tmp_path / "m.onnx")
    version = registry.register(
        model, path, metrics={"accuracy": 0.9}, description="first", tags={"team": "a"}
    )
    assert (version.version, version.digest) == (1, sha256(path))
    assert version.schema is not None
    assert version.schema.batchable
    assert version.metrics == {"accuracy": 0.9}
    assert (version.description, version.tags["team"]) == ("first", "a")
    assert version.run_id is not None
    run = client.get_run(version.run_id)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"accuracy": 0.9})


@uses_mlflow_loaders
def test_mlflow_own_tools_can_use_it(
    registry: ModelRegistry, model: str, tmp_path: Path, mlflow_uri: str
) -> None:
    registry.register(model, write_model(tmp_path / "m.onnx"))
    mlflow.set_tracking_uri(mlflow_uri)
    loaded = mlflow.pyfunc.load_model(f"models:/{model}/1")
    assert loaded.predict({"X": np.zeros((2, 4), np.float32)})["Y"].shape == (2, 3)
    assert loaded.metadata.signature.inputs.input_names() == ["X"]


def test_the_same_file_again_is_the_same_version(
    registry: ModelRegistry, model: str, tmp_path: Path
) -> None:
    first = write_model(tmp_path / "1.onnx", linear_model(seed=1))
    second = write_model(tmp_path / "2.onnx", linear_model(seed=2))
    assert registry.register(model, first).version == 1
    assert registry.register(model, second).version == 2
    assert registry.register(model, first).version == 1
    registry.retire(model, 1)
    assert registry.register(model, first).version == 3
    assert registry.register(f"{model}-other", first).version == 1


def test_a_file_that_is_no_onnx_makes_no_version(
    registry: ModelRegistry, model: str, tmp_path: Path, mlflow_uri: str
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(pickle.dumps(_Bomb(tmp_path / "ran")))
    with pytest.raises(ModelRefused, match="pickle"):
        registry.register(model, path)
    nonsense = linear_model()
    nonsense.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ModelRefused, match="onnxruntime"):
        registry.register(model, write_model(path, nonsense))
    assert not (tmp_path / "ran").exists()
    assert model not in RegistryReader(mlflow_uri, tmp_path).models()


def test_what_does_not_fit_is_refused(registry: ModelRegistry, model: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"prime_spark\.digest is kept"):
        registry.register(model, path, tags={"prime_spark.digest": "x"})
    with pytest.raises(InputError, match="accuracy is nan"):
        registry.register(model, path, metrics={"accuracy": float("nan")})
    wrong = EvaluationData(np.zeros((5, 9), np.float32), np.zeros(5, np.int64))
    with pytest.raises(InputError, match="evaluation inputs"):
        registry.register(model, path, evaluation=wrong)


def test_a_retired_version_says_so_and_held_ones_cannot_be(
    registry: ModelRegistry, model: str, tmp_path: Path
) -> None:
    registry.register(model, write_model(tmp_path / "m.onnx"))
    registry.set_alias(model, "champion", 1)
    with pytest.raises(InputError, match="@champion"):
        registry.retire(model, 1)
    registry.delete_alias(model, "champion")
    registry.delete_alias(model, "champion")
    assert registry.retire(model, 1).retired
    with pytest.raises(UnknownVersion):
        registry.retire(model, 7)


@uses_mlflow_loaders
def test_versions_of_plain_mlflow_are_adopted(
    registry: ModelRegistry, model: str, tmp_path: Path, mlflow_uri: str
) -> None:
    mlflow.set_tracking_uri(mlflow_uri)
    with mlflow.start_run():
        mlflow.onnx.log_model(
            linear_model(features=512), name="m", registered_model_name=model, pip_requirements=[]
        )
        mlflow.log_metric("accuracy", 0.75)
    reader = RegistryReader(mlflow_uri, tmp_path)
    with pytest.raises(ModelRefused, match="adopt"):
        reader.fetch(model, 1)
    adopted = registry.adopt(model, 1)
    assert registry.adopt(model, 1) == adopted
    file = reader.fetch(model, 1)
    # mlflow had put the weights into a file of their own; they are one again.
    assert file.schema == adopted.schema
    assert file.schema.inputs[0].shape == (None, 512)
    assert "prime_spark.file_run" in adopted.tags


def test_an_adopted_version_keeps_its_file_and_metrics(
    registry: ModelRegistry,
    client: mlflow.MlflowClient,
    model: str,
    tmp_path: Path,
    mlflow_uri: str,
) -> None:
    path = write_model(tmp_path / "model.onnx")
    _plain(client, model, {"model.onnx": path, "MLmodel": ONNX_FLAVOR})
    adopted = registry.adopt(model, 1)
    assert adopted.digest == sha256(path)
    assert adopted.metrics == {"accuracy": 0.75}
    assert RegistryReader(mlflow_uri, tmp_path / "c").fetch(model, 1).digest == sha256(path)


def test_a_bare_onnx_file_is_adopted(
    registry: ModelRegistry, client: mlflow.MlflowClient, model: str, tmp_path: Path
) -> None:
    path = write_model(tmp_path / "model.onnx")
    _plain(client, model, {"model.onnx": path})
    assert registry.adopt(model, 1).digest == sha256(path)


def test_pickle_flavours_are_refused_by_name_and_never_loaded(
    registry: ModelRegistry, client: mlflow.MlflowClient, model: str, tmp_path: Path
) -> None:
    bomb = tmp_path / "model.pkl"
    bomb.write_bytes(pickle.dumps(_Bomb(tmp_path / "ran")))
    flavor = "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n  sklearn:\n"
    _plain(client, model, {"model.pkl": bomb, "MLmodel": flavor + "    pickled_model: model.pkl\n"})
    with pytest.raises(ModelRefused, match="kind sklearn"):
        registry.adopt(model, 1)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("mlmodel", "reason"),
    [
        ("flavors: [", "kind unknown"),
        ("just text", "kind unknown"),
        ("flavors:\n  onnx:\n    data: ../../secret.onnx\n", "no file '../../secret.onnx'"),
        ("flavors:\n  onnx:\n    data: missing.onnx\n", "no file 'missing.onnx'"),
        ("flavors: !!python/object/apply:os.system ['true']\n", "kind unknown"),
    ],
)
def test_hostile_descriptions_are_refused(
    registry: ModelRegistry,
    client: mlflow.MlflowClient,
    model: str,
    tmp_path: Path,
    mlmodel: str,
    reason: str,
) -> None:
    path = write_model(tmp_path / "model.onnx")
    _plain(client, model, {"model.onnx": path, "MLmodel": mlmodel})
    with pytest.raises(ModelRefused, match=reason):
        registry.adopt(model, 1)


def test_weights_that_are_not_in_the_folder_are_refused(
    registry: ModelRegistry, client: mlflow.MlflowClient, model: str, tmp_path: Path
) -> None:
    outside = linear_model(features=64)
    onnx.external_data_helper.set_external_data(
        outside.graph.initializer[0], location="../../../etc/passwd"
    )
    outside.graph.initializer[0].ClearField("raw_data")
    path = write_model(tmp_path / "model.onnx", outside)
    _plain(client, model, {"model.onnx": path, "MLmodel": ONNX_FLAVOR})
    with pytest.raises(ModelRefused, match="another file"):
        registry.adopt(model, 1)


def test_a_server_that_is_down_is_told_quickly(tmp_path: Path) -> None:
    registry = ModelRegistry(f"http://127.0.0.1:{free_port()}", SystemClock())
    with pytest.raises(RegistryUnavailable):
        registry.register("digits", write_model(tmp_path / "m.onnx"))


def test_evaluation_data_is_checked() -> None:
    rows = np.zeros((3, 2), np.float32)
    with pytest.raises(InputError, match="one label per row"):
        EvaluationData(rows, np.zeros(2))
    with pytest.raises(InputError, match="objects"):
        EvaluationData(np.array([object()] * 3), np.zeros(3))
    data = EvaluationData(rows, np.array(["a", "b", "c"]))
    assert data.to_bytes() == data.to_bytes()
    assert evaluation_from_bytes(data.to_bytes()).labels.tolist() == ["a", "b", "c"]


def test_hostile_evaluation_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        evaluation_from_bytes(pickle.dumps(_Bomb(tmp_path / "ran")))
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, inputs=np.array([_Bomb(tmp_path / "ran")], dtype=object), labels=np.zeros(1))
    with pytest.raises(InputError, match="cannot be read"):
        evaluation_from_bytes(pickled.read_bytes())
    bomb = EvaluationData(np.zeros((2**20, 4), np.float32), np.zeros(2**20)).to_bytes()
    assert len(bomb) < 2**17
    with pytest.raises(InputError, match="unpacks to"):
        evaluation_from_bytes(bomb, limit=2**20)
    assert not (tmp_path / "ran").exists()
