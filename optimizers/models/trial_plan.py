"""Plans a test: fills what nobody said from the settings and from the champion's own numbers."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.significance.planning import (
    Aim,
    fixed_size_means,
    fixed_size_proportions,
    sequential_size,
)
from config.clock import epoch
from config.settings import ExperimentSettings
from optimizers.models.desk import Desk
from registry.records import CHAMPION_ALIAS
from registry.trial_config import ABTestConfig, Direction, Guardrail, GuardrailKind

ACCURACY = "accuracy"

_BASELINE_WINDOW_S = 7 * 86_400.0
_BASELINE_MIN = 30


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the champion shows in the success metric: how many values, their mean and spread."""

    count: int
    mean: float
    sd: float


def default_guardrails(settings: ExperimentSettings) -> tuple[Guardrail, ...]:
    """Errors, latency and sample ratio, at the levels of the settings."""
    return (
        Guardrail(kind=GuardrailKind.ERRORS, alpha=settings.guardrail_alpha),
        Guardrail(
            kind=GuardrailKind.LATENCY,
            alpha=settings.guardrail_alpha,
            objective_ms=settings.latency_objective_ms,
        ),
        Guardrail(kind=GuardrailKind.SAMPLE_RATIO, alpha=settings.sample_ratio_alpha),
    )


def with_planned_samples(desk: Desk, config: ABTestConfig) -> ABTestConfig:
    """Plan the number of values from the champion's own, where the test does not say it.

    Where the champion has too few values, or its metric cannot improve as much as is asked (an
    accuracy of 0.95 by ten per cent), nothing is planned and the test is spread over its duration.
    """
    if config.planned_samples is not None:
        return config
    baseline = champion_baseline(desk, config)
    size = None if baseline is None else _size(config, baseline)
    return config if size is None else config.model_copy(update={"planned_samples": size})


def champion_baseline(desk: Desk, config: ABTestConfig) -> Baseline | None:
    """The champion's success metric on live traffic of the last week; None without enough."""
    since = epoch(desk.clock.now()) - _BASELINE_WINDOW_S
    if config.success_metric == "latency_ms":
        seen = desk.exposures.version_totals(config.model, config.model_a, since)
        sums = (seen.count, seen.latency_sum_ms, seen.latency_sumsq)
    elif config.success_metric == "error_rate":
        seen = desk.exposures.version_totals(config.model, config.model_a, since)
        sums = (seen.count, float(seen.errors), float(seen.errors))
    else:
        got = desk.feedback.version_totals(
            config.model, config.model_a, config.success_metric, since
        )
        sums = (got.count, got.total, got.total_sq)
    count, total, total_sq = sums
    if count < _BASELINE_MIN:
        return None
    mean = total / count
    return Baseline(count, mean, max(0.0, total_sq / count - mean * mean) ** 0.5)


def current_champion(desk: Desk, model: str) -> int | None:
    """The version behind @champion."""
    return desk.registry.aliases(model).get(CHAMPION_ALIAS)


def _size(config: ABTestConfig, baseline: Baseline) -> int | None:
    aim = Aim(config.alpha, config.power, config.traffic_split)
    sign = 1.0 if config.better is Direction.MAXIMIZE else -1.0
    difference = sign * config.min_improvement * baseline.mean
    try:
        if config.success_metric in {ACCURACY, "error_rate"}:
            fixed = fixed_size_proportions(aim, baseline=baseline.mean, difference=difference)
        else:
            fixed = fixed_size_means(aim, sd=baseline.sd, difference=difference)
    except ValueError:
        return None
    return max(2 * config.min_exposures, sequential_size(fixed, aim, config.looks))
