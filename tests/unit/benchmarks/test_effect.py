"""The effect judge says improved, worse, inconclusive or no data, and why."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from benchmarks.effect import EffectData, Guardrail, Layout, judge
from registry.agent_records import Direction, Effect, Verdict

LAYOUTS = list(Layout)


def noisy(level: float, seed: int, samples: int = 20) -> list[float]:
    rng = np.random.default_rng(seed)
    return [float(x) for x in level * np.exp(0.01 * rng.standard_normal(samples))]


def data(
    before: float, after: float, layout: Layout = Layout.PAIRS, samples: int = 20
) -> EffectData:
    return EffectData(noisy(before, 1, samples), noisy(after, 2, samples), layout)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("before", "after", "direction", "verdict"),
    [
        (100, 80, Direction.MINIMIZE, Verdict.IMPROVED),
        (100, 80, Direction.MAXIMIZE, Verdict.WORSE),
        (0.7, 0.9, Direction.MAXIMIZE, Verdict.IMPROVED),
        (0.7, 0.9, Direction.MINIMIZE, Verdict.WORSE),
        (100, 100, Direction.MINIMIZE, Verdict.INCONCLUSIVE),
    ],
)
def test_the_verdict_follows_the_metric_and_its_direction(
    layout: Layout, before: float, after: float, direction: Direction, verdict: Verdict
) -> None:
    assert judge(data(before, after, layout), direction=direction).verdict is verdict


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_gain_is_relative_and_positive_is_better(layout: Layout) -> None:
    less = judge(data(100, 80, layout), direction=Direction.MINIMIZE)
    more = judge(data(100, 125, layout), direction=Direction.MAXIMIZE)
    for result, gain in ((less, 0.20), (more, 0.25)):
        assert result.gain == pytest.approx(gain, abs=0.01)
        assert result.low is not None
        assert result.high is not None
        assert result.low < gain < result.high


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_improved_goal_has_an_interval_above_zero(layout: Layout) -> None:
    result = judge(data(100, 90, layout), direction=Direction.MINIMIZE)
    assert result.verdict is Verdict.IMPROVED
    assert result.low is not None
    assert result.low > 0


def test_a_gain_relative_to_next_to_nothing_is_told_without_a_number() -> None:
    quiet = EffectData([1e-20] * 11 + [50.0], [1.0 * n for n in range(12)], Layout.PAIRS)
    told = judge(quiet, direction=Direction.MINIMIZE).reason
    assert "under -1000%" in told
    assert len(told) < 120


def test_turning_the_metric_round_turns_the_gain_round() -> None:
    before, after = [-x for x in noisy(100, 1)], [-x for x in noisy(80, 2)]
    turned = judge(EffectData(before, after, Layout.PAIRS), direction=Direction.MAXIMIZE)
    assert turned.verdict is Verdict.IMPROVED
    assert turned.gain == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("missing", [[], [None] * 20, [math.nan] * 20])
def test_no_samples_is_no_data(layout: Layout, missing: list[float | None]) -> None:
    full = noisy(100, 1, len(missing)) if layout is Layout.PAIRS else noisy(100, 1)
    result = judge(EffectData(full, missing, layout), direction=Direction.MINIMIZE)
    assert result.verdict is Verdict.NO_DATA
    assert result.gain is None


@pytest.mark.parametrize(("layout", "few"), [(Layout.PAIRS, 9), (Layout.WINDOWS, 7)])
def test_too_few_samples_decide_nothing_however_large_the_effect(layout: Layout, few: int) -> None:
    short = judge(data(100, 10, layout, few), direction=Direction.MINIMIZE)
    assert short.verdict is Verdict.INCONCLUSIVE
    assert f"at least {few + 1}" in short.reason
    enough = judge(data(100, 10, layout, few + 1), direction=Direction.MINIMIZE)
    assert enough.verdict is not Verdict.NO_DATA


def test_a_missing_sample_takes_its_pair_along() -> None:
    before: list[float | None] = [100.0] * 12
    after: list[float | None] = [80.0] * 12
    before[3], after[7], after[8] = None, math.nan, math.inf
    result = judge(EffectData(before, after, Layout.PAIRS), direction=Direction.MINIMIZE)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "9 samples a side" in result.reason


def test_pairs_have_two_sides() -> None:
    with pytest.raises(ValueError, match="do not make pairs"):
        judge(EffectData([1.0], [1.0, 2.0], Layout.PAIRS), direction=Direction.MINIMIZE)


@pytest.mark.parametrize("alpha", [0, 0.5, math.nan])
def test_alpha_is_checked(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        judge(data(1, 1), direction=Direction.MINIMIZE, alpha=alpha)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_worsened_guardrail_outweighs_an_improved_goal(layout: Layout) -> None:
    result = judge(
        data(100, 80, layout),
        direction=Direction.MINIMIZE,
        guardrails={
            "throughput_rps": Guardrail(data(50, 40, layout), Direction.MAXIMIZE),
            "memory_percent": Guardrail(data(50, 50, layout), Direction.MINIMIZE),
        },
    )
    assert result.verdict is Verdict.WORSE
    assert result.worsened == ("throughput_rps",)


def test_an_improved_guardrail_is_no_objection() -> None:
    result = judge(
        data(100, 80),
        direction=Direction.MINIMIZE,
        guardrails={"throughput_rps": Guardrail(data(40, 50), Direction.MAXIMIZE)},
    )
    assert result.verdict is Verdict.IMPROVED
    assert result.worsened == ()


def test_a_guardrail_without_data_lets_nothing_pass() -> None:
    silent = Guardrail(EffectData([], [], Layout.PAIRS), Direction.MINIMIZE)
    result = judge(data(100, 80), direction=Direction.MINIMIZE, guardrails={"error_rate": silent})
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "error_rate" in result.reason


@pytest.mark.parametrize(("guardrails", "samples"), [(1, 10), (2, 11), (4, 12)])
def test_guardrails_too_short_to_show_harm_let_nothing_pass(guardrails: int, samples: int) -> None:
    """The more guardrails, the more pairs it takes for the worst of them to be seen."""
    doubled = Guardrail(
        EffectData([1.0] * samples, [2.0] * samples, Layout.PAIRS), Direction.MINIMIZE
    )
    still = Guardrail(EffectData([1.0] * samples, [1.0] * samples, Layout.PAIRS), doubled.direction)
    guards = {"0": doubled} | {str(i): still for i in range(1, guardrails)}
    enough = judge(data(100, 50), direction=Direction.MINIMIZE, guardrails=guards)
    assert enough.worsened == ("0",)
    short = EffectData([1.0] * (samples - 1), [2.0] * (samples - 1), Layout.PAIRS)
    guards["0"] = Guardrail(short, Direction.MINIMIZE)
    result = judge(data(100, 50), direction=Direction.MINIMIZE, guardrails=guards)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert f"at least {samples}" in result.reason


@pytest.mark.parametrize("layout", LAYOUTS)
def test_errors_that_begin_at_zero_are_seen(layout: Layout) -> None:
    errors = EffectData([0.0] * 20, [0.01] * 20, layout)
    result = judge(
        data(100, 80, layout),
        direction=Direction.MINIMIZE,
        guardrails={"error_rate": Guardrail(errors, Direction.MINIMIZE)},
    )
    assert result.worsened == ("error_rate",)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_errors_that_stay_zero_are_no_objection(layout: Layout) -> None:
    errors = EffectData([0.0] * 20, [0.0] * 20, layout)
    result = judge(
        data(100, 80, layout),
        direction=Direction.MINIMIZE,
        guardrails={"error_rate": Guardrail(errors, Direction.MINIMIZE)},
    )
    assert result.verdict is Verdict.IMPROVED


def test_one_outlier_decides_nothing() -> None:
    after = noisy(100, 2)
    after[4] = 1e9
    result = judge(EffectData(noisy(100, 1), after, Layout.PAIRS), direction=Direction.MINIMIZE)
    assert result.verdict is Verdict.INCONCLUSIVE


def test_the_record_of_an_effect_holds_only_json_numbers() -> None:
    result = judge(data(100, 80), direction=Direction.MINIMIZE)
    assert result.to_effect() == Effect(
        Verdict.IMPROVED, result.reason, result.gain, result.low, result.high, ()
    )
    json.dumps(result.to_dict(), allow_nan=False)
