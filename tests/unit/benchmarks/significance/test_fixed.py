from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.significance.fixed import proportions, welch, wilson
from benchmarks.significance.moments import Moments

SEED = 17


def of(values: np.ndarray) -> Moments:
    return Moments(len(values), float(values.sum()), float((values**2).sum()))


def test_welch_agrees_with_scipy() -> None:
    rng = np.random.default_rng(SEED)
    a, b = rng.normal(5, 2, 40), rng.normal(6, 5, 17)
    ours, theirs = welch(of(a), of(b)), stats.ttest_ind(b, a, equal_var=False)
    assert (ours.statistic, ours.p_value) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert ours.interval == pytest.approx(tuple(theirs.confidence_interval(0.95)))


@pytest.mark.parametrize(
    "arms", [(Moments(1, 1, 1), Moments(9, 9, 20)), (Moments(3, 6, 12), Moments(2, 6, 18))]
)
def test_welch_refuses_what_it_cannot_judge(arms: tuple[Moments, Moments]) -> None:
    with pytest.raises(ValueError, match="Welch's test needs"):
        welch(*arms)


def test_proportions_agree_with_the_chi_square_of_scipy() -> None:
    ours = proportions(Moments(100, 56, 56), Moments(90, 66, 66))
    theirs = stats.chi2_contingency([[56, 44], [66, 24]], correction=False)
    assert ours.statistic**2 == pytest.approx(theirs.statistic)
    assert ours.p_value == pytest.approx(theirs.pvalue)


def test_interval_of_proportions_is_newcombes() -> None:
    # Newcombe (1998), table II, method 10: 56/70 - 48/80 gives 0.0524 to 0.3339.
    ours = proportions(Moments(80, 48, 48), Moments(70, 56, 56))
    assert ours.interval == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_arms_without_any_event_are_no_difference() -> None:
    ours = proportions(Moments(50, 0, 0), Moments(50, 0, 0))
    assert ours.p_value == 1
    assert ours.interval[0] < 0 < ours.interval[1]


@pytest.mark.parametrize("arm", [Moments(0, 0, 0), Moments(4, 6, 10)])
def test_proportions_refuse_other_values(arm: Moments) -> None:
    with pytest.raises(ValueError, match="0/1 values"):
        proportions(arm, Moments(5, 2, 2))


def test_wilson_agrees_with_scipy() -> None:
    theirs = stats.binomtest(3, 40).proportion_ci(0.95, method="wilson")
    assert wilson(Moments(40, 3, 3)) == pytest.approx((theirs.low, theirs.high))
