from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.significance.group_sequential import (
    MAX_BOUNDARY,
    boundaries,
    crossing,
    futility,
    next_boundary,
    next_futility,
    remaining_alpha,
    spent_alpha,
)

SEED = 7


# Published two-sided .05 boundaries with O'Brien–Fleming type spending: Jennison & Turnbull (2000),
# and the tables of the R package ldbounds.
@pytest.mark.parametrize(
    ("looks", "published"),
    [
        (2, (2.963, 1.969)),
        (3, (3.710, 2.511, 1.993)),
        (4, (4.333, 2.963, 2.359, 2.014)),
        (5, (4.877, 3.357, 2.680, 2.290, 2.031)),
    ],
)
def test_boundaries_agree_with_published_ones(looks: int, published: tuple[float, ...]) -> None:
    fractions = [(look + 1) / looks for look in range(looks)]
    assert boundaries(fractions, 0.025) == pytest.approx(published, abs=6e-4)


def test_one_look_is_the_fixed_test() -> None:
    assert boundaries([1.0], 0.05) == pytest.approx((1.6449,), abs=1e-4)


def test_planned_boundaries_spend_alpha_exactly() -> None:
    fractions = [(look + 1) / 14 for look in range(14)]
    upper = boundaries(fractions, 0.05)
    assert sum(crossing(fractions, upper, [-math.inf] * 14).upper) == pytest.approx(0.05, abs=1e-7)


def test_crossing_agrees_with_simulated_paths() -> None:
    rng = np.random.default_rng(SEED)
    levels = np.array([0.15, 0.2, 0.55, 0.9, 1.2])
    upper, lower, drift = [2.4, 2.6, 2.2, 1.9, 1.8], [-2.0, -1.0, 0.0, 0.3, 1.0], 1.5
    steps = np.diff(levels, prepend=0)
    paths = np.cumsum(rng.normal(drift * steps, np.sqrt(steps), size=(200_000, 5)), axis=1)
    z = paths / np.sqrt(levels)
    out = (z >= upper) | (z <= lower)
    first = np.where(out.any(axis=1), out.argmax(axis=1), -1)
    exact = crossing(list(levels), upper, lower, drift=drift)
    for look in range(5):
        rows = z[first == look][:, look]
        assert (rows >= upper[look]).sum() / 200_000 == pytest.approx(exact.upper[look], abs=0.003)
        assert (rows <= lower[look]).sum() / 200_000 == pytest.approx(exact.lower[look], abs=0.003)


def test_unplanned_looks_keep_the_level() -> None:
    levels = [0.03, 0.31, 0.32, 0.9, 1.15]
    used: list[float] = []
    for count, level in enumerate(levels, start=1):
        used.append(next_boundary(levels[:count], used, spent_alpha(level, 0.05)))
    assert sum(crossing(levels, used, [-math.inf] * 5).upper) == pytest.approx(0.05, abs=1e-7)


def test_a_trial_cut_short_may_spend_what_is_left() -> None:
    levels = [0.2, 0.4]
    first = next_boundary(levels[:1], [], spent_alpha(0.2, 0.05))
    last = next_boundary(levels, [first], 0.05)
    assert last < next_boundary(levels, [first], spent_alpha(0.4, 0.05))
    assert sum(crossing(levels, [first, last], [-math.inf] * 2).upper) == pytest.approx(0.05)


def test_remaining_alpha_is_what_was_not_spent() -> None:
    assert remaining_alpha([], [], 0.05) == 0.05
    levels = [0.5]
    used = [next_boundary(levels, [], spent_alpha(0.5, 0.05))]
    assert remaining_alpha(levels, used, 0.05) == pytest.approx(0.05 - spent_alpha(0.5, 0.05))


def test_nothing_left_means_nothing_can_be_found() -> None:
    used = [next_boundary([1.0], [], 0.05)]
    # Up to the rounding of the integration, which leaves less than one in ten million.
    assert next_boundary([1.0, 1.5], used, 0.05) > 5


def test_alpha_kept_for_late_looks_can_be_spent_there() -> None:
    early = [next_boundary([1.0], [], 0.04)]
    late = next_boundary([1.0, 1.3], early, 0.05)
    spent = sum(crossing([1.0, 1.3], [*early, late], [-math.inf] * 2).upper)
    assert late < MAX_BOUNDARY
    assert spent == pytest.approx(0.05)


def test_futility_misses_no_more_than_beta_and_never_passes_the_upper_boundary() -> None:
    fractions = [(look + 1) / 14 for look in range(14)]
    upper = boundaries(fractions, 0.05)
    lower = futility(fractions, upper, 0.05, drift=2.5)
    missed = sum(crossing(fractions, upper, lower, drift=2.5).lower)
    assert missed == pytest.approx(0.05, abs=1e-6)
    assert all(down < up for down, up in zip(lower, upper, strict=True))
    again = next_futility(fractions[:9], upper[:9], lower[:8],
                          cumulative_beta=spent_alpha(9 / 14, 0.05), drift=2.5)  # fmt: skip
    assert again == pytest.approx(lower[8])


def test_futility_stops_at_the_upper_boundary_when_all_may_be_missed() -> None:
    assert next_futility([1.0], [1.6], [], cumulative_beta=0.99, drift=2.5) == 1.6
    assert next_futility([0.01], [8.0], [], cumulative_beta=0.0, drift=2.5) == -MAX_BOUNDARY


def test_mean_fraction_counts_runs_that_never_crossed() -> None:
    assert crossing([0.5, 1.0], [9, 9], [-9, -9]).mean_fraction([0.5, 1.0]) == pytest.approx(1.0)


@pytest.mark.parametrize("levels", [[0.5, 0.5], [0.5, 0.4], [0.0]])
def test_information_that_does_not_grow_is_refused(levels: list[float]) -> None:
    with pytest.raises(ValueError, match="must grow"):
        crossing(levels, [2.0] * len(levels), [-2.0] * len(levels))


def test_boundaries_of_another_number_of_looks_are_refused() -> None:
    with pytest.raises(ValueError, match="1 levels of information for 2"):
        next_boundary([0.5], [3.0], 0.05)


def test_spending_starts_at_nothing_and_ends_at_alpha() -> None:
    assert spent_alpha(0, 0.05) == 0
    assert spent_alpha(-1, 0.05) == 0
    assert spent_alpha(1, 0.05) == spent_alpha(3, 0.05) == 0.05
