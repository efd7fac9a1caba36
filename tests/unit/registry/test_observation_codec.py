"""Packing observations: what goes in comes out, close enough, in little space."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.observation_codec import (
    Points,
    joined,
    pack_block,
    pack_tick,
    rolled_up,
    series_in,
    unpack_block,
    unpack_tick,
)

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)
NUMBERS = st.integers(min_value=1, max_value=2**32 - 1)


@given(st.dictionaries(NUMBERS, FINITE, max_size=20))
def test_a_tick_comes_back_exactly(values: dict[int, float]) -> None:
    assert unpack_tick(pack_tick(values)) == values


@given(
    st.dictionaries(
        NUMBERS, st.dictionaries(st.integers(0, 40), FINITE, min_size=1, max_size=12), max_size=6
    )
)
def test_a_block_comes_back_to_a_ten_thousandth_of_each_range(
    made: dict[int, dict[int, float]],
) -> None:
    series = {
        one: Points([30.0 * at for at in sorted(held)], ([held[at] for at in sorted(held)],))
        for one, held in made.items()
    }
    body = pack_block(series)
    back = unpack_block(body)
    assert series_in(body) == set(series) == set(back)
    for one, points in series.items():
        values = points.columns[0]
        allowed = (max(values) - min(values)) * 1e-4
        assert list(back[one].at) == list(points.at)
        for value, kept in zip(values, back[one].columns[0], strict=True):
            assert value == kept or abs(value - kept) <= allowed


def test_only_the_wanted_series_are_unpacked() -> None:
    series = {one: Points([1.0], ((float(one),),)) for one in range(1, 9)}
    assert unpack_block(pack_block(series), {3}) == {3: Points((1.0,), ([3.0],))}


@pytest.mark.parametrize("value", [1e300, -1e300, 5e-324, 1.7e9 + 0.25, 2.0**53])
def test_numbers_that_32_bits_cannot_hold_are_kept_whole(value: float) -> None:
    series = {1: Points([0.0, 1.0, 2.0], ((value, value, math.nextafter(value, math.inf)),))}
    assert list(unpack_block(pack_block(series))[1].columns[0]) == list(series[1].columns[0])


def test_a_point_of_noise_takes_four_bytes_at_most_and_a_steady_one_next_to_nothing() -> None:
    noise = random.Random(2)
    at = [30.0 * place for place in range(120)]
    noisy = {one: Points(at, ([noise.gauss(50, 9) for _ in at],)) for one in range(500)}
    assert len(pack_block(noisy)) / (500 * 120) < 4.0
    steady = {one: Points(at, ([float(one)] * 120,)) for one in range(500)}
    assert len(pack_block(steady)) / (500 * 120) < 0.2


def test_buckets_join_by_count() -> None:
    first = rolled_up([(0.0, 2.0, 10.0, 5.0, 15.0, 15.0), (299.0, 1.0, 1.0, 1.0, 1.0, 1.0)], 300)
    assert list(first.buckets()) == [(0.0, 3.0, 7.0, 1.0, 15.0, 1.0)]
    more = Points([0.0, 300.0], ([1.0, 1.0], [3.0, 9.0], [3.0, 9.0], [3.0, 9.0], [3.0, 9.0]))
    assert list(joined(first, more, 300).buckets()) == [
        (0.0, 4.0, 6.0, 1.0, 15.0, 3.0),
        (300.0, 1.0, 9.0, 9.0, 9.0, 9.0),
    ]


@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    cut=st.integers(0, 60),
)
def test_joining_in_parts_is_joining_at_once(values: list[float], cut: int) -> None:
    points = [(30.0 * place, 1.0, value, value, value, value) for place, value in enumerate(values)]
    at_once = list(rolled_up(points, 300).buckets())
    if 0 < cut < len(points):
        parts = rolled_up(points[:cut], 300), rolled_up(points[cut:], 300)
        together = list(joined(*parts, 300).buckets())
    else:
        together = at_once
    assert [one[:2] + one[3:] for one in together] == [one[:2] + one[3:] for one in at_once]
    assert [one[2] for one in together] == pytest.approx([one[2] for one in at_once], abs=1e-6)
