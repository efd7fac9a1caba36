"""The records of the registry: what the other packages read and hand in. No input or output here.

Times named ``…_at`` are aware datetimes (UTC) where the annotation says so, and otherwise float
seconds since the epoch (UTC), which is also how the ledger keeps them.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    from registry.trial_config import ABTestConfig

CHAMPION_ALIAS = "champion"
CHALLENGER_ALIAS = "challenger"
PREVIOUS_ALIAS = "previous"


class Variant(StrEnum):
    """The part a version played when it answered a request."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"
    SHADOW = "shadow"


class RouteMode(StrEnum):
    """How the traffic of a model is divided."""

    NONE = "none"
    AB = "ab"
    SHADOW = "shadow"


class ExperimentState(StrEnum):
    """Whether an experiment still takes traffic."""

    RUNNING = "running"
    FINISHED = "finished"


class TrialVerdict(StrEnum):
    """How an experiment ended."""

    PROMOTE = "promote"
    KEEP_CHAMPION = "keep_champion"
    INCONCLUSIVE = "inconclusive"
    GUARDRAIL = "guardrail"
    INVALIDATED = "invalidated"
    CANCELLED = "cancelled"


class Stage(StrEnum):
    """Where a version stands in the model life-cycle."""

    FOUND = "found"
    BENCHMARKING = "benchmarking"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    TRIAL = "trial"
    WON = "won"
    KEPT = "kept"
    STOPPED = "stopped"
    INVALIDATED = "invalidated"
    PROMOTING = "promoting"
    CHAMPION = "champion"
    RETIRED = "retired"
    FAILED = "failed"


class MoveState(StrEnum):
    """How far an alias move has come."""

    INTENT = "intent"
    DONE = "done"
    FAILED = "failed"
    HANDED_OVER = "handed_over"


@dataclass(frozen=True, slots=True)
class Route:
    """The wanted split of one model's traffic; ``weight`` is the challenger's share (0 to 1)."""

    model: str
    revision: int
    mode: RouteMode
    experiment_id: str | None
    salt: str
    champion: int | None
    challenger: int | None
    weight: float
    at: datetime | None
    by: str
    reason: str

    @classmethod
    def none(cls, model: str) -> Self:
        """The route of a model for which nothing was ever asked: the champion serves all."""
        return cls(model, 0, RouteMode.NONE, None, "", None, None, 0.0, None, "", "")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, numpy type name and shape of a model's input or output; ``None`` is a free axis."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class ModelSchema:
    """The inputs and outputs of a model, in the model's own order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def batchable(self) -> bool:
        """True when the first axis of every input and output is free: rows can be joined."""
        specs = (*self.inputs, *self.outputs)
        return all(spec.shape and spec.shape[0] is None for spec in specs)

    def to_json(self) -> str:
        """Canonical JSON: the same schema always gives the same text."""
        parts = {
            side: [{"name": s.name, "dtype": s.dtype, "shape": list(s.shape)} for s in specs]
            for side, specs in (("inputs", self.inputs), ("outputs", self.outputs))
        }
        return json.dumps(parts, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`to_json` wrote; ValueError when the text is something else."""
        try:
            raw = json.loads(text)
            sides = (tuple(_spec(item) for item in raw[side]) for side in ("inputs", "outputs"))
            return cls(*sides)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a model schema: {error}") from error


def _spec(raw: dict[str, object]) -> TensorSpec:
    name, dtype, shape = raw["name"], raw["dtype"], raw["shape"]
    if not isinstance(name, str) or not isinstance(dtype, str) or not isinstance(shape, list):
        raise TypeError("a tensor needs a name, a type and a shape")
    if any(axis is not None and not isinstance(axis, int) for axis in shape):
        raise TypeError(f"the shape of {name} is not made of numbers")
    return TensorSpec(name, dtype, tuple(shape))


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version in the registry; ``digest`` is the SHA-256 (hex) of its ONNX file, if pinned."""

    model: str
    version: int
    digest: str | None
    schema: ModelSchema | None
    metrics: dict[str, float]
    evaluation_digest: str | None
    created_at: datetime
    run_id: str | None
    description: str
    tags: dict[str, str]
    retired: bool


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model on this machine's disk, its digest and schema checked."""

    model: str
    version: int
    path: Path
    digest: str
    schema: ModelSchema


