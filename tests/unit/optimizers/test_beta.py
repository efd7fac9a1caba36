"""Beta and Student's t without SciPy: the same numbers as SciPy's."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from optimizers.beta import beta_cdf, beta_quantile, t_quantile

shapes = st.floats(0.05, 5000.0)
shares = st.floats(0.0005, 0.9995)


@given(st.floats(0.0, 1.0), shapes, shapes)
def test_the_distribution_is_scipys(x: float, a: float, b: float) -> None:
    assert beta_cdf(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), abs=1e-9)


@given(shares, shapes, shapes)
def test_the_quantile_leads_back_to_its_share(share: float, a: float, b: float) -> None:
    x = beta_quantile(share, a, b)
    below, above = beta_cdf(x * (1 - 1e-12), a, b), beta_cdf(x * (1 + 1e-12), a, b)
    assert below - 1e-9 <= share <= above + 1e-9


@pytest.mark.parametrize(("a", "b"), [(3.2, 0.8), (1.0, 1.0), (0.5, 0.5), (40.0, 4.0), (900, 100)])
@pytest.mark.parametrize("share", [0.025, 0.5, 0.975])
def test_quantiles_are_scipys(share: float, a: float, b: float) -> None:
    assert beta_quantile(share, a, b) == pytest.approx(stats.beta.ppf(share, a, b), abs=1e-9)


@pytest.mark.parametrize("freedom", [1.0, 2.5, 4.0, 30.0, 1000.0])
@pytest.mark.parametrize("share", [0.025, 0.3, 0.975])
def test_students_quantiles_are_scipys(share: float, freedom: float) -> None:
    assert t_quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=1e-7)


def test_the_ends_are_the_ends() -> None:
    assert (beta_quantile(0.0, 2.0, 3.0), beta_quantile(1.0, 2.0, 3.0)) == (0.0, 1.0)
    assert (beta_cdf(-1.0, 2.0, 3.0), beta_cdf(2.0, 2.0, 3.0)) == (0.0, 1.0)
    assert t_quantile(0.5, 3.0) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("a", "b"), [(0.0, 1.0), (1.0, -1.0), (math.nan, 1.0), (1.0, math.inf)])
def test_shapes_that_are_none_are_refused(a: float, b: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        beta_cdf(0.5, a, b)


def test_shares_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="0 to 1"):
        beta_quantile(1.1, 1.0, 1.0)
    with pytest.raises(ValueError, match="strictly"):
        t_quantile(1.0, 3.0)
