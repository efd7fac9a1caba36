"""Publishes benchmarks, experiments, decisions and actions as MLflow runs, each once.

A run is known by its key. Publishing again under the same key gives the run that is there; one
that was cut off half-way is completed. MLflow has no place for units, so the unit of the metric
`x` is the tag ``prime_spark.unit.x``; a value that is not a finite number is not published, and
the tag ``prime_spark.missing.x`` says so.

Parameters, tags and the name pass the redaction of secrets. Artefacts go as they are: they are
evidence, and their authors keep secrets out.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Param, Run, RunTag, ViewType
from mlflow.entities import Metric as MlflowMetric
from mlflow.exceptions import MlflowException

from config.errors import InputError
from config.redaction import redact, redact_mapping
from registry.mlflow_client import connect, experiment_id, translated

EXPERIMENT = "prime-spark"

KEY = "prime_spark.key"
KIND = "prime_spark.kind"
UNIT = "prime_spark.unit."
MISSING = "prime_spark.missing."

_KEY_DIGEST = "prime_spark.key_digest"
_MAX_PARAM = 6000
_MAX_TAG = 5000
_BATCH = 100
_FINISHED = "FINISHED"
_DATABASE = "BAD_REQUEST"
_COLLISIONS = 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured number and its unit, such as ``ms``."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Artefact:
    """A file of a run; `name` may hold folders."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What is published: `key` makes it one run however often it is logged."""

    key: str
    name: str
    kind: str
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    artefacts: tuple[Artefact, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRef:
    """Where a run is found; `url` opens it in the MLflow UI."""

    run_id: str
    url: str


class RunLog:
    """Publishes runs on one MLflow server, in the MLflow experiment ``<experiment>/<kind>``."""

    def __init__(self, tracking_uri: str, experiment: str = EXPERIMENT) -> None:
        self._tracking_uri = tracking_uri
        self._experiment = experiment

    def log(self, record: RunRecord) -> RunRef:
        """Publish a run, or find it published.

        Raises:
            InputError: MLflow does not take a name in it.
            RegistryUnavailable: the server cannot be used; log the same record again later.
        """
        _check_names(record.artefacts)
        client = connect(self._tracking_uri)
        with translated(self._tracking_uri):
            experiment = experiment_id(client, f"{self._experiment}/{record.kind}")
            run_id = _published(client, experiment, record)
        address = redact(self._tracking_uri).rstrip("/")
        return RunRef(run_id, f"{address}/#/experiments/{experiment}/runs/{run_id}")


def _published(client: MlflowClient, experiment: str, record: RunRecord) -> str:
    """The id of the run of the record, found or made, however many publish it at once."""
    collisions = 0
    while True:
        try:
            run_id = _publish(client, experiment, record)
        except MlflowException as error:
            # Two that write one parameter at the same time: MLflow's database refuses one of them.
            collisions += 1
            if error.error_code != _DATABASE or collisions == _COLLISIONS:
                raise
            continue
        if run_id is not None:
            return run_id


def _publish(client: MlflowClient, experiment: str, record: RunRecord) -> str | None:
    """The id of the run, which is whole; None when another took its place: look again."""
    run = _find(client, experiment, record.key)
    mine = run is None
    run = run or _create(client, experiment, record)
    run_id = str(run.info.run_id)
    if mine and not _stands(client, experiment, record.key, run_id, mine):
        return None
    if run.info.status == _FINISHED:
        return run_id
    try:
        _fill(client, run, record)
        client.set_terminated(run_id, _FINISHED)
    except MlflowException:
        if client.get_run(run_id).info.lifecycle_stage != LifecycleStage.DELETED:
            raise
        return None
    # Once more: an older one may have taken longer to appear.
    return run_id if _stands(client, experiment, record.key, run_id, mine) else None


def _stands(client: MlflowClient, experiment: str, key: str, run_id: str, mine: bool) -> bool:
    """Whether the run is the one of its key; if not, its maker takes it away again."""
    first = _find(client, experiment, key)
    if first is not None and first.info.run_id != run_id and mine:
        client.delete_run(run_id)
    return first is not None and first.info.run_id == run_id


def _find(client: MlflowClient, experiment: str, key: str) -> Run | None:
    """The oldest run of that key; it is the one, should two processes have made one each."""
    found = client.search_runs(
        [experiment],
        f"tags.`{_KEY_DIGEST}` = '{_digest(key)}'",
        run_view_type=ViewType.ACTIVE_ONLY,
    )
    return min(found, key=lambda run: (run.info.start_time, run.info.run_id), default=None)


def _create(client: MlflowClient, experiment: str, record: RunRecord) -> Run:
    tags = {KEY: redact(record.key), _KEY_DIGEST: _digest(record.key), KIND: record.kind}
    return client.create_run(experiment, tags=tags, run_name=redact(record.name))


def _fill(client: MlflowClient, run: Run, record: RunRecord) -> None:
    """Write everything; the same again, also after half of it, changes nothing."""
    run_id = run.info.run_id
    tags = redact_mapping(record.tags) | _unit_tags(record.metrics)
    for tag_part in _batches([RunTag(key, _cut(value, _MAX_TAG)) for key, value in tags.items()]):
        client.log_batch(run_id, tags=tag_part)
    params = redact_mapping(record.params)
    for part in _batches([Param(key, _cut(value, _MAX_PARAM)) for key, value in params.items()]):
        client.log_batch(run_id, params=part)
    # Always at the start of the run: MLflow keeps one of equal points.
    moment = run.info.start_time
    finite = [one for one in record.metrics if math.isfinite(one.value)]
    for points in _batches([MlflowMetric(one.name, one.value, moment, 0) for one in finite]):
        client.log_batch(run_id, metrics=points)
    with tempfile.TemporaryDirectory(prefix="prime-spark-run-") as folder:
        for artefact in record.artefacts:
            path = Path(folder) / artefact.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(artefact.content)
        if record.artefacts:
            client.log_artifacts(run_id, folder)


def _unit_tags(metrics: Sequence[Metric]) -> dict[str, str]:
    units = {UNIT + one.name: one.unit for one in metrics if one.unit}
    missing = {
        MISSING + one.name: str(one.value) for one in metrics if not math.isfinite(one.value)
    }
    return units | missing


def _check_names(artefacts: Sequence[Artefact]) -> None:
    for artefact in artefacts:
        path = PurePosixPath(artefact.name)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise InputError(
                f"{artefact.name!r} is no name for a run's file; use name or folder/name"
            )


def _batches(items: list[T]) -> Iterator[list[T]]:
    # MLflow takes a hundred parameters or tags a call.
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