@dataclass(frozen=True, slots=True)
class ExposureWindow:
    """What one worker served of one version in one minute, which starts at ``started_at``.

    The numbers are absolute for this worker and minute, so writing a window twice changes nothing.
    ``over_objective`` counts requests slower than the latency objective; ``sketch`` maps the
    buckets of `registry.sketch` to counts.
    """

    worker: str
    model: str
    version: int
    variant: Variant
    experiment_id: str | None
    started_at: float
    count: int
    errors: int
    over_objective: int
    latency_sum_ms: float
    latency_sumsq: float
    sketch: dict[int, int]


@dataclass(frozen=True, slots=True)
class ExposureTotals:
    """The sum of many exposure windows; ``first_at``/``last_at`` are starts of windows."""

    count: int = 0
    errors: int = 0
    over_objective: int = 0
    latency_sum_ms: float = 0.0
    latency_sumsq: float = 0.0
    sketch: dict[int, int] = field(default_factory=dict)
    first_at: float | None = None
    last_at: float | None = None

    @classmethod
    def of(cls, windows: Iterable[ExposureWindow]) -> Self:
        """Add windows up."""
        rows = list(windows)
        sketch: Counter[int] = Counter()
        for row in rows:
            sketch.update(row.sketch)
        return cls(
            count=sum(row.count for row in rows),
            errors=sum(row.errors for row in rows),
            over_objective=sum(row.over_objective for row in rows),
            latency_sum_ms=sum(row.latency_sum_ms for row in rows),
            latency_sumsq=sum(row.latency_sumsq for row in rows),
            sketch=dict(sorted(sketch.items())),
            first_at=min((row.started_at for row in rows), default=None),
            last_at=max((row.started_at for row in rows), default=None),
        )


@dataclass(frozen=True, slots=True)
class FeedbackItem:
    """A score of one answer, named by the nonce in its signed request id."""

    nonce: str
    model: str
    version: int
    variant: Variant
    experiment_id: str | None
    metric: str
    value: float
    label: str | None
    at: float


@dataclass(frozen=True, slots=True)
class FeedbackCounts:
    """How many items were new and how many had been counted before."""

    accepted: int
    duplicate: int


@dataclass(frozen=True, slots=True)
class MetricTotals:
    """Count, sum and sum of squares of a metric's values."""

    count: int = 0
    total: float = 0.0
    total_sq: float = 0.0
    last_at: float | None = None


@dataclass(frozen=True, slots=True)
class ShadowScore:
    """What the challenger answered to a copy of a request, beside the champion's own answer."""

    nonce: str
    model: str
    version: int
    experiment_id: str | None
    prediction: str | None
    champion_prediction: str | None
    error: bool
    latency_ms: float
    champion_latency_ms: float
    at: float


@dataclass(frozen=True, slots=True)
class PairedTotals:
    """Sums over requests both versions answered; a difference is challenger minus champion.

    ``n`` pairs have the metric on both sides. Of ``scored`` shadow answers, ``compared`` have a
    prediction on both sides, and ``agreed`` of those are alike.
    """

    n: int = 0
    diff_sum: float = 0.0
    diff_sumsq: float = 0.0
    champion_sum: float = 0.0
    challenger_sum: float = 0.0
    scored: int = 0
    compared: int = 0
    agreed: int = 0
    challenger_errors: int = 0


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """What one arm of an experiment has gathered so far."""

    exposures: int = 0
    errors: int = 0
    over_objective: int = 0
    metric: MetricTotals = MetricTotals()


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a running experiment: the counts and everything concluded from them."""

    number: int
    at: float
    elapsed_s: float
    arms: dict[Variant, ArmCounts]
    information_fraction: float
    z: float | None
    boundary: float | None
    estimate: float | None
    interval: tuple[float, float] | None
    evidence: dict[str, float]
    thresholds: dict[str, float]
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class Experiment:
    """A trial of a challenger against the champion on live traffic."""

    id: str
    model: str
    champion: int
    challenger: int
    mode: RouteMode
    salt: str
    weight: float
    config: ABTestConfig
    state: ExperimentState
    verdict: TrialVerdict | None
    reason: str
    started_at: datetime
    finished_at: datetime | None = None
    flow_run_id: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class TrialLease:
    """The right to conclude an experiment; ``token`` grows with every new claim."""

    id: str
    holder: str
    token: int
    expires_at: datetime
    ttl_s: float


@dataclass(frozen=True, slots=True)
class VersionStage:
    """Where a version stands and why."""

    model: str
    version: int
    stage: Stage
    reason: str
    flow_run_id: str | None
    run_id: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One move of an alias; a version of ``None`` means the alias did not (or does not) exist."""

    id: int
    model: str
    alias: str
    before: int | None
    after: int | None
    actor: str
    reason: str
    at: datetime
    state: MoveState
    outside: bool
