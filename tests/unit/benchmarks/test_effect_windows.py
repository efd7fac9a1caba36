"""Shifts between two windows."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.effect_windows import MIN_WINDOW, variance_inflation, window_shift

RNG_SEED = 7


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
