"""What an A/B test is asked to decide: written once when it starts, never changed while it runs.

Everything that shapes a verdict stands here, so that a stored configuration and the stored counts
give the same verdict again. Promises nothing about who runs the test or where the counts are kept.
"""

import re
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_SMALLER_IS_BETTER = frozenset(
    ("latency", "error", "errors", "loss", "logloss", "mae", "mse", "rmse", "mape", "cost")
)

Name = Annotated[str, Field(min_length=1, max_length=200, pattern="^[A-Za-z0-9][A-Za-z0-9 ._:-]*$")]
Level = Annotated[float, Field(gt=0, lt=0.5)]


class Direction(StrEnum):
    """Which way of the success metric is better."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"


class GuardrailKind(StrEnum):
    """What must not get worse while the test runs."""

    ERRORS = "errors"
    LATENCY = "latency"
    SAMPLE_RATIO = "sample_ratio"


class Guardrail(BaseModel):
    """One always-valid stop rule.

    `alpha` is the chance, over the whole test and however often it is looked at, of stopping
    although nothing is wrong. `objective_ms` is the latency that counts as slow, set beforehand.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: GuardrailKind
    alpha: Level = 0.02
    objective_ms: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _objective_belongs_to_latency(self) -> Self:
        if (self.kind is GuardrailKind.LATENCY) != (self.objective_ms is not None):
            raise ValueError("objective_ms is needed for a latency guardrail, and only there")
        return self


DEFAULT_GUARDRAILS = (
    Guardrail(kind=GuardrailKind.ERRORS, alpha=0.02),
    Guardrail(kind=GuardrailKind.SAMPLE_RATIO, alpha=0.001),
)


class ABTestConfig(BaseModel):
    """One A/B test of two versions of a model.

    `model_a` is the champion's version and `model_b` the challenger's, which gets `traffic_split`
    of the requests. `min_improvement` is relative (0.1: ten per cent). `alpha` is the chance of
    finding the challenger better when both are equal; `power` what the plan aims at. `looks` is
    how often at most the decision metric is tested; guardrails are judged at every look, one each
    `look_seconds`. `planned_samples` counts values of the success metric in both arms together;
    without it the test is spread over its duration. `min_exposures` is the least number of values
    in each arm before anything may be promoted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    test_id: Name
    model: Name
    model_a: Annotated[int, Field(ge=1)]
    model_b: Annotated[int, Field(ge=1)]
    traffic_split: Annotated[float, Field(gt=0, lt=1)] = 0.1
    duration_seconds: Annotated[float, Field(gt=0)] = 3600
    success_metric: Name = "accuracy"
    min_improvement: Annotated[float, Field(ge=0, le=10)] = 0.10
    direction: Direction | None = None
    alpha: Level = 0.05
    power: Annotated[float, Field(gt=0.5, lt=1)] = 0.8
    looks: Annotated[int, Field(ge=1, le=100)] = 14
    look_seconds: Annotated[float, Field(gt=0)] = 10
    planned_samples: Annotated[int, Field(ge=2)] | None = None
    min_exposures: Annotated[int, Field(ge=2)] = 100
    guardrails: tuple[Guardrail, ...] = DEFAULT_GUARDRAILS

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.model_a == self.model_b:
            raise ValueError(f"model_a and model_b are both version {self.model_a}; name two")
        kinds = [guardrail.kind for guardrail in self.guardrails]
        if len(kinds) != len(set(kinds)):
            raise ValueError("guardrails holds the same kind twice; keep one of each")
        return self

    @property
    def better(self) -> Direction:
        """The direction given, or the one the metric's name tells (latency and errors: less)."""
        if self.direction is not None:
            return self.direction
        words = re.split(r"[^a-z0-9]+", self.success_metric.lower())
        smaller = not _SMALLER_IS_BETTER.isdisjoint(words)
        return Direction.MINIMIZE if smaller else Direction.MAXIMIZE

    def guardrail(self, kind: GuardrailKind) -> Guardrail | None:
        """The guardrail of that kind, or None where this test has none."""
        return next((rail for rail in self.guardrails if rail.kind is kind), None)
