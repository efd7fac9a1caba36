from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.significance.moments import Moments
from benchmarks.significance.relative import relative_change, relative_interval

SEED = 31


def test_mean_and_variance_are_those_of_the_values() -> None:
    values = np.array([1.0, 4.0, 4.5])
    moments = Moments(3, float(values.sum()), float((values**2).sum()))
    assert moments.mean == pytest.approx(values.mean())
    assert moments.variance == pytest.approx(values.var(ddof=1))


def test_no_values_are_not_a_number_and_not_zero() -> None:
    assert math.isnan(Moments(0, 0, 0).mean)
    assert math.isnan(Moments(1, 2, 4).variance)


@pytest.mark.parametrize(
    ("moments", "binary"),
    [
        (Moments(5, 3, 3), True),
        (Moments(0, 0, 0), True),
        (Moments(5, 2.5, 2.5), False),
        (Moments(5, 7, 7), False),
        (Moments(5, math.inf, math.inf), False),
    ],
)
def test_knows_sums_of_zeros_and_ones(moments: Moments, binary: bool) -> None:
    assert moments.binary is binary


@pytest.mark.parametrize(
    ("moments", "flaw"),
    [
        (Moments(-1, 0, 0), "negative"),
        (Moments(3, math.nan, 1), "not a number"),
        (Moments(3, 1, math.inf), "not a number"),
        (Moments(2, 10, 3), "too small"),
        (Moments(0, 1, 1), "too small"),
    ],
)
def test_names_what_cannot_be(moments: Moments, flaw: str) -> None:
    assert flaw in (moments.flaw or "")


def test_real_sums_have_no_flaw() -> None:
    rng = np.random.default_rng(SEED)
    values = rng.lognormal(8, 0.001, 100_000)
    assert Moments(values.size, float(values.sum()), float((values**2).sum())).flaw is None


def test_relative_change_of_a_negative_mean_keeps_its_direction() -> None:
    assert relative_change(Moments(2, -4, 10), Moments(2, -2, 4)) == 0.5


def test_relative_change_needs_a_champion_other_than_zero() -> None:
    assert relative_change(Moments(2, 0, 2), Moments(2, 2, 2)) is None
    assert relative_change(Moments(0, 0, 0), Moments(2, 2, 2)) is None
    assert relative_interval(Moments(2, 0, 2), Moments(2, 2, 2), 2.0) is None
    # A champion's mean that may as well be zero.
    assert relative_interval(Moments(9, 0.1, 90), Moments(9, 18, 40), 2.0) is None


@pytest.mark.parametrize("sign", [1, -1])
def test_interval_holds_the_true_change_as_often_as_it_says(sign: int) -> None:
    rng = np.random.default_rng(SEED)
    held = 0
    for _ in range(2000):
        a, b = sign * rng.normal(10, 4, 900), sign * rng.normal(11, 4, 100)
        arms = [Moments(v.size, float(v.sum()), float((v**2).sum())) for v in (a, b)]
        interval = relative_interval(arms[0], arms[1], 1.96)
        assert interval is not None
        held += interval[0] <= sign * 0.1 <= interval[1]
    assert held / 2000 == pytest.approx(0.95, abs=0.015)


def test_an_arm_that_never_failed_is_not_taken_as_certain() -> None:
    interval = relative_interval(Moments(1000, 900, 900), Moments(10, 10, 10), 1.96)
    assert interval is not None
    assert interval[0] < 0 < interval[1]
