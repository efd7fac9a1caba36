"""How a version's facts are written in MLflow's tags, and read back into a record."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from config.clock import from_epoch
from registry.records import ModelSchema, ModelVersion
from registry.rest import Json

PREFIX = "prime_spark."
DIGEST = "prime_spark.digest"
SCHEMA = "prime_spark.schema"
EVALUATION = "prime_spark.evaluation"
RETIRED = "prime_spark.retired"
# Where the pinned file stands, when that is not `model.onnx` beside the version's other files.
FILE = "prime_spark.file"
FILE_RUN = "prime_spark.file_run"
METRIC = "prime_spark.metric."

MODEL_FILE = "model.onnx"
EVALUATION_FILE = "evaluation.npz"
SCHEMA_FILE = "schema.json"

_DIGEST = re.compile(r"[0-9a-f]{64}")


def version_from_json(raw: Json) -> ModelVersion:
    """The record for MLflow's JSON of a model version.

    Raises:
        KeyError, TypeError, ValueError: it is not that JSON.
    """
    tags = {str(tag["key"]): str(tag["value"]) for tag in raw.get("tags", [])}
    return ModelVersion(
        model=str(raw["name"]),
        version=int(raw["version"]),
        digest=digest_in(tags, DIGEST),
        schema=_schema(tags),
        metrics=metrics_in(tags),
        evaluation_digest=digest_in(tags, EVALUATION),
        created_at=from_epoch(int(raw["creation_timestamp"]) / 1000),
        run_id=str(raw["run_id"]) if raw.get("run_id") else None,
        description=str(raw.get("description", "")),
        tags=tags,
        retired=RETIRED in tags,
    )


def digest_in(tags: Mapping[str, str], name: str) -> str | None:
    """A SHA-256 among the tags; anything else that stands there counts as absent."""
    value = tags.get(name, "")
    return value if _DIGEST.fullmatch(value) else None


def metrics_in(tags: Mapping[str, str]) -> dict[str, float]:
    """The metrics among the tags; what is not a finite number is left out."""
    found = {
        name.removeprefix(METRIC): _number(value)
        for name, value in tags.items()
        if name.startswith(METRIC)
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


def metric_tags(metrics: Mapping[str, float]) -> dict[str, str]:
    """The tags that carry metrics."""
    return {f"{METRIC}{name}": repr(float(value)) for name, value in metrics.items()}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _schema(tags: Mapping[str, str]) -> ModelSchema | None:
    try:
        return ModelSchema.from_json(tags[SCHEMA]) if SCHEMA in tags else None
    except ValueError:
        return None
