from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.significance.ranks import compare_ranks

SEED = 19


def test_p_value_is_scipys() -> None:
    rng = np.random.default_rng(SEED)
    x, y = rng.exponential(10, 25), rng.exponential(14, 30)
    theirs = stats.mannwhitneyu(y, x)
    ours = compare_ranks(x, y)
    assert ours.p_value == pytest.approx(theirs.pvalue)
    assert ours.superiority == pytest.approx(theirs.statistic / 750)


def test_shift_is_the_median_of_all_differences() -> None:
    ours = compare_ranks([1.0, 2.0, 10.0], [4.0, 6.0])
    assert ours.shift == pytest.approx(np.median([3, 2, -6, 5, 4, -4]))


def test_one_outlier_does_not_move_the_shift() -> None:
    rng = np.random.default_rng(SEED)
    x = rng.normal(100, 5, 60)
    assert compare_ranks(x, np.append(x + 7, 1e9)).shift == pytest.approx(7, abs=0.6)


def test_interval_holds_a_true_shift_as_often_as_it_says() -> None:
    rng = np.random.default_rng(SEED)
    held = 0
    for _ in range(400):
        low, high = compare_ranks(rng.lognormal(0, 1, 20), rng.lognormal(0, 1, 25) + 1).interval
        held += low <= 1 <= high
    assert 0.92 <= held / 400 <= 0.98


def test_too_few_values_leave_everything_open() -> None:
    assert compare_ranks([1.0], [2.0]).interval == (-math.inf, math.inf)


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf]])
def test_unusable_samples_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="'after' is empty or holds"):
        compare_ranks([1.0, 2.0], bad)


def test_too_many_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="too many"):
        compare_ranks(np.zeros(6000), np.zeros(6000))
