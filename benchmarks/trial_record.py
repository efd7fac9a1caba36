"""The record of a trial as plain JSON, and the proof that its counts give its verdict again.

Not-a-number becomes null, so that the record is strict JSON; read back it is not a number again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.trial import CONTINUE, judge_trial
from config.errors import InputError
from registry.records import ArmCounts, Look, MetricTotals, Variant
from registry.trial_config import ABTestConfig

SCHEMA = 1


class _Metric(BaseModel):
    count: int
    total: float | None
    total_sq: float | None
    last_at: float | None


class _Arm(BaseModel):
    exposures: int
    errors: int
    over_objective: int
    metric: _Metric


class _Look(BaseModel):
    model_config = ConfigDict(extra="ignore")

    at: float
    elapsed_s: float
    arms: dict[Variant, _Arm]
    z: float | None
    boundary: float | None
    verdict: str


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore")

    schema_version: int
    config: ABTestConfig
    looks: tuple[_Look, ...]


@dataclass(frozen=True, slots=True)
class Recomputation:
    """What the counts of a record say now; `differences` is empty when they say the same."""

    verdict: str
    reason: str
    looks: tuple[Look, ...]
    differences: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """True when every look came out as recorded."""
        return not self.differences


def to_record(config: ABTestConfig, looks: Sequence[Look]) -> str:
    """The record of a trial as JSON text: what was asked, and every look with its raw counts."""
    body = {
        "schema_version": SCHEMA,
        "config": config.model_dump(mode="json"),
        "looks": [_strict(asdict(look)) for look in looks],
        "verdict": looks[-1].verdict if looks else CONTINUE,
        "reason": looks[-1].reason if looks else "",
    }
    return json.dumps(body, indent=2, sort_keys=True, allow_nan=False)


def recompute(record: str) -> Recomputation:
    """Judge every look of a record again, from its counts alone, and compare.

    Raises:
        InputError: the text is not such a record.
    """
    try:
        read = _Record.model_validate_json(record)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole text"
        raise InputError(f"not a trial record: {where}: {first['msg']}") from error
    if read.schema_version != SCHEMA:
        raise InputError(f"trial record of schema {read.schema_version}; this reads {SCHEMA}")
    looks: list[Look] = []
    differences: list[str] = []
    for number, old in enumerate(read.looks, start=1):
        arms = {arm: _counts(counts) for arm, counts in old.arms.items()}
        new = judge_trial(read.config, arms, looks, at=old.at, elapsed_s=old.elapsed_s)
        differences.extend(_differences(number, old, new))
        looks.append(new)
    last = looks[-1] if looks else None
    return Recomputation(
        verdict=last.verdict if last else CONTINUE,
        reason=last.reason if last else "",
        looks=tuple(looks),
        differences=tuple(differences),
    )


def _strict(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, list | tuple) else value


def _counts(arm: _Arm) -> ArmCounts:
    metric = arm.metric
    total, total_sq = (
        math.nan if number is None else number for number in (metric.total, metric.total_sq)
    )
    values = MetricTotals(metric.count, total, total_sq, metric.last_at)
    return ArmCounts(arm.exposures, arm.errors, arm.over_objective, values)


def _differences(number: int, old: _Look, new: Look) -> list[str]:
    found = []
    if old.verdict != new.verdict:
        found.append(f"look {number}: recorded {old.verdict}, its counts give {new.verdict}")
    for name, before, after in (("z", old.z, new.z), ("boundary", old.boundary, new.boundary)):
        if not _same(before, after):
            found.append(f"look {number}: recorded {name} {before}, its counts give {after}")
    return found


def _same(before: float | None, after: float | None) -> bool:
    if before is None or after is None:
        return before is after
    return math.isclose(before, after, rel_tol=1e-6, abs_tol=1e-6)
