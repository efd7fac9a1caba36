"""What Prefect's UI asks for when a flow is started by hand: titles, explanations and limits.

A field left empty takes its value from the settings, as they are when the run starts.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from config.settings import ExperimentSettings, Settings
from registry.trial_config import ABTestConfig, Direction, Guardrail, GuardrailKind

ModelName = Annotated[
    str,
    Field(title="Model", description="Name in the MLflow registry.", min_length=1, max_length=200),
]
Version = Annotated[int, Field(title="Version", description="Number of the version.", ge=1)]
Reason = Annotated[
    str, Field(title="Reason", description="Why; kept in the ledger.", max_length=500)
]
Level = Annotated[float, Field(gt=0, lt=0.5)]


class Form(BaseModel):
    """A form; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Guardrails(Form):
    """What stops a test at once, whatever the success metric says."""

    errors: Level | None = Field(
        default=None,
        title="Errors: chance of a false stop",
        description="Stops when the challenger fails more often. Empty: from the settings (0.01).",
    )
    latency: Level | None = Field(
        default=None,
        title="Latency: chance of a false stop",
        description="Stops when more of the challenger's requests are slow. "
        "Empty: from the settings (0.01).",
    )
    latency_objective_ms: float | None = Field(
        default=None,
        gt=0,
        le=600_000,
        title="Latency objective, ms",
        description="A request slower than this is slow. Serving counts by its own objective, so "
        "leave it empty unless both are changed together.",
    )
    sample_ratio: Level | None = Field(
        default=None,
        title="Sample ratio: chance of a false alarm",
        description="Ends the test when traffic is not split as asked. "
        "Empty: from the settings (0.001).",
    )

    def to_rails(self, settings: ExperimentSettings) -> tuple[Guardrail, ...]:
        """The guardrails meant."""
        return (
            Guardrail(kind=GuardrailKind.ERRORS, alpha=self.errors or settings.guardrail_alpha),
            Guardrail(
                kind=GuardrailKind.LATENCY,
                alpha=self.latency or settings.guardrail_alpha,
                objective_ms=self.latency_objective_ms or settings.latency_objective_ms,
            ),
            Guardrail(
                kind=GuardrailKind.SAMPLE_RATIO,
                alpha=self.sample_ratio or settings.sample_ratio_alpha,
            ),
        )


class ABTest(Form):
    """An A/B test of a challenger against the champion on live traffic."""

    model: ModelName
    model_b: int = Field(
        ge=1, title="Challenger (model B)", description="Version on trial; has passed the gate."
    )
    model_a: int | None = Field(
        default=None,
        ge=1,
        title="Champion (model A)",
        description="Version to compare with; it has to be @champion. Empty: @champion.",
    )
    test_id: str | None = Field(
        default=None,
        max_length=200,
        title="Test id",
        description="The id of a test that was begun goes on with it. Empty: a new one is made.",
    )
    traffic_split: float | None = Field(
        default=None,
        gt=0,
        le=0.5,
        title="Traffic split",
        description="Share of the traffic to the challenger. Empty: from the settings (0.1).",
    )
    duration_seconds: float | None = Field(
        default=None,
        gt=0,
        le=31_536_000,
        title="Duration, s",
        description="Undecided by then keeps the champion. Empty: from the settings (3600).",
    )
    success_metric: str | None = Field(
        default=None,
        max_length=100,
        title="Success metric",
        description="accuracy, latency_ms, error_rate, or the name of a score in the feedback. "
        "Empty: from the settings (accuracy).",
    )
    min_improvement: float | None = Field(
        default=None,
        ge=0,
        le=10,
        title="Minimum improvement",
        description="Least relative improvement for a win; 0.1 is 10 %. "
        "Empty: from the settings (0.1).",
    )
    direction: Direction | None = Field(
        default=None,
        title="Better is",
        description="Empty: less for latencies, errors and losses, more for everything else.",
    )
    planned_samples: int | None = Field(
        default=None,
        ge=2,
        title="Planned sample",
        description="Values of the metric, both versions together. Empty: from the settings, or "
        "planned from the champion's own numbers.",
    )
    look_seconds: float | None = Field(
        default=None,
        gt=0,
        le=86_400,
        title="Seconds between looks",
        description="Empty: from the settings (10).",
    )
    guardrails: Guardrails = Field(default_factory=Guardrails, title="Guardrails")

    def to_config(self, settings: Settings, champion: int, test_id: str) -> ABTestConfig:
        """The test meant, with everything left empty taken from the settings."""
        defaults = settings.experiment
        said = self.model_dump(exclude={"guardrails", "model_a", "test_id"}, exclude_none=True)
        fallback = {name: getattr(defaults, name) for name in _FROM_SETTINGS}
        rails = self.guardrails.to_rails(defaults)
        return ABTestConfig(
            **(fallback | said), model_a=champion, test_id=test_id, guardrails=rails
        )


_FROM_SETTINGS = (
    "traffic_split",
    "duration_seconds",
    "success_metric",
    "min_improvement",
    "alpha",
    "power",
    "looks",
    "look_seconds",
    "planned_samples",
    "min_exposures",
)


class ShadowTest(Form):
    """A comparison in the shadow: the challenger answers copies of requests, nobody sees it."""

    model: ModelName
    challenger: int = Field(ge=1, title="Challenger", description="Version in the shadow.")
    duration_seconds: float = Field(default=600, gt=0, le=86_400, title="Duration, s")
    metric: str = Field(
        default="accuracy",
        max_length=100,
        title="Metric",
        description="accuracy or latency_ms: compared on the requests both answered.",
    )
