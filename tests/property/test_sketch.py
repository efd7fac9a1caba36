"""The latency sketch: every quantile within one per cent, and merging loses nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.sketch import RELATIVE_ERROR, bucket_of, merge, quantile, value_of

latencies = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=200)
shares = st.floats(0.0, 1.0)


def sketch_of(values: list[float]) -> dict[int, int]:
    return merge({bucket_of(value): 1} for value in values)


@given(latencies, shares)
def test_a_quantile_is_within_one_per_cent_of_the_true_one(
    values: list[float], share: float
) -> None:
    found = quantile(sketch_of(values), share)
    true = sorted(values)[math.floor(share * (len(values) - 1))]
    assert found is not None
    assert abs(found - true) <= true * RELATIVE_ERROR * (1 + 1e-9)


@given(latencies, latencies, shares)
def test_merged_sketches_tell_the_same_as_one_of_everything(
    one: list[float], other: list[float], share: float
) -> None:
    merged = merge([sketch_of(one), sketch_of(other)])
    assert merged == sketch_of(one + other)
    assert quantile(merged, share) == quantile(sketch_of(one + other), share)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_every_number_has_a_bucket_within_bounds(value: float) -> None:
    assert bucket_of(1e-9) <= bucket_of(value) <= bucket_of(math.inf)
    assert value_of(bucket_of(value)) > 0


def test_nothing_measured_has_no_quantile() -> None:
    assert quantile({}, 0.5) is None


def test_a_quantile_outside_of_the_unit_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        quantile({1: 1}, 1.5)
