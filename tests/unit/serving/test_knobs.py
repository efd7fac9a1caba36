from __future__ import annotations

import math

from config.settings import ServingSettings
from serving.knobs import Knobs, knobs_for


def test_the_narrowest_scope_wins_over_the_settings() -> None:
    written = {
        "serving": {"max_batch_size": 8.0, "queue_limit": 50.0},
        "serving/digits": {"max_batch_size": 16.0},
        "serving/digits/3": {"cache_entries": 100.0},
        "serving/other": {"max_batch_size": 1.0},
    }
    found = knobs_for(ServingSettings(), "digits", 3, written)
    assert found == {
        "max_batch_size": 16.0,
        "max_wait_ms": 0.0,
        "cache_entries": 100.0,
        "queue_limit": 50.0,
    }


def test_values_beyond_the_bounds_are_held_at_them() -> None:
    knobs = Knobs()
    knobs.turn({"max_batch_size": 0.0, "queue_limit": 1e9, "max_wait_ms": 2.5, "unknown": 1.0})
    assert (knobs.max_batch_size, knobs.queue_limit, knobs.max_wait_ms) == (1, 100_000, 2.5)
    knobs.turn({"max_batch_size": math.nan})
    assert knobs.max_batch_size == 1
