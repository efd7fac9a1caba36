from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.comparisons import (
    Bounds,
    IntArray,
    Outcome,
    bootstrap_bounds,
    judge_excess,
    paired_proportion_bounds,
    signed_rank_bounds,
)

SEED = 21
RUNS = 1500


@pytest.mark.parametrize(
    ("bounds", "outcome"),
    [
        (Bounds(0.0, -1.0, 0.9), Outcome.PASS),
        (Bounds(3.0, 1.1, 5.0), Outcome.FAIL),
        (Bounds(1.0, 0.5, 1.5), Outcome.INCONCLUSIVE),
        (Bounds(0.0, -math.inf, math.inf), Outcome.INCONCLUSIVE),
        (Bounds(math.nan, math.nan, math.nan), Outcome.INCONCLUSIVE),
    ],
)
def test_only_a_bound_inside_the_margin_passes(bounds: Bounds, outcome: Outcome) -> None:
    assert judge_excess(bounds, 1.0) is outcome


def test_a_margin_that_is_not_a_number_passes_nothing() -> None:
    assert judge_excess(Bounds(0.0, -1.0, -0.5), math.nan) is Outcome.INCONCLUSIVE


def test_signed_rank_bounds_agree_with_the_published_table() -> None:
    # Ten pairs at one-sided 5 %: the critical value is 10 (Hollander and Wolfe, table A.4), so the
    # bounds are the 11th Walsh averages from either end.
    differences = np.asarray([1.0, 2, 4, 8, 16, 32, 64, 128, 256, 512])
    walsh = sorted((a + b) / 2 for i, a in enumerate(differences) for b in differences[i:])
    bounds = signed_rank_bounds(differences, 0.05)
    assert (bounds.low, bounds.high) == (walsh[10], walsh[-11])


def test_signed_rank_bounds_miss_no_more_often_than_alpha() -> None:
    rng = np.random.default_rng(SEED)
    low = high = 0
    for _ in range(RUNS):
        bounds = signed_rank_bounds(rng.standard_t(2, 10), 0.05)
        low += bounds.low > 0
        high += bounds.high < 0
    # 5 % plus three standard errors.
    assert max(low, high) / RUNS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS), f"seed {SEED}"


def test_two_wild_blocks_of_ten_do_not_move_the_estimate_far() -> None:
    calm = np.linspace(-0.1, 0.1, 8)
    bounds = signed_rank_bounds(np.concatenate([calm, [900.0, -700.0]]), 0.05)
    assert abs(bounds.estimate) < 0.2
    assert bounds.high < 1.0


@pytest.mark.parametrize("pairs", [0, 1, 4])
def test_too_few_pairs_decide_nothing(pairs: int) -> None:
    bounds = signed_rank_bounds(np.zeros(pairs), 0.05)
    assert judge_excess(bounds, 1.0) is Outcome.INCONCLUSIVE


def test_a_missing_block_decides_nothing() -> None:
    differences = np.asarray([0.0] * 20 + [math.nan])
    assert judge_excess(signed_rank_bounds(differences, 0.05), 1.0) is Outcome.INCONCLUSIVE


def _pairs(both: int, only_candidate: int, only_champion: int, neither: int) -> Bounds:
    candidate = [True] * (both + only_candidate) + [False] * (only_champion + neither)
    champion = [True] * both + [False] * only_candidate + [True] * only_champion + [False] * neither
    return paired_proportion_bounds(np.asarray(candidate), np.asarray(champion), 0.025)


def test_paired_bounds_agree_with_a_published_example() -> None:
    # Airway hyper-responsiveness before and after transplantation (Fagerland, Lydersen and Laake,
    # Statistics in Medicine 33, 2014, table 2): Tango's interval is -0.517 to -0.026.
    bounds = _pairs(1, 1, 7, 12)
    assert bounds.estimate == pytest.approx(-6 / 21)
    assert bounds.low == pytest.approx(-0.517, abs=0.001)
    assert bounds.high == pytest.approx(-0.026, abs=0.001)


def test_rows_that_all_agree_still_leave_some_doubt() -> None:
    bounds = _pairs(40, 0, 0, 10)
    assert bounds.estimate == 0
    assert -0.2 < bounds.low < 0 < bounds.high < 0.2


def test_more_rows_narrow_the_bounds() -> None:
    few, many = _pairs(40, 3, 3, 4), _pairs(400, 30, 30, 40)
    assert many.high - many.low < few.high - few.low


def test_paired_bounds_miss_no_more_often_than_alpha() -> None:
    rng = np.random.default_rng(SEED)
    missed = 0
    for _ in range(RUNS):
        champion = rng.random(300) < 0.95
        # True difference −0.05: a candidate that is exactly as bad as the margin allows.
        candidate = np.where(rng.random(300) < 0.1, rng.random(300) < 0.45, champion)
        bounds = paired_proportion_bounds(candidate, champion, 0.05)
        missed += bounds.low > -0.05
    assert missed / RUNS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS), f"seed {SEED}"


def test_bootstrap_bounds_enclose_the_difference_of_means() -> None:
    values = np.random.default_rng(SEED).normal(0.3, 1.0, 400)

    def mean(rows: IntArray) -> float:
        return float(values[rows].mean())

    bounds = bootstrap_bounds(mean, 400, 0.05, np.random.default_rng(SEED))
    error = values.std() / 20
    assert bounds.low == pytest.approx(values.mean() - 1.645 * error, abs=0.02)
    assert bounds.high == pytest.approx(values.mean() + 1.645 * error, abs=0.02)
    assert math.isnan(bootstrap_bounds(mean, 0, 0.05, np.random.default_rng(SEED)).estimate)
