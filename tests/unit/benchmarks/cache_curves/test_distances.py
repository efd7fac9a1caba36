from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cache_curves.distances import FIRST_USE, cold_hits, stack_distances
from tests.unit.benchmarks.cache_curves.streams import KeyArray, lru_hits, zipf


def _shifting() -> KeyArray:
    return np.concatenate([zipf(400, 60, 0.9, seed) + np.uint64(40 * seed) for seed in range(4)])


STREAMS = {
    "zipf": zipf(1500, 200, 0.9, 1),
    "scan": np.arange(300, dtype=np.uint64),
    "loop": np.tile(np.arange(90, dtype=np.uint64), 5),
    "shifting": _shifting(),
}


@pytest.mark.parametrize("shape", STREAMS)
def test_the_curve_is_that_of_a_plain_lru_cache_at_every_size(shape: str) -> None:
    keys = STREAMS[shape]
    hits = cold_hits(stack_distances(keys))
    plain = [sum(lru_hits(keys.tolist(), size)) for size in range(hits.size)]
    assert hits.tolist() == plain


@given(st.lists(st.integers(0, 12), max_size=120))
def test_any_stream_has_the_hits_of_a_plain_lru_cache(keys: list[int]) -> None:
    hits = cold_hits(stack_distances(np.array(keys, dtype=np.uint64)))
    assert hits.tolist() == [sum(lru_hits(keys, size)) for size in range(len(set(keys)) + 1)]
    assert (np.diff(hits) >= 0).all()


def test_it_says_what_was_seen_before_each_request() -> None:
    found = stack_distances(np.array([7, 8, 7, 9, 8, 8], dtype=np.uint64))
    assert found.distance.tolist() == [FIRST_USE, FIRST_USE, 1, FIRST_USE, 2, 0]
    assert found.seen.tolist() == [0, 1, 2, 2, 3, 3]
    assert (found.requests, found.keys) == (6, 3)
