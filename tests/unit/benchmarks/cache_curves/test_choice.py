from __future__ import annotations

import numpy as np
import pytest

from benchmarks.cache_curves.choice import Basis, choose_size, justified_size, knee, smallest
from benchmarks.cache_curves.curves import hit_curve
from tests.unit.benchmarks.cache_curves.streams import zipf

ZIPF = hit_curve([zipf(60_000, 5000, 0.9, 2)])


def test_the_smallest_size_that_reaches_the_target_is_chosen() -> None:
    choice = choose_size(ZIPF, target=0.8, most=10_000)
    assert choice is not None
    assert choice.basis is Basis.TARGET
    assert choice.predicted.low == pytest.approx(0.8, abs=0.002)
    doubt = choice.predicted.mean - choice.predicted.low
    least = smallest(ZIPF, 0.8, 10_000)
    assert least is not None
    assert least < choice.size < least + 5 * doubt * 10_000
    assert ZIPF.at(least - 1) < 0.8 <= ZIPF.at(least)


def test_a_target_out_of_reach_gives_the_knee_within_the_bound() -> None:
    choice = choose_size(ZIPF, target=0.99, most=1000)
    assert choice is not None
    assert (choice.basis, choice.size) == (Basis.KNEE, knee(ZIPF, 1000))
    assert 1 < choice.size < 1000


def test_a_cache_that_has_to_grow_grows_to_the_knee_beyond_its_size() -> None:
    choice = choose_size(ZIPF, target=0.999, most=3000, present=1000)
    assert choice is not None
    assert (choice.basis, choice.size) == (Basis.KNEE, knee(ZIPF, 3000, start=1000))
    assert 1000 < choice.size < 3000


def test_the_knee_of_a_loop_is_where_it_fits() -> None:
    loop = hit_curve([np.tile(np.arange(300, dtype=np.uint64), 5)])
    assert knee(loop, 300) == 300


def test_too_short_a_window_says_nothing() -> None:
    assert choose_size(hit_curve([np.zeros(5, np.uint64)]), target=0.9, most=100) is None
    assert justified_size(hit_curve([]), present=100, target=0.9) is None


def test_a_cache_far_larger_than_its_keys_can_shrink_without_a_loss() -> None:
    few = hit_curve([zipf(60_000, 300, 0.5, 2)])
    size = justified_size(few, present=50_000, target=1.0)
    assert size is not None
    assert 250 <= size <= 300
    assert few.at(size) >= few.at(50_000) - 0.005


def test_what_it_has_above_the_target_may_go() -> None:
    size = justified_size(ZIPF, present=4000, target=0.7)
    assert size == smallest(ZIPF, 0.7, 4000)


def test_a_cache_that_is_not_too_large_stays() -> None:
    assert justified_size(ZIPF, present=1000, target=0.95) in {None, *range(900, 1000)}
    assert justified_size(ZIPF, present=1, target=0.95) is None
