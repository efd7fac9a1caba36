"""What a person fills in, and the test that comes of it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from config.settings import ExperimentSettings, Settings
from flows.forms import ABTest, Guardrails, ShadowTest
from registry.trial_config import GuardrailKind

SETTINGS = Settings(experiment=ExperimentSettings(traffic_split=0.2, min_improvement=0.03))


def test_what_is_left_empty_comes_from_the_settings() -> None:
    config = ABTest(model="toy", model_b=2).to_config(SETTINGS, 1, "t")
    assert (config.traffic_split, config.min_improvement) == (0.2, 0.03)
    assert (config.model_a, config.model_b, config.test_id) == (1, 2, "t")
    assert config.success_metric == "accuracy"


def test_what_is_filled_in_wins() -> None:
    form = ABTest(model="toy", model_b=2, traffic_split=0.4, success_metric="latency_ms")
    config = form.to_config(SETTINGS, 1, "t")
    assert (config.traffic_split, config.success_metric) == (0.4, "latency_ms")


def test_every_test_has_all_guardrails() -> None:
    config = ABTest(model="toy", model_b=2).to_config(SETTINGS, 1, "t")
    assert {rail.kind for rail in config.guardrails} == set(GuardrailKind)


def test_a_guardrail_can_be_made_stricter() -> None:
    rails = Guardrails(errors=0.05, latency_objective_ms=50).to_rails(SETTINGS.experiment)
    levels = {rail.kind: rail.alpha for rail in rails}
    assert levels[GuardrailKind.ERRORS] == 0.05
    assert levels[GuardrailKind.SAMPLE_RATIO] == SETTINGS.experiment.sample_ratio_alpha


@pytest.mark.parametrize(
    "wrong",
    [
        {"traffic_split": 0.6},
        {"traffic_split": 0.0},
        {"duration_seconds": -1},
        {"min_improvement": float("nan")},
        {"model_b": 0},
        {"model": ""},
        {"colour": "red"},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ABTest.model_validate({"model": "toy", "model_b": 2} | wrong)


@pytest.mark.parametrize("form", [ABTest, ShadowTest])
def test_every_field_says_what_it_is(form: type[ABTest | ShadowTest]) -> None:
    for field in form.model_json_schema()["properties"].values():
        assert field.get("title") or "$ref" in field
