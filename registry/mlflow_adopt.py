"""Pins versions that others registered with plain mlflow, if they are ONNX.

Only the list of files, the MLmodel file and the ONNX file are fetched; nothing is unpickled, and
mlflow's model loaders are not called.
"""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts, list_artifacts

from config.errors import ModelRefused
from registry import version_tags as tags_of
from registry.onnx_files import MAX_MODEL_BYTES, inspect, open_session, sha256
from registry.records import ModelVersion

_MLMODEL = "MLmodel"
_MAX_MLMODEL_BYTES = 2**20
_FOLDER = "adopted"


def pin(client: MlflowClient, known: ModelVersion) -> None:
    """Write digest, schema and metrics of a version into its tags.

    Raises:
        ModelRefused: it holds no ONNX model that is fit to be served.
    """
    source = client.get_model_version_download_uri(known.model, str(known.version))
    uri = client.tracking_uri
    sizes = {
        PurePosixPath(item.path).name: int(item.file_size or 0)
        for item in list_artifacts(artifact_uri=source, tracking_uri=uri)
    }
    with tempfile.TemporaryDirectory(prefix="prime-spark-adopt-") as name:
        files = _Files(source, uri, sizes, Path(name))
        onnx_name = _onnx_name(known, files)
        path = files.fetch(onnx_name, MAX_MODEL_BYTES)
        facts = {tags_of.FILE: onnx_name}
        beside = _weights_beside(path, files)
        if beside:
            path = _joined(path)
        schema = inspect(path)
        open_session(path, 1)
        facts |= {tags_of.DIGEST: sha256(path), tags_of.SCHEMA: schema.to_json()}
        if beside:
            facts |= _upload(client, known, path)
    facts |= _metrics(client, known)
    # The digest last: with it, the version counts as pinned.
    for key in sorted(facts, key=lambda name: name == tags_of.DIGEST):
        client.set_model_version_tag(known.model, str(known.version), key, facts[key])


class _Files:
    """The files of a version, fetched one by one."""

    def __init__(self, source: str, tracking_uri: str, sizes: dict[str, int], to: Path) -> None:
        self.sizes = sizes
        self._source = source.rstrip("/")
        self._tracking_uri = tracking_uri
        self._to = to

    def fetch(self, name: str, limit: int) -> Path:
        if self.sizes[name] > limit:
            raise ModelRefused(f"{name} has {self.sizes[name]} bytes, more than {limit} allowed")
        found = download_artifacts(
            artifact_uri=f"{self._source}/{name}",
            dst_path=str(self._to),
            tracking_uri=self._tracking_uri,
        )
        return Path(found)


def _onnx_name(known: ModelVersion, files: _Files) -> str:
    if _MLMODEL not in files.sizes:
        return _present(known, files, tags_of.MODEL_FILE)
    flavors = _flavors(files.fetch(_MLMODEL, _MAX_MLMODEL_BYTES))
    if "onnx" not in flavors:
        kinds = ", ".join(sorted(set(flavors) - {"python_function"})) or "unknown"
        raise ModelRefused(
            f"{known.model} version {known.version} is of the kind {kinds}, which loads by running "
            "code from its file; export it to ONNX and register that"
        )
    onnx = flavors["onnx"]
    named = onnx.get("data") if isinstance(onnx, dict) else None
    return _present(known, files, str(named or tags_of.MODEL_FILE))


def _present(known: ModelVersion, files: _Files, name: str) -> str:
    if name not in files.sizes:
        raise ModelRefused(
            f"{known.model} version {known.version} has no file {name!r} at the top of its folder; "
            "register an ONNX file"
        )
    return name


def _flavors(path: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError):
        raw = None
    flavors = raw.get("flavors") if isinstance(raw, dict) else None
    return flavors if isinstance(flavors, dict) else {}


def _weights_beside(path: Path, files: _Files) -> bool:
    """Fetch the files of weights that a model names, if it names any; only from its own folder."""
    try:
        inspect(path)
    except ModelRefused:
        names = _named_weights(path)
        if not names or not names <= set(files.sizes):
            raise
        for name in names:
            files.fetch(name, MAX_MODEL_BYTES)
        return True
    return False


def _named_weights(path: Path) -> set[str]:
    import onnx  # noqa: PLC0415 - for a case that is rare

    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception:  # noqa: BLE001 - whatever it dislikes, `inspect` has said it better
        return set()
    entries = (entry for tensor in graph.initializer for entry in tensor.external_data)
    return {entry.value for entry in entries if entry.key == "location"}


def _joined(path: Path) -> Path:
    """The same model with its weights inside; onnx takes them from the model's folder only."""
    import onnx  # noqa: PLC0415 - for a case that is rare

    joined = path.with_name("joined.onnx")
    try:
        whole = onnx.load(str(path))
        onnx.save_model(whole, str(joined), save_as_external_data=False)
    except Exception as error:
        # Its kinds (protobuf's, OSError, ValueError) have no common parent but this.
        raise ModelRefused(
            f"the weights beside {path.name} cannot be joined to it "
            f"({str(error).splitlines()[0]}); export the model as one file"
        ) from error
    return joined


def _upload(client: MlflowClient, known: ModelVersion, path: Path) -> dict[str, str]:
    experiment = client.get_run(known.run_id).info.experiment_id if known.run_id else "0"
    run = client.create_run(experiment, run_name=f"adopt {known.model} {known.version}")
    status = "FAILED"
    try:
        client.log_artifact(run.info.run_id, str(path), _FOLDER)
        status = "FINISHED"
    finally:
        client.set_terminated(run.info.run_id, status)
    return {tags_of.FILE: f"{_FOLDER}/{path.name}", tags_of.FILE_RUN: run.info.run_id}


def _metrics(client: MlflowClient, known: ModelVersion) -> dict[str, str]:
    if known.run_id is None:
        return {}
    return tags_of.metric_tags(client.get_run(known.run_id).data.metrics)
