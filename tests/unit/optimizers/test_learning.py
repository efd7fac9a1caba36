"""What past actions teach: verified ones only, within bounds, own experience before others'."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from optimizers.capability import Prior
from optimizers.learning import Lesson, believe, learned_from, lesson_of
from registry.agent_records import Effect, Estimate, Learned, Verdict
from tests.services.agent_samples import action, proposal

PRIOR = Prior(0.15, 0.2, success=0.8, weight=4.0)
NOTHING = Learned("cache_resize", "serving", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
PLACE = ("cache_resize", "serving")
ALL = ("cache_resize", "")


def taught(*lessons: Lesson, known: Learned = NOTHING) -> Learned:
    for number, lesson in enumerate(lessons):
        known = learned_from(known, lesson, float(number))
    return known


def test_before_anything_is_known_the_prior_holds() -> None:
    belief = believe(proposal(), PRIOR, {})
    assert belief.success == pytest.approx(0.8)
    assert belief.success_low < 0.8 < belief.success_high
    assert belief.improvement == proposal().expected
    assert belief.evidence == 0.0


def test_successes_raise_and_failures_lower_the_probability() -> None:
    good = believe(proposal(), PRIOR, {PLACE: taught(*[Lesson(True, 0.15)] * 6)})
    bad = believe(proposal(), PRIOR, {PLACE: taught(*[Lesson(False, -0.1)] * 6)})
    assert good.success == pytest.approx((3.2 + 6) / 10)
    assert bad.success == pytest.approx(3.2 / 10)
    assert bad.evidence == 6.0
    assert bad.improvement.mean < proposal().expected.mean < good.improvement.high


def test_the_gain_moves_from_the_proposal_to_what_was_measured() -> None:
    few = believe(proposal(), PRIOR, {PLACE: taught(*[Lesson(True, 0.05)] * 4)})
    many = believe(proposal(), PRIOR, {PLACE: taught(*[Lesson(True, 0.05)] * 400)})
    assert few.improvement.mean == pytest.approx(0.10)
    assert many.improvement.mean == pytest.approx(0.05, abs=0.002)
    assert many.improvement.high - many.improvement.low < few.improvement.high - few.improvement.low


def test_experience_elsewhere_counts_like_four_actions_at_most() -> None:
    others = taught(*[Lesson(False, 0.0)] * 100)
    belief = believe(proposal(), PRIOR, {ALL: others})
    assert belief.success == pytest.approx(3.2 / 8)
    assert belief.evidence == 0.0


def test_own_experience_is_not_counted_twice() -> None:
    own = taught(*[Lesson(True, 0.2)] * 3)
    alone = believe(proposal(), PRIOR, {PLACE: own})
    with_total = believe(proposal(), PRIOR, {PLACE: own, ALL: own})
    assert with_total.success == pytest.approx(alone.success)
    assert with_total.improvement.mean == pytest.approx(alone.improvement.mean)
    assert with_total.evidence == 3.0


def test_own_and_others_experience_add_up() -> None:
    own = taught(*[Lesson(True, 0.2)] * 3)
    total = taught(Lesson(True, 0.0), Lesson(True, 0.1), known=own)
    belief = believe(proposal(), PRIOR, {PLACE: own, ALL: total})
    assert belief.success == pytest.approx((3.2 + 3 + 2) / 9)
    assert belief.improvement.mean == pytest.approx((4 * 0.15 + 3 * 0.2 + 2 * 0.05) / 9)


def test_gains_elsewhere_are_discounted_with_their_spread() -> None:
    others = taught(*[Lesson(True, 0.04), Lesson(True, 0.06)] * 20)
    gain = believe(proposal(), PRIOR, {ALL: others}).improvement
    squares = 4 * (0.5 * 0.15) ** 2 + 40 * 0.01**2 * 0.1 + 4 * 4 / 8 * 0.10**2
    assert gain.mean == pytest.approx((4 * 0.15 + 4 * 0.05) / 8)
    assert gain.high - gain.mean == pytest.approx(stats.t.ppf(0.975, 8) * (squares / 8 / 8) ** 0.5)


def test_mixed_experience_elsewhere_is_discounted_as_a_whole() -> None:
    others = taught(*[Lesson(True, 0.1), Lesson(False, 0.1)] * 4)
    belief = believe(proposal(), PRIOR, {ALL: others})
    assert belief.success == pytest.approx((3.2 + 2) / 8)


@pytest.mark.parametrize(
    ("expected", "spread"),
    [
        (Estimate(0.15, 0.15, 0.15), 0.5 * 0.15),
        (Estimate(0.15, 0.05, 0.25), 0.1 / 1.959964 * 2.0),
    ],
)
def test_the_interval_is_that_of_the_conjugate_posterior(expected: Estimate, spread: float) -> None:
    own = taught(Lesson(True, 0.10), Lesson(True, 0.14))
    total = taught(Lesson(True, 0.16), Lesson(True, 0.20), Lesson(True, 0.18), known=own)
    gain = believe(proposal(expected=expected), PRIOR, {PLACE: own, ALL: total}).improvement
    gains = [0.10, 0.14, 0.16, 0.20, 0.18]
    seen = sum(gains) / 5
    mean = (4 * 0.15 + 5 * seen) / 9
    squares = (
        4 * spread**2 + sum((one - seen) ** 2 for one in gains) + 4 * 5 / 9 * (seen - 0.15) ** 2
    )
    reach = stats.t.ppf(0.975, 9) * (squares / 9 / 9) ** 0.5
    assert gain.mean == pytest.approx(mean)
    assert gain.low == pytest.approx(mean - reach)
    assert gain.high == pytest.approx(mean + reach)


def test_a_learned_gain_is_at_most_twice_the_proposed_one() -> None:
    belief = believe(proposal(), PRIOR, {PLACE: taught(*[Lesson(True, 5.0)] * 50)})
    assert belief.improvement.mean == pytest.approx(0.30)
    assert belief.improvement.high <= 0.30


def test_learning_never_becomes_certain() -> None:
    good = believe(proposal(), PRIOR, {PLACE: taught(*[Lesson(True)] * 100_000)})
    bad = believe(proposal(), PRIOR, {PLACE: taught(*[Lesson(False)] * 100_000)})
    assert (good.success, bad.success) == (0.99, 0.01)


@pytest.mark.parametrize(("success", "expected"), [(1.0, 0.99), (0.0, 0.01)])
def test_a_certain_prior_is_kept_within_the_bounds(success: float, expected: float) -> None:
    belief = believe(proposal(), Prior(0.15, 0.2, success=success), {})
    assert (belief.success_low, belief.success, belief.success_high) == (expected,) * 3


@given(
    st.lists(st.tuples(st.booleans(), st.floats(-1.0, 1.0)), max_size=40),
    st.lists(st.tuples(st.booleans(), st.floats(-1.0, 1.0)), max_size=40),
)
def test_whatever_is_learned_the_numbers_are_in_order_and_in_bounds(
    own: list[tuple[bool, float]], others: list[tuple[bool, float]]
) -> None:
    mine = taught(*(Lesson(*one) for one in own))
    total = taught(*(Lesson(*one) for one in others), known=mine)
    belief = believe(proposal(), PRIOR, {PLACE: mine, ALL: total})
    assert 0.01 <= belief.success_low <= belief.success <= belief.success_high <= 0.99
    gain = belief.improvement
    assert -1.0 <= gain.low <= gain.mean <= gain.high <= 0.30 + 1e-12


@given(st.lists(st.floats(-10.0, 10.0), min_size=1, max_size=60))
def test_mean_and_deviations_are_those_of_all_gains(gains: list[float]) -> None:
    known = taught(*(Lesson(True, gain) for gain in gains))
    mean = sum(gains) / len(gains)
    assert known.mean == pytest.approx(mean, abs=1e-9)
    assert known.sum_sq == pytest.approx(sum((gain - mean) ** 2 for gain in gains), abs=1e-7)


def test_a_success_without_a_gain_moves_the_probability_alone() -> None:
    known = taught(Lesson(True))
    assert (known.successes, known.weight) == (1.0, 0.0)
    assert believe(proposal(), PRIOR, {PLACE: known}).improvement == Estimate(0.15, 0.15, 0.15)


@pytest.mark.parametrize(
    ("effect", "lesson"),
    [
        (None, None),
        (Effect(Verdict.NO_DATA, "no samples"), None),
        (Effect(Verdict.IMPROVED, "faster", 0.2), Lesson(True, 0.2)),
        (Effect(Verdict.IMPROVED, "faster", 0.2, worsened=("error_rate",)), Lesson(False, 0.2)),
        (Effect(Verdict.WORSE, "slower", -0.1), Lesson(False, -0.1)),
        (Effect(Verdict.INCONCLUSIVE, "nothing shown", 0.0), Lesson(False, 0.0)),
    ],
)
def test_only_verified_outcomes_teach(effect: Effect | None, lesson: Lesson | None) -> None:
    assert lesson_of(action(effect=effect)) == lesson
