"""The files of a registered version, with the MLmodel file that mlflow's own tools read."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import yaml

from registry.records import ModelSchema, TensorSpec
from registry.version_tags import EVALUATION_FILE, MODEL_FILE, SCHEMA_FILE


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """What a version is made of; `evaluation` is the content of an .npz file."""

    onnx_path: Path
    schema: ModelSchema
    evaluation: bytes | None

    @property
    def evaluation_digest(self) -> str | None:
        """The SHA-256 of the evaluation data."""
        return hashlib.sha256(self.evaluation).hexdigest() if self.evaluation is not None else None


def write_version_files(folder: Path, files: VersionFiles, run_id: str) -> None:
    """Lay the files out as they are uploaded."""
    shutil.copyfile(files.onnx_path, folder / MODEL_FILE)
    (folder / SCHEMA_FILE).write_text(files.schema.to_json() + "\n")
    (folder / "MLmodel").write_text(yaml.safe_dump(_mlmodel(files.schema, run_id)))
    if files.evaluation is not None:
        (folder / EVALUATION_FILE).write_bytes(files.evaluation)


def _mlmodel(schema: ModelSchema, run_id: str) -> dict[str, Any]:
    return {
        "artifact_path": "model",
        "flavors": {
            "onnx": {"data": MODEL_FILE, "providers": ["CPUExecutionProvider"]},
            "python_function": {"loader_module": "mlflow.onnx", "data": MODEL_FILE},
        },
        "mlflow_version": mlflow.__version__,
        "run_id": run_id,
        "signature": {
            "inputs": json.dumps([_tensor(spec) for spec in schema.inputs]),
            "outputs": json.dumps([_tensor(spec) for spec in schema.outputs]),
            "params": None,
        },
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    shape = [-1 if axis is None else axis for axis in spec.shape]
    return {
        "name": spec.name,
        "type": "tensor",
        "tensor-spec": {"dtype": spec.dtype, "shape": shape},
    }
