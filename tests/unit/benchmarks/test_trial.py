from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.significance.planning import sequential_plan
from benchmarks.trial import CONTINUE, arm_counts, family_wise_error, judge_trial
from registry.records import ArmCounts, ExposureTotals, Look, MetricTotals, TrialVerdict, Variant
from registry.trial_config import Guardrail, GuardrailKind
from tests.unit.benchmarks.trials import Truth, arm, arms, config, judge, run

SEED = 37
GOOD = arms(arm(9000, 7200, errors=18, slow=450), arm(1000, 950, errors=2, slow=50))


def test_a_clearly_better_challenger_is_promoted_with_the_numbers() -> None:
    look = judge(config(), GOOD)
    assert look.verdict == TrialVerdict.PROMOTE
    assert look.number == 1
    assert look.z is not None
    assert look.boundary is not None
    assert look.z >= look.boundary
    assert look.estimate == pytest.approx(0.1875)
    assert look.interval is not None
    assert look.interval[0] > 0
    assert "accuracy 0.95 (1000 values) against the champion's 0.8 (9000)" in look.reason
    assert "18.7% better" in look.reason


def test_better_but_by_less_than_asked_keeps_the_champion_at_the_end() -> None:
    counts = arms(arm(90_000, 72_000), arm(10_000, 8_750))
    assert judge(config(), counts, elapsed_s=100).verdict == CONTINUE
    look = judge(config(), counts, elapsed_s=200)
    assert look.verdict == TrialVerdict.KEEP_CHAMPION
    assert look.z is not None
    assert look.z > 10
    assert "10.0% is wanted" in look.reason


def test_an_improvement_that_can_no_longer_be_reached_ends_the_trial_early() -> None:
    look = judge(config(), arms(arm(90_000, 72_000), arm(10_000, 8_100)))
    assert look.verdict == TrialVerdict.KEEP_CHAMPION
    assert "even the upper end is too little" in look.reason


def test_a_worse_challenger_ends_the_trial_early() -> None:
    look = judge(config(), arms(arm(9000, 7200), arm(1000, 600)))
    assert look.verdict == TrialVerdict.KEEP_CHAMPION
    assert "the challenger is worse" in look.reason


def test_a_hopeless_challenger_ends_a_planned_trial_early() -> None:
    asked = config(planned_samples=4000, min_improvement=0.02)
    look = judge(asked, arms(arm(2700, 2160), arm(300, 237)))
    assert look.verdict == TrialVerdict.KEEP_CHAMPION
    assert "little hope" in look.reason
    assert judge(config(min_improvement=0.02), look.arms).verdict == CONTINUE


def test_no_difference_at_the_end_is_inconclusive() -> None:
    look = judge(config(), arms(arm(900, 720), arm(100, 83)), elapsed_s=200)
    assert look.verdict == TrialVerdict.INCONCLUSIVE
    assert "at the end of the trial" in look.reason


def test_less_is_better_for_latency() -> None:
    def of(n: int, mean: float) -> ArmCounts:
        return ArmCounts(n, 0, 0, MetricTotals(n, n * mean, n * (mean**2 + 4), None))

    faster, slower = arms(of(9000, 10), of(1000, 8)), arms(of(9000, 10), of(1000, 12))
    asked = config(success_metric="latency_ms")
    look = judge(asked, faster)
    assert look.verdict == TrialVerdict.PROMOTE
    assert look.estimate == pytest.approx(0.2)
    assert judge(asked, slower).verdict == TrialVerdict.KEEP_CHAMPION


# Nothing missing, broken or renamed may promote: at any look, and at the end.
NOT_A_NUMBER = replace(GOOD[Variant.CHALLENGER], metric=MetricTotals(1000, math.nan, 950, None))
NOT_SEEN = replace(GOOD[Variant.CHALLENGER], exposures=0, errors=0, over_objective=0)


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ({}, "no requests were counted for either version"),
        ({Variant.CHAMPION: arm(50, 40)}, "the champion has 50 requests where 100"),
        (arms(ArmCounts(9000), ArmCounts(1000)), "no values of accuracy arrived"),
        (arms(arm(700, 560), arm(80, 80)), "the challenger has 80 requests where 100"),
        (arms(GOOD[Variant.CHAMPION], NOT_A_NUMBER), "not a number"),
        (arms(arm(-5, 1), arm(1000, 950)), "negative"),
        (arms(arm(9000, 7200, errors=9001), arm(1000, 950)), "more errors or slow answers"),
        (arms(arm(9000, 0), arm(1000, 950)), "no improvement relative to"),
        (
            arms(replace(arm(9000, 7200), exposures=90), replace(arm(1000, 950), exposures=10)),
            "the champion has 90 requests",
        ),
    ],
)
def test_unusable_data_never_promotes(counts: dict[Variant, ArmCounts], reason: str) -> None:
    early, late = judge(config(), counts, elapsed_s=100), judge(config(), counts, elapsed_s=300)
    assert early.verdict == CONTINUE
    assert late.verdict == TrialVerdict.INCONCLUSIVE
    assert reason in early.reason
    assert reason in late.reason


