from __future__ import annotations

import numpy as np

from serving.cache import PredictionCache, cache_key
from serving.knobs import Knobs
from serving.tensors import Feeds


def feeds(value: float, shape: tuple[int, ...] = (1, 2)) -> Feeds:
    return {"x": np.full(shape, value)}


def put(cache: PredictionCache, value: float) -> None:
    given = feeds(value)
    cache.put(cache_key(given), given, [np.array([value])])


def test_an_answer_is_found_by_equal_inputs_only() -> None:
    cache = PredictionCache(Knobs(cache_entries=10), 10_000)
    put(cache, 1.0)
    found = cache.get(cache_key(feeds(1.0)))
    assert found is not None
    assert found[0].tolist() == [1.0]
    assert cache.get(cache_key(feeds(2.0))) is None
    assert cache.get(cache_key(feeds(1.0, (2, 1)))) is None
    assert (cache.counts.hits, cache.counts.misses) == (1, 2)


def test_the_least_recently_used_leaves_first() -> None:
    cache = PredictionCache(Knobs(cache_entries=2), 10_000)
    put(cache, 1.0)
    put(cache, 2.0)
    cache.get(cache_key(feeds(1.0)))
    put(cache, 3.0)
    assert cache.get(cache_key(feeds(2.0))) is None
    assert cache.get(cache_key(feeds(1.0))) is not None


def test_turning_the_knob_down_empties_it_at_once() -> None:
    knobs = Knobs(cache_entries=10)
    cache = PredictionCache(knobs, 10_000)
    for value in range(5):
        put(cache, float(value))
    knobs.turn({"cache_entries": 2})
    cache.trim()
    assert cache.entries == 2
    knobs.turn({"cache_entries": 0})
    cache.trim()
    assert (cache.entries, cache.size_bytes, cache.enabled) == (0, 0, False)


def test_bytes_are_bounded_too() -> None:
    cache = PredictionCache(Knobs(cache_entries=1000), 2_000)
    for value in range(50):
        put(cache, float(value))
    assert 0 < cache.size_bytes <= 2_000
    huge: Feeds = {"x": np.zeros(10_000)}
    cache.put(cache_key(huge), huge, [np.zeros(1)])
    assert cache.get(cache_key(huge)) is None


def test_an_entry_does_not_keep_the_batch_it_was_cut_from() -> None:
    cache = PredictionCache(Knobs(cache_entries=1), 100_000)
    batch = np.arange(1000.0)
    given = feeds(1.0)
    cache.put(cache_key(given), given, [batch[:1]])
    found = cache.get(cache_key(given))
    assert found is not None
    assert found[0].base is None


def text(word: str) -> Feeds:
    return {"t": np.array([[word]], dtype=object)}


def test_text_inputs_are_told_apart() -> None:
    assert cache_key(text("a")) != cache_key(text("b"))
    assert cache_key(text("a")) == cache_key(text("a"))
