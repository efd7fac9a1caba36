"""Shifts in pairs, against plain enumeration."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
from scipy.stats import rankdata

from benchmarks.effect_pairs import least_pairs, pair_orders, paired_shift
from benchmarks.effect_windows import FloatArray

RNG_SEED = 7


def enumerated(differences: FloatArray) -> float:
    """The chance of at least what is seen, over all signs: the definition, written out."""
    scores = np.minimum(rankdata(np.abs(differences)), differences.size / 2)
    seen = scores[differences > 0].sum()
    moving = scores[differences != 0]
    signs = itertools.product((0.0, 1.0), repeat=moving.size)
    return float(np.mean([np.dot(taken, moving) >= seen - 1e-9 for taken in signs]))


@pytest.mark.parametrize(
    "differences",
    [
        [0.0, 1.0, 1.0, -2.0, 3.0, 0.5, -1.0, 4.0],
        [0.3, 1.4, 2.2, -0.7, 3.1, 0.5, 1.1, 4.0, -9.0],
        [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0],
        [-1.0, -1.0, -1.0],
    ],
    ids=["ties and zeros", "neither", "mostly zeros", "all down"],
)
def test_the_test_is_exact_with_ties_and_zeros(differences: list[float]) -> None:
    seen = np.array(differences)
    shift = paired_shift(np.zeros(seen.size), seen, 0.05)
    assert shift.p_up == pytest.approx(enumerated(seen))
    assert shift.p_down == pytest.approx(enumerated(-seen))


def test_two_bursts_among_twenty_do_not_hide_an_effect() -> None:
    rng = np.random.default_rng(RNG_SEED)
    differences = rng.normal(-0.2, 0.05, 20)
    differences[[3, 11]] = 0.8
    shift = paired_shift(np.zeros(20), differences, 0.002)
    assert shift.p_down <= 0.001
    assert -0.25 < shift.low < shift.estimate < shift.high < 0


def test_many_pairs_are_judged_by_the_normal_law() -> None:
    rng = np.random.default_rng(RNG_SEED)
    differences = rng.normal(0.1, 1, 300)
    scores = np.minimum(rankdata(np.abs(differences)), 150)
    z = (np.sign(differences) @ scores) / math.sqrt(scores @ scores)
    shift = paired_shift(np.zeros(300), differences, 0.05)
    assert shift.p_up == pytest.approx(0.5 * math.erfc(z / math.sqrt(2)))


@pytest.mark.parametrize("alpha", [0.05, 0.005, 0.0025])
def test_the_least_pairs_can_just_decide(alpha: float) -> None:
    least = least_pairs(alpha)
    decisive = paired_shift(np.zeros(least), np.arange(1.0, least + 1), alpha)
    short = paired_shift(np.zeros(least - 1), np.arange(1.0, least), alpha)
    assert decisive.p_value <= alpha < short.p_value
    assert decisive.low > 0
    assert (short.low, short.high) == (-math.inf, math.inf)


def test_the_interval_excludes_zero_just_when_the_test_decides() -> None:
    rng = np.random.default_rng(RNG_SEED)
    for digits in (8, 0):  # rounded to whole numbers there are many ties and zeros
        for _ in range(150):
            differences = np.round(rng.normal(0.8, 1, 14), digits)
            shift = paired_shift(np.zeros(14), differences, 0.01)
            assert shift.low <= shift.estimate <= shift.high
            if digits:
                assert (shift.p_value <= 0.01) == (shift.low > 0 or shift.high < 0)
            elif shift.p_value <= 0.01:
                assert shift.low >= 0 or shift.high <= 0
            else:
                assert shift.low <= 0 <= shift.high


def test_the_interval_holds_the_shifts_that_the_test_does_not_refute() -> None:
    rng = np.random.default_rng(RNG_SEED)
    differences = rng.normal(1.0, 1, 14)
    shift = paired_shift(np.zeros(14), differences, 0.02)
    for moved in np.linspace(-1, 3, 81):
        inside = shift.low < moved < shift.high
        again = paired_shift(np.zeros(14), differences - moved, 0.02)
        assert inside == (again.p_value > 0.02)


def test_a_shift_moves_the_estimate_and_turning_turns_it() -> None:
    rng = np.random.default_rng(RNG_SEED)
    differences = rng.normal(0.0, 1, 15)
    here = paired_shift(np.zeros(15), differences, 0.01)
    moved = paired_shift(np.zeros(15), differences + 2.5, 0.01)
    turned = paired_shift(differences, np.zeros(15), 0.01)
    assert moved.estimate == pytest.approx(here.estimate + 2.5)
    assert turned.estimate == pytest.approx(-here.estimate)
    assert (turned.p_up, turned.p_down) == pytest.approx((here.p_down, here.p_up))


def test_sides_of_pairs_have_one_length() -> None:
    with pytest.raises(ValueError, match="do not make pairs"):
        paired_shift(np.ones(3), np.ones(4), 0.05)


def test_the_order_within_pairs_is_drawn_by_the_seed() -> None:
    first = pair_orders(1000, random.Random(RNG_SEED))
    assert first == pair_orders(1000, random.Random(RNG_SEED))
    assert 400 < sum(first) < 600
