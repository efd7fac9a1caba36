"""Registers model versions in MLflow, pins those of others, moves aliases, retires.

A version is an MLflow run with the folder `model` as artifact: the ONNX file, its schema, the
evaluation data and the MLmodel file by which mlflow's own tools know it. What has to be found
without downloading stands in the version's tags (`registry.version_tags`).

Registering the same file under the same name again gives the version that is there, unless it was
retired: so a repeated flow step makes no second one. Its metrics and description stay as they were.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from config.clock import Clock
from config.errors import InputError
from registry import version_tags as tags_of
from registry.alias_client import AliasClient
from registry.catalog import Catalog
from registry.evaluation import EvaluationData
from registry.mlflow_adopt import pin
from registry.mlflow_client import EXISTS, connect, experiment_id, translated
from registry.mlflow_files import VersionFiles, write_version_files
from registry.mlflow_runs import EXPERIMENT
from registry.onnx_files import inspect, open_session, sha256
from registry.records import ModelSchema, ModelVersion

_KIND = "models"

_FOLDER = "model"


class ModelRegistry:
    """The models of one MLflow server, for those who change them.

    Every method raises RegistryUnavailable when the server cannot be used.
    """

    def __init__(self, tracking_uri: str, clock: Clock, experiment: str = EXPERIMENT) -> None:
        self._tracking_uri = tracking_uri
        self._experiment = f"{experiment}/{_KIND}"
        self._clock = clock
        self._aliases = AliasClient(tracking_uri)
        self._catalog = Catalog(tracking_uri)

    def register(
        self,
        model: str,
        onnx_path: Path,
        *,
        evaluation: EvaluationData | None = None,
        metrics: Mapping[str, float] | None = None,
        description: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> ModelVersion:
        """Register an ONNX file as the next version of a model.

        Args:
            model: the registered model's name; made when it is new.
            onnx_path: one self-contained ONNX file.
            evaluation: data for the benchmark gate, stored with the version.
            metrics: what is known of the version already, such as its accuracy.
            description: for people.
            tags: further tags; names beginning with ``prime_spark.`` are taken.

        Raises:
            ModelRefused: the file is not fit to be served.
            InputError: evaluation data, metrics or tags do not fit.
        """
        schema = inspect(onnx_path)
        open_session(onnx_path, 1)
        facts = _facts(schema, sha256(onnx_path), metrics or {}, tags or {})
        files = VersionFiles(onnx_path, schema, _evaluation(schema, evaluation))
        client = connect(self._tracking_uri)
        with translated(self._tracking_uri):
            _ensure_model(client, model)
            for known in reversed(self._catalog.versions(model)):
                if known.digest == facts[tags_of.DIGEST] and not known.retired:
                    return known
            if files.evaluation_digest is not None:
                facts[tags_of.EVALUATION] = files.evaluation_digest
            run = client.create_run(
                experiment_id(client, self._experiment), run_name=f"register {model}"
            )
            version = _publish(client, run, model, files, metrics or {}, (facts, description))
        return self._catalog.version(model, version)

    def adopt(self, model: str, version: int) -> ModelVersion:
        """Pin the digest of a version that was registered with plain mlflow.

        A pinned one is left as it is. Weights that mlflow stored beside the ONNX file are joined
        into one file, kept as the artifact of a run of its own.

        Raises:
            ModelRefused: it holds no ONNX model, or one that is not fit; nothing of it was loaded
                by unpickling.
        """
        known = self._catalog.version(model, version)
        if known.digest is None:
            client = connect(self._tracking_uri)
            with translated(self._tracking_uri):
                pin(client, known)
        return self._catalog.version(model, version)

    def aliases(self, model: str) -> dict[str, int]:
        """The aliases of a model and the versions they name."""
        return self._aliases.aliases(model)

    def set_alias(self, model: str, alias: str, version: int) -> None:
        """Let an alias name a version; without comparison, so use `registry.aliases` for moves."""
        self._aliases.set_alias(model, alias, version)

    def delete_alias(self, model: str, alias: str) -> None:
        """Take an alias away; one that is not there is no error."""
        self._aliases.delete_alias(model, alias)

    def retire(self, model: str, version: int) -> ModelVersion:
        """Mark a version as not to be served or tried again; its files stay.

        Raises:
            InputError: an alias still names it.
        """
        holders = [alias for alias, held in self.aliases(model).items() if held == version]
        if holders:
            raise InputError(
                f"{model} version {version} is still @{holders[0]}; move that alias before retiring"
            )
        client = connect(self._tracking_uri)
        with translated(self._tracking_uri):
            moment = self._clock.now().isoformat()
            client.set_model_version_tag(model, str(version), tags_of.RETIRED, moment)
        return self._catalog.version(model, version)


def _facts(
    schema: ModelSchema, digest: str, metrics: Mapping[str, float], tags: Mapping[str, str]
) -> dict[str, str]:
    taken = [name for name in tags if name.startswith(tags_of.PREFIX)]
    if taken:
        raise InputError(f"the tag {taken[0]} is kept for Prime Spark; choose another name")
    wrong = [name for name, value in metrics.items() if not math.isfinite(value)]
    if wrong:
        raise InputError(f"the metric {wrong[0]} is {metrics[wrong[0]]}; leave out what is unknown")
    ours = {tags_of.DIGEST: digest, tags_of.SCHEMA: schema.to_json()}
    return {**tags, **ours, **tags_of.metric_tags(metrics)}


def _evaluation(schema: ModelSchema, evaluation: EvaluationData | None) -> bytes | None:
    if evaluation is None:
        return None
    wanted, given = schema.inputs[0].shape, evaluation.inputs.shape
    fits = len(wanted) == len(given) and all(
        axis is None or axis == size for axis, size in zip(wanted[1:], given[1:], strict=True)
    )
    if not fits:
        raise InputError(
            f"the evaluation inputs have the shape {given}, the model takes {wanted}; they have to "
            "be rows for the model's first input"
        )
    return evaluation.to_bytes()


def _ensure_model(client: MlflowClient, model: str) -> None:
    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != EXISTS:
            raise


def _publish(
    client: MlflowClient,
    run: Run,
    model: str,
    files: VersionFiles,
    metrics: Mapping[str, float],
    told: tuple[dict[str, str], str],
) -> int:
    facts, description = told
    status = "FAILED"
    try:
        for name, value in metrics.items():
            client.log_metric(run.info.run_id, name, value)
        with tempfile.TemporaryDirectory(prefix="prime-spark-register-") as folder:
            write_version_files(Path(folder), files, run.info.run_id)
            client.log_artifacts(run.info.run_id, folder, _FOLDER)
        created = client.create_model_version(
            model,
            f"{run.info.artifact_uri}/{_FOLDER}",
            run_id=run.info.run_id,
            tags=facts,
            description=description,
            await_creation_for=0,
        )
        status = "FINISHED"
    finally:
        client.set_terminated(run.info.run_id, status)
    return int(created.version)
