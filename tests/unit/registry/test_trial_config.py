from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from registry.trial_config import ABTestConfig, Direction, Guardrail, GuardrailKind


def config(**changes: Any) -> ABTestConfig:  # noqa: ANN401 (any field, right or wrong)
    return ABTestConfig(
        **{"test_id": "v1_vs_v2", "model": "digits", "model_a": 1, "model_b": 2, **changes}
    )


def test_takes_the_fields_and_defaults_of_the_specification() -> None:
    asked = config(
        traffic_split=0.1, duration_seconds=3600, success_metric="latency_ms", min_improvement=0.1
    )
    assert asked == config(success_metric="latency_ms")
    assert asked.min_improvement == 0.1


def test_survives_json_unchanged() -> None:
    rails = (Guardrail(kind=GuardrailKind.LATENCY, alpha=0.02, objective_ms=80),)
    asked = config(guardrails=rails, planned_samples=5000)
    assert ABTestConfig.model_validate_json(asked.model_dump_json()) == asked


def test_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        config().alpha = 0.2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("metric", "better"),
    [
        ("accuracy", Direction.MAXIMIZE),
        ("latency_ms", Direction.MINIMIZE),
        ("error_rate", Direction.MINIMIZE),
        ("val:rmse", Direction.MINIMIZE),
        ("terrors_avoided", Direction.MAXIMIZE),
    ],
)
def test_knows_the_better_direction_by_the_name(metric: str, better: Direction) -> None:
    assert config(success_metric=metric).better is better


def test_a_given_direction_wins_over_the_name() -> None:
    assert config(success_metric="loss", direction="maximize").better is Direction.MAXIMIZE


@pytest.mark.parametrize(
    "changes",
    [
        {"model_b": 1},
        {"traffic_split": 0},
        {"traffic_split": 1},
        {"duration_seconds": float("inf")},
        {"min_improvement": float("nan")},
        {"min_improvement": -0.1},
        {"alpha": 0.5},
        {"looks": 0},
        {"success_metric": ""},
        {"test_id": "../../etc"},
        {"surprise": 1},
        {"guardrails": [{"kind": "latency"}]},
        {"guardrails": [{"kind": "errors", "objective_ms": 5}]},
        {"guardrails": [{"kind": "errors"}, {"kind": "errors", "alpha": 0.1}]},
    ],
)
def test_refuses_what_makes_no_sense(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**changes)


def test_finds_a_guardrail_by_kind() -> None:
    rail = config().guardrail(GuardrailKind.ERRORS)
    assert rail is not None
    assert rail.alpha == 0.02
    assert config().guardrail(GuardrailKind.LATENCY) is None
