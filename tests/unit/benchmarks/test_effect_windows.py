"""Shifts in pairs and windows, against plain enumeration and SciPy."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from scipy.stats import rankdata, wilcoxon

from benchmarks.effect_windows import (
    MIN_WINDOW,
    after_settling,
    least_pairs,
    pair_orders,
    paired_shift,
    variance_inflation,
    window_shift,
)

RNG_SEED = 7


def test_the_signed_rank_test_is_exact_with_ties_and_zeros() -> None:
    differences = np.array([0.0, 1.0, 1.0, -2.0, 3.0, 0.5, -1.0, 4.0])
    ranks = rankdata(np.abs(differences))
    seen = ranks[differences > 0].sum()
    moving = ranks[differences != 0]
    sums = [
        sum(rank for rank, taken in zip(moving, signs, strict=True) if taken)
        for signs in itertools.product((False, True), repeat=moving.size)
    ]
    shift = paired_shift(np.zeros(8), differences, 0.05)
    assert shift.p_up == pytest.approx(np.mean([total >= seen for total in sums]))


def test_the_signed_rank_test_agrees_with_scipy() -> None:
    rng = np.random.default_rng(RNG_SEED)
    differences = rng.normal(0.3, 1, 18)
    shift = paired_shift(np.zeros(18), differences, 0.05)
    expected = wilcoxon(differences, method="exact").pvalue
    assert shift.p_value == pytest.approx(expected)


def test_many_pairs_are_judged_by_the_normal_law() -> None:
    rng = np.random.default_rng(RNG_SEED)
    differences = rng.normal(0.1, 1, 300)
    shift = paired_shift(np.zeros(300), differences, 0.05)
    expected = wilcoxon(differences, method="approx").pvalue
    assert shift.p_value == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("alpha", [0.05, 0.005, 0.0025])
def test_the_least_pairs_can_just_decide(alpha: float) -> None:
    least = least_pairs(alpha)
    decisive = paired_shift(np.zeros(least), np.arange(1.0, least + 1), alpha)
    short = paired_shift(np.zeros(least - 1), np.arange(1.0, least), alpha)
    assert decisive.p_value <= alpha < short.p_value


def test_the_paired_interval_excludes_zero_when_the_test_decides() -> None:
    rng = np.random.default_rng(RNG_SEED)
    for _ in range(300):
        shift = paired_shift(np.zeros(12), rng.normal(0.8, 1, 12), 0.01)
        assert (shift.p_value <= 0.01) == (shift.low > 0 or shift.high < 0)


def test_independent_samples_inflate_little_and_autocorrelated_ones_much() -> None:
    rng = np.random.default_rng(RNG_SEED)
    noise = rng.normal(0, 1, 400)
    walk = np.cumsum(noise)
    little = variance_inflation(noise[:200], noise[200:])
    much = variance_inflation(walk[:200], walk[200:])
    assert 1.0 <= little < 2.0
    assert much > 15.0


def test_constant_windows_have_no_autocorrelation_to_speak_of() -> None:
    shift = window_shift(np.full(10, 5.0), np.full(10, 4.0), 0.005)
    assert (shift.low, shift.high) == (-1.0, -1.0)
    assert shift.p_down < 0.005
    same = window_shift(np.full(10, 5.0), np.full(10, 5.0), 0.005)
    assert same.p_value > 0.5


def test_windows_of_a_slow_swing_are_not_taken_for_an_effect() -> None:
    swing = 100 + 10 * np.sin(np.linspace(0, 2 * np.pi, 40))
    shift = window_shift(swing[:20], swing[20:], 0.005)
    assert shift.p_value > 0.005


def test_a_short_window_is_refused() -> None:
    short = np.ones(MIN_WINDOW - 1)
    with pytest.raises(ValueError, match=f"at least {MIN_WINDOW}"):
        window_shift(short, np.ones(20), 0.005)


def test_sides_of_pairs_have_one_length() -> None:
    with pytest.raises(ValueError, match="do not make pairs"):
        paired_shift(np.ones(3), np.ones(4), 0.05)


def test_samples_from_before_the_change_has_settled_are_left_out() -> None:
    samples = [(0.0, 1.0), (10.0, 2.0), (14.9, 3.0), (15.0, 4.0), (20.0, 5.0)]
    assert after_settling(samples, switched_at=10.0, settle_s=5.0) == [4.0, 5.0]


def test_the_order_within_pairs_is_drawn_by_the_seed() -> None:
    first = pair_orders(1000, random.Random(RNG_SEED))
    assert first == pair_orders(1000, random.Random(RNG_SEED))
    assert 400 < sum(first) < 600
