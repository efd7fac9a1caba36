from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmarks.significance.moments import Moments
from benchmarks.significance.score import mean_score, proportion_score, standard_score

SEED = 11


def binary(hits: int, n: int) -> Moments:
    return Moments(n, hits, hits)


def of(values: np.ndarray) -> Moments:
    return Moments(len(values), float(values.sum()), float((values**2).sum()))


def test_large_arms_agree_with_the_pooled_test_of_scipy() -> None:
    table = [[8000, 2000], [8150, 1850]]
    chi2 = stats.chi2_contingency(table, correction=False).statistic
    assert standard_score(binary(8000, 10000), binary(8150, 10000)) == pytest.approx(
        np.sqrt(chi2), rel=1e-3
    )


def test_takes_the_nearer_to_zero_of_score_and_likelihood_root() -> None:
    table = np.array([[9, 9991], [5, 995]])
    score = np.sqrt(stats.chi2_contingency(table, correction=False).statistic)
    root = np.sqrt(
        stats.chi2_contingency(table, correction=False, lambda_="log-likelihood").statistic
    )
    z = proportion_score(9, 10000, 5, 1000)
    assert float(z) == pytest.approx(min(score, root))
    assert float(proportion_score(5, 1000, 9, 10000)) == pytest.approx(-min(score, root))


def test_means_agree_with_welch_in_scipy_where_it_is_the_careful_one() -> None:
    rng = np.random.default_rng(SEED)
    a, b = rng.normal(10, 1, 400), rng.normal(10.3, 4, 60)
    tail = stats.ttest_ind(b, a, equal_var=False).pvalue / 2
    z = mean_score((400, 60), (a.mean(), b.mean()), (a.var(ddof=1), b.var(ddof=1)))
    assert float(z) == pytest.approx(np.sign(b.mean() - a.mean()) * stats.norm.isf(tail))


def test_means_agree_with_student_in_scipy_where_it_is_the_careful_one() -> None:
    rng = np.random.default_rng(SEED)
    a, b = rng.normal(10, 4, 400), rng.normal(9, 1, 60)
    tail = stats.ttest_ind(b, a, equal_var=True).pvalue / 2
    assert standard_score(of(a), of(b)) == pytest.approx(-stats.norm.isf(tail))


@pytest.mark.parametrize(
    ("champion", "challenger"),
    [
        (Moments(0, 0, 0), binary(5, 10)),
        (binary(10, 10), binary(20, 20)),
        (Moments(1, 3.5, 12.25), Moments(50, 100, 300)),
        (Moments(10, 50, 250), Moments(10, 60, 360)),
    ],
)
def test_says_nothing_where_nothing_can_be_said(champion: Moments, challenger: Moments) -> None:
    assert standard_score(champion, challenger) == 0


def test_a_huge_difference_stays_finite() -> None:
    z = mean_score((1000, 1000), (0.0, 1e9), (1.0, 1.0))
    assert 30 < float(z) < 40


def test_small_arm_keeps_its_level_where_the_textbook_test_does_not() -> None:
    rng = np.random.default_rng(SEED)
    n_b, n_a, runs = 100, 1900, 20_000
    a, b = rng.binomial(n_a, 0.01, runs), rng.binomial(n_b, 0.01, runs)
    for sign in (1, -1):
        z = sign * proportion_score(a, n_a, b, n_b)
        assert (z >= stats.norm.isf(0.05)).mean() <= 0.055