@pytest.mark.parametrize("silent", list(GOOD))
def test_one_silent_arm_invalidates_the_trial(silent: Variant) -> None:
    look = judge(config(), {arm: counts for arm, counts in GOOD.items() if arm is not silent})
    assert look.verdict == TrialVerdict.INVALIDATED


def test_a_silent_challenger_without_a_split_guardrail_is_still_not_promoted() -> None:
    asked = config(guardrails=())
    counts = arms(GOOD[Variant.CHAMPION], ArmCounts())
    assert judge(asked, counts, elapsed_s=200).verdict == TrialVerdict.INCONCLUSIVE
    unseen = arms(GOOD[Variant.CHAMPION], NOT_SEEN)
    assert judge(asked, unseen, elapsed_s=200).verdict == TrialVerdict.INCONCLUSIVE


def test_a_split_that_is_off_invalidates_even_a_good_result() -> None:
    look = judge(config(), arms(arm(8500, 6800), arm(1500, 1425)))
    assert look.verdict == TrialVerdict.INVALIDATED
    assert "15.00% of the 10000 requests where 10.00% was ordered" in look.reason


def test_values_that_arrive_for_one_arm_more_often_invalidate() -> None:
    challenger = GOOD[Variant.CHALLENGER]
    fewer = replace(challenger, metric=MetricTotals(600, 590, 590, None))
    look = judge(config(), arms(GOOD[Variant.CHAMPION], fewer))
    assert look.verdict == TrialVerdict.INVALIDATED
    assert "values of accuracy" in look.reason


def test_errors_stop_a_challenger_that_is_better_otherwise() -> None:
    look = judge(config(), arms(arm(9000, 7200, errors=18), arm(1000, 950, errors=20)))
    assert look.verdict == TrialVerdict.GUARDRAIL
    assert "2.00% of the challenger's requests failed against 0.20%" in look.reason
    assert look.evidence["errors"] >= look.thresholds["errors"] == 50


def test_errors_stop_before_any_value_arrived() -> None:
    counts = arms(ArmCounts(540, 0, 0), ArmCounts(60, 6, 0))
    assert judge(config(), counts, elapsed_s=10).verdict == TrialVerdict.GUARDRAIL


def test_slow_answers_stop_a_challenger() -> None:
    look = judge(config(), arms(arm(9000, 7200, slow=450), arm(1000, 950, slow=120)))
    assert look.verdict == TrialVerdict.GUARDRAIL
    assert "12.00% of the challenger's requests took longer than 50 ms" in look.reason


def test_fewer_errors_than_the_champion_stop_nothing() -> None:
    look = judge(config(), arms(arm(9000, 7200, errors=900), arm(1000, 950, errors=1)))
    assert look.verdict == TrialVerdict.PROMOTE


def test_a_guardrail_not_asked_for_is_not_watched() -> None:
    asked = config(guardrails=(Guardrail(kind=GuardrailKind.SAMPLE_RATIO, alpha=0.001),))
    look = judge(asked, arms(arm(9000, 7200, errors=18), arm(1000, 950, errors=20)))
    assert look.verdict == TrialVerdict.PROMOTE
    assert set(look.evidence) == {"sample_ratio", "labels"}


def test_counts_that_shrink_decide_nothing() -> None:
    first = judge(config(), arms(arm(900, 720), arm(100, 82)), elapsed_s=10)
    fewer = arms(arm(9000, 7200), replace(arm(1000, 950), metric=MetricTotals(90, 90, 90, None)))
    look = judge(config(), fewer, [first], elapsed_s=100)
    assert look.verdict == CONTINUE
    assert "lower than at the look before" in look.reason


def test_a_finished_trial_gives_its_last_look_again() -> None:
    last = judge(config(), GOOD)
    again = judge(config(), arms(arm(90_000, 80_000), arm(10_000, 1)), [last], elapsed_s=150)
    assert again is last


