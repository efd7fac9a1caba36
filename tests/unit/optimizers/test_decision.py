"""The decision formula: the specification's, with exposure; every row of its tables reachable."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from config.settings import SafetySettings, Settings, ThresholdSettings
from optimizers.capability import Prior
from optimizers.decision import Course, course_of, criteria, decide, turning_points
from optimizers.exposure import exposure_of
from optimizers.learning import Belief, believe
from registry.agent_records import Decision, Estimate, Priority, Proposal
from tests.services.agent_samples import proposal
from tests.unit.optimizers.spec_tables import PERFORMANCE, PIPELINE, Row

SETTINGS = Settings()
NO_ROLLBACK = Settings(safety=SafetySettings(rollback_on_failure=False))
shares = st.floats(0.0, 1.0)


def belief(success: float, gain: float) -> Belief:
    return Belief(success, success, success, Estimate(gain, gain, gain))


def decided(
    success: float, gain: float, risk: float, exposure: float, settings: Settings = SETTINGS
) -> Decision:
    return decide(proposal(risk=risk), belief(success, gain), settings, exposure)


def of_row(row: Row) -> Proposal:
    gain = row.improvement
    return proposal(expected=Estimate(gain, gain, gain), risk=row.risk, reversible=row.reversible)


@given(shares, st.floats(-1.0, 1.0), st.floats(0.0, 1.0))
def test_with_full_exposure_it_is_the_specifications_formula(
    success: float, gain: float, risk: float
) -> None:
    found = decided(success, gain, risk, 1.0)
    expected_value = gain * success
    risk_penalty = risk * 0.5
    score = expected_value - risk_penalty
    should_execute = expected_value >= 0.05 and risk <= 0.7 and score > 0
    assert (found.expected_value, found.score, found.run) == (
        expected_value,
        score,
        should_execute,
    )


@pytest.mark.parametrize("row", [*PERFORMANCE, *PIPELINE], ids=lambda row: row.name)
def test_every_row_of_the_tables_can_be_carried_out_from_its_prior(row: Row) -> None:
    what = of_row(row)
    found = decide(
        what,
        believe(what, Prior(row.improvement, row.risk), {}),
        SETTINGS,
        exposure_of(what, SETTINGS),
    )
    assert course_of(found, SETTINGS.thresholds) is Course.RUN, found.reasons


def test_without_exposure_one_row_of_the_performance_table_could_ever_act() -> None:
    certain = [decided(1.0, row.improvement, row.risk, 1.0) for row in PERFORMANCE]
    names = [row.name for row, one in zip(PERFORMANCE, certain, strict=True) if one.run]
    assert names == ["Cache Resize"]


def test_what_cannot_be_undone_is_scored_by_the_specifications_formula() -> None:
    what = proposal(reversible=False, risk=0.3, expected=Estimate(0.2, 0.2, 0.2))
    found = decide(what, believe(what, Prior(0.2, 0.3), {}), SETTINGS, exposure_of(what, SETTINGS))
    assert found.exposure == 1.0
    assert found.score == pytest.approx(0.2 * 0.8 - 0.5 * 0.3)
    assert "cannot be undone" in found.reasons[-1]


def test_without_rollback_everything_is_scored_by_the_specifications_formula() -> None:
    what = proposal(risk=0.3)
    exposure = exposure_of(what, NO_ROLLBACK)
    found = decide(what, believe(what, Prior(0.15, 0.3), {}), NO_ROLLBACK, exposure)
    assert found.exposure == 1.0
    assert found.score == pytest.approx(0.15 * 0.8 - 0.5 * 0.3)
    assert not found.run


@pytest.mark.parametrize(
    ("gain", "risk", "run"),
    [
        (0.05, 0.0, True),  # expected value exactly at the least
        (0.0499, 0.0, False),
        (0.5, 0.7, True),  # risk exactly at the limit
        (0.5, 0.7001, False),
        (0.25, 0.5, False),  # score exactly 0
        (0.2501, 0.5, True),
    ],
)
def test_the_limits_are_where_the_specification_puts_them(
    gain: float, risk: float, run: bool
) -> None:
    assert decided(1.0, gain, risk, 1.0).run is run


def test_numbers_that_are_none_never_run() -> None:
    for number in (float("nan"), float("inf")):
        assert not decided(1.0, 0.5, number, 1.0).run
    assert not decided(1.0, float("nan"), 0.1, 1.0).run


def test_each_criterion_is_told_with_its_numbers() -> None:
    found = decided(0.8, 0.15, 0.3, 0.1)
    assert found.reasons == (
        "expected value 12 % (improvement 15 % × success probability 0.8) reaches the least of 5 %",
        "risk 0.3 is within the limit of 0.7",
        "score 0.105 (0.12 − 0.5 × risk 0.3 × exposure 0.1) is above 0",
        "exposure 0.1: it is verified, and undone if it does not help",
    )
    at_the_limits = criteria(decided(1.0, 0.05, 0.7, 0.0), SETTINGS.thresholds)
    assert [one.met for one in at_the_limits] == [True] * 3
    zero = criteria(decided(1.0, 0.25, 0.5, 1.0), SETTINGS.thresholds)
    assert [one.met for one in zero] == [True, True, False]
    missed = [one.name for one in criteria(decided(0.1, 0.1, 0.8, 1.0), SETTINGS.thresholds)]
    assert missed == ["expected_value", "risk", "score"]


def test_a_critical_action_is_asked_about_and_a_risky_one_too() -> None:
    limits = SETTINGS.thresholds
    critical = decide(proposal(priority=Priority.CRITICAL), belief(0.9, 0.5), SETTINGS, 0.1)
    risky = decided(0.9, 0.5, 0.75, 0.1)
    assert critical.run
    assert not risky.run
    assert course_of(critical, limits) is course_of(risky, limits) is Course.ASK
    assert risky.approval == "its risk 0.75 is above 0.70"


def test_a_risky_action_that_is_just_worth_it_is_asked_about() -> None:
    just = decided(0.5, 0.1, 0.9, 0.1)
    assert just.expected_value == 0.05
    assert course_of(just, SETTINGS.thresholds) is Course.ASK


def test_a_person_is_not_asked_about_what_is_not_worth_it() -> None:
    for numbers in ((0.5, 0.05, 0.9, 0.1), (0.9, 0.2, 0.9, 1.0), (1.0, 0.4, 0.8, 1.0)):
        worthless = decided(*numbers)
        assert worthless.approval
        assert course_of(worthless, SETTINGS.thresholds) is Course.REFUSE


def test_a_risk_above_the_limit_is_refused_where_nobody_is_asked() -> None:
    alone = Settings(safety=SafetySettings(require_approval_for_critical=False))
    assert course_of(decided(0.9, 0.5, 0.75, 0.1, alone), alone.thresholds) is Course.REFUSE


def test_with_automatic_actions_off_everything_worth_it_is_asked_about() -> None:
    manual = Settings(safety=SafetySettings(enable_automatic_actions=False))
    found = decided(0.8, 0.15, 0.3, 0.1, manual)
    assert found.run
    assert course_of(found, manual.thresholds) is Course.ASK


def test_what_would_change_a_yes_is_told() -> None:
    assert decided(0.8, 0.15, 0.3, 0.1).would_change == (
        "a success probability under 0.3333",
        "an expected improvement under 6.25 %",
        "a risk above 0.7",
        "an exposure of 0.8 or more",
    )


def test_what_would_change_a_no_is_told() -> None:
    assert decided(0.8, 0.15, 0.3, 1.0).would_change == (
        "an expected improvement above 18.75 %",
        "a risk under 0.24",
        "an exposure under 0.8",
    )
    assert decided(0.8, 0.5, 0.9, 0.1).would_change == ("a risk of 0.7 or less",)


def test_what_would_change_a_no_leaves_out_what_cannot() -> None:
    free = Settings(thresholds=ThresholdSettings(min_improvement_threshold=0.0))
    assert decided(0.8, -0.1, 0.7, 0.1, free).would_change == (
        "an expected improvement above 4.375 %",
    )
    assert decided(0.5, 0.9, 0.95, 1.0).would_change == ("a risk of 0.7 or less",)
    assert decided(0.5, 0.6, 0.95, 1.0).would_change == ("a risk under 0.6",)
    assert decided(0.5, 0.08, 0.95, 0.1).would_change == (
        "a risk of 0.7 or less and a success probability above 0.625",
        "a risk of 0.7 or less and an expected improvement above 10 %",
    )
    assert decided(0.1, 0.2, 0.3, 0.1).would_change == (
        "a success probability above 0.25",
        "an expected improvement above 50 %",
    )


@given(shares, shares, shares, shares, st.floats(0.01, 0.2), st.floats(0.3, 1.0))
def test_the_turning_points_of_a_yes_turn_it_round(
    success: float, gain: float, risk: float, exposure: float, least: float, most: float
) -> None:
    settings = Settings(
        thresholds=ThresholdSettings(min_improvement_threshold=least, max_risk_threshold=most)
    )
    found = decided(success, gain, risk, exposure, settings)
    assume(found.run)
    wanted = max(least, 0.5 * risk * exposure)
    assert not decided(wanted / gain * 0.999, gain, risk, exposure, settings).run
    assert not decided(success, wanted / success * 0.999, risk, exposure, settings).run
    assert turning_points(found, settings.thresholds)


@given(shares, st.floats(0.01, 1.0), shares, shares)
def test_more_success_never_turns_a_yes_into_a_no(
    success: float, gain: float, risk: float, exposure: float
) -> None:
    lower = decided(success * 0.9, gain, risk, exposure)
    assert not lower.run or decided(success, gain, risk, exposure).run


def test_the_outcome_depends_on_nothing_else() -> None:
    runs = {
        decided(s, g, r, e) == decided(s, g, r, e)
        for s, g, r, e in itertools.product((0.2, 0.9), (0.05, 0.4), (0.1, 0.6), (0.1, 1.0))
    }
    assert runs == {True}
