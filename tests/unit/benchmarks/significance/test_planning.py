from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.significance.planning import (
    Aim,
    fixed_size_means,
    fixed_size_proportions,
    power_means,
    power_proportions,
    sequential_plan,
    sequential_size,
)

SEED = 23


def test_size_for_means_is_the_textbook_one() -> None:
    # One-sided .025 and 80 % power, half a standard deviation: 63 an arm before the t correction.
    assert fixed_size_means(Aim(0.025, 0.8), sd=2, difference=1) == 126


@pytest.mark.parametrize("share", [0.5, 0.1, 0.05])
def test_planned_sizes_have_the_planned_power(share: float) -> None:
    aim = Aim(0.05, 0.8, share)
    size = fixed_size_means(aim, sd=3, difference=0.2)
    assert power_means(aim, sd=3, difference=0.2, size=size) == pytest.approx(0.8, abs=1e-3)
    size = fixed_size_proportions(aim, baseline=0.8, difference=0.02)
    power = power_proportions(aim, baseline=0.8, difference=0.02, size=size)
    assert power == pytest.approx(0.8, abs=1e-3)


def test_planned_power_comes_true() -> None:
    rng = np.random.default_rng(SEED)
    aim = Aim(0.05, 0.8, 0.1)
    size = fixed_size_proportions(aim, baseline=0.8, difference=0.02)
    mine = size // 10
    a = rng.binomial(size - mine, 0.8, 20_000) / (size - mine)
    b = rng.binomial(mine, 0.82, 20_000) / mine
    pooled = (a * (size - mine) + b * mine) / size
    z = (b - a) / np.sqrt(pooled * (1 - pooled) * (1 / mine + 1 / (size - mine)))
    assert (z >= stats.norm.isf(0.05)).mean() == pytest.approx(0.8, abs=0.012)


def test_an_unequal_split_needs_more() -> None:
    sizes = [fixed_size_means(Aim(share=s), sd=1, difference=0.1) for s in (0.5, 0.1, 0.05)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("baseline", [0.0, 1.0, 0.99])
def test_impossible_proportions_are_refused(baseline: float) -> None:
    with pytest.raises(ValueError, match="cannot plan"):
        fixed_size_proportions(Aim(), baseline=baseline, difference=0.02)


def test_a_mean_without_spread_is_refused() -> None:
    with pytest.raises(ValueError, match="positive sd"):
        fixed_size_means(Aim(), sd=0, difference=1)


def test_a_sequential_plan_has_the_power_asked_for_and_ends_early() -> None:
    plan = sequential_plan(0.05, 0.8, 14)
    assert plan.power == pytest.approx(0.8, abs=1e-6)
    assert 1.0 < plan.inflation < 1.08
    assert plan.mean_size < 0.77
    assert plan.mean_size_if_equal < 0.77


def test_one_look_is_the_fixed_test() -> None:
    plan = sequential_plan(0.05, 0.8, 1)
    assert plan.inflation == pytest.approx(1, abs=1e-4)
    assert sequential_size(1000, Aim(), 1) in {1000, 1001}


def test_more_looks_need_a_little_more_at_most() -> None:
    assert 1000 < sequential_size(1000, Aim(), 14) < 1080