def test_the_metric_is_tested_at_most_as_often_as_asked() -> None:
    rng = np.random.default_rng(SEED)
    asked = config(looks=5, min_improvement=0.0, duration_seconds=200)
    looks = run(rng, asked, Truth(), looks=50, batch=2000)
    tested = [look for look in looks if look.boundary is not None]
    assert len(looks) == 50
    assert len(tested) == 5
    assert looks[-1].boundary is not None
    assert looks[-1].information_fraction == 1
    boundary = [look.boundary for look in tested]
    assert boundary == sorted(boundary, key=lambda value: -(value or 0))


def test_reaching_the_planned_sample_ends_the_trial() -> None:
    look = judge(config(planned_samples=1000), arms(arm(900, 720), arm(100, 83)), elapsed_s=50)
    assert look.verdict == TrialVerdict.INCONCLUSIVE
    assert look.information_fraction == 1


def test_the_end_of_the_time_ends_a_trial_short_of_its_planned_sample() -> None:
    asked, counts = config(planned_samples=50_000), arms(arm(900, 720), arm(100, 83))
    assert judge(asked, counts, elapsed_s=199).verdict == CONTINUE
    assert judge(asked, counts, elapsed_s=200).verdict == TrialVerdict.INCONCLUSIVE


def test_no_new_values_since_the_last_test_find_nothing_new() -> None:
    counts = arms(arm(900, 720), arm(100, 83))
    first = judge(config(), counts, elapsed_s=100)
    look = judge(config(), counts, [first], elapsed_s=200)
    assert first.boundary is not None
    assert look.boundary is None
    assert look.verdict == TrialVerdict.INCONCLUSIVE


def test_agrees_with_the_boundaries_of_the_simulation_study() -> None:
    asked = config(planned_samples=14_000, min_improvement=0.0, guardrails=(), traffic_split=0.5)
    plan = sequential_plan(asked.alpha, asked.power, asked.looks)
    looks: list[Look] = []
    for number in range(1, 15):
        n = 500 * number
        right = round(n * (0.800 + 0.0005 * number))
        counts = arms(arm(n, round(n * 0.8)), arm(n, right))
        looks.append(judge(asked, counts, looks, elapsed_s=number))
        if looks[-1].verdict != CONTINUE:
            break
    found = [look.boundary for look in looks]
    assert found == pytest.approx(list(plan.upper[: len(found)]), abs=1e-3)
    lower = [look.thresholds["futility"] for look in looks if "futility" in look.thresholds]
    assert lower == pytest.approx(list(plan.lower[: len(lower)]), abs=1e-2)
    assert len(looks) >= 5


def test_equal_versions_are_promoted_no_more_often_than_alpha() -> None:
    rng = np.random.default_rng(SEED)
    asked = config(min_improvement=0.0, looks=5)
    ends = [run(rng, asked, Truth(), looks=5, batch=400)[-1].verdict for _ in range(300)]
    assert ends.count(TrialVerdict.PROMOTE) / 300 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)
    wrong = [end for end in ends if end in {TrialVerdict.GUARDRAIL, TrialVerdict.INVALIDATED}]
    assert len(wrong) / 300 <= 0.041 + 3 * math.sqrt(0.041 * 0.959 / 300)


def test_states_the_family_wise_error() -> None:
    bound = family_wise_error(config())
    assert bound.false_promotion == 0.05
    assert bound.any_false_ending == pytest.approx(0.091)


def test_gathers_both_arms_from_the_stores() -> None:
    seen = {Variant.CHAMPION: ExposureTotals(10, 2, 3, 500.0, 30_000.0)}
    values = {Variant.CHAMPION: MetricTotals(7, 6, 6)}
    accuracy = arm_counts(config(), seen, values)
    assert accuracy[Variant.CHAMPION] == ArmCounts(10, 2, 3, MetricTotals(7, 6, 6))
    assert accuracy[Variant.CHALLENGER] == ArmCounts()
    latency = arm_counts(config(success_metric="latency_ms"), seen, {})
    assert latency[Variant.CHAMPION].metric == MetricTotals(10, 500.0, 30_000.0)
    errors = arm_counts(config(success_metric="error_rate"), seen, {})
    assert errors[Variant.CHAMPION].metric == MetricTotals(10, 2, 2)


def test_a_stepped_wall_clock_changes_nothing() -> None:
    now = judge_trial(config(), GOOD, [], at=1e9, elapsed_s=100)
    back = judge_trial(config(), GOOD, [], at=0.0, elapsed_s=100)
    assert replace(now, at=0.0) == back
