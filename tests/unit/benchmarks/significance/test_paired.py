from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.significance.moments import Moments
from benchmarks.significance.paired import CovariateSums, cuped, mcnemar, paired_mean

SEED = 29


def of(values: np.ndarray) -> Moments:
    return Moments(len(values), float(values.sum()), float((values**2).sum()))


def sums(x: np.ndarray, y: np.ndarray) -> CovariateSums:
    return CovariateSums(float(x.sum()), float((x * x).sum()), float((x * y).sum()))


def test_pairs_agree_with_scipy() -> None:
    rng = np.random.default_rng(SEED)
    differences = rng.normal(0.3, 1, 50)
    theirs = stats.ttest_1samp(differences, 0)
    ours = paired_mean(of(differences))
    assert (ours.statistic, ours.p_value) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert ours.interval == pytest.approx(tuple(theirs.confidence_interval()))


def test_pairs_without_any_difference_are_alike() -> None:
    assert paired_mean(Moments(10, 0, 0)).p_value == 1


def test_pairs_that_all_differ_alike_are_certain() -> None:
    ours = paired_mean(Moments(10, 5, 2.5))
    assert ours.statistic == math.inf
    assert ours.p_value == 0


def test_one_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two pairs"):
        paired_mean(Moments(1, 1, 1))


@pytest.mark.parametrize(("better", "worse"), [(8, 1), (3, 3), (0, 5), (40, 22)])
def test_mcnemar_agrees_with_scipys_exact_binomial(better: int, worse: int) -> None:
    theirs = stats.binomtest(better, better + worse).pvalue
    assert mcnemar(better, worse) == pytest.approx(theirs)


def test_mcnemar_without_disagreement_says_nothing() -> None:
    assert mcnemar(0, 0) == 1


def test_mcnemar_refuses_negative_counts() -> None:
    with pytest.raises(ValueError, match="negative"):
        mcnemar(-1, 3)


def test_cuped_equals_subtracting_the_regression_by_hand() -> None:
    rng = np.random.default_rng(SEED)
    x = [rng.normal(10, 3, n) for n in (300, 200)]
    y = [2 * a + rng.normal(0, 1, a.size) for a in x]
    ours = cuped((of(y[0]), sums(x[0], y[0])), (of(y[1]), sums(x[1], y[1])))
    inner = sum(((a - a.mean()) * (b - b.mean())).sum() for a, b in zip(x, y, strict=True))
    slope = inner / sum(((a - a.mean()) ** 2).sum() for a in x)
    centre = np.concatenate(x).mean()
    for moments, a, b in zip(ours, x, y, strict=True):
        adjusted = b - slope * (a - centre)
        assert moments.mean == pytest.approx(adjusted.mean())
        assert moments.variance == pytest.approx(adjusted.var(ddof=1), rel=1e-6)
        assert moments.variance < b.var(ddof=1) / 10


def test_a_constant_covariate_changes_nothing() -> None:
    arm = (Moments(3, 6, 14), CovariateSums(3, 3, 6))
    assert cuped(arm, arm)[0] == arm[0]


def test_cuped_refuses_one_value() -> None:
    arm = (Moments(1, 1, 1), CovariateSums(1, 1, 1))
    with pytest.raises(ValueError, match="at least two"):
        cuped(arm, arm)
