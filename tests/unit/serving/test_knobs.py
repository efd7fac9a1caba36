from __future__ import annotations

import math

from config.settings import ServingSettings
from serving.knobs import Knobs, SessionOptions, knobs_for, session_for, usable


def test_the_narrowest_scope_wins_over_the_settings() -> None:
    written = {
        "serving": {"max_batch_size": 8.0, "queue_limit": 50.0},
        "serving/digits": {"max_batch_size": 16.0},
        "serving/digits/3": {"cache_entries": 100.0},
        "serving/other": {"max_batch_size": 1.0},
    }
    found = knobs_for(ServingSettings(intra_op_threads=2), "digits", 3, written)
    assert found == {
        "max_batch_size": 16.0,
        "max_wait_ms": 0.0,
        "cache_entries": 100.0,
        "queue_limit": 50.0,
        "intra_op_threads": 2,
        "allow_spinning": 1,
        "idle_unload_seconds": 0.0,
    }
    assert knobs_for(ServingSettings(), "digits", 3, {})["max_batch_size"] == 32


def test_values_beyond_the_bounds_are_held_at_them() -> None:
    knobs = Knobs()
    knobs.turn({"max_batch_size": 0.0, "queue_limit": 1e9, "max_wait_ms": 2.5, "unknown": 1.0})
    assert (knobs.max_batch_size, knobs.queue_limit, knobs.max_wait_ms) == (1, 100_000, 2.5)
    knobs.turn({"max_batch_size": math.nan, "intra_op_threads": 1e300, "allow_spinning": -3.0})
    assert knobs.max_batch_size == 1
    assert knobs.session == SessionOptions(threads=256, spinning=False)


def test_the_session_of_a_version_follows_its_own_knobs() -> None:
    written = {
        "serving": {"intra_op_threads": 2.0, "workers": 4.0, "release_memory": 3.0},
        "serving/digits/3": {"allow_spinning": 0.0},
    }
    settings = ServingSettings()
    assert session_for(settings, "digits", 3, written) == SessionOptions(2, spinning=False)
    assert session_for(settings, "digits", 4, written) == SessionOptions(2, spinning=True)
    assert session_for(settings, "digits", 3, {}) == SessionOptions(1, spinning=True)


def test_what_is_no_number_is_no_knob() -> None:
    written: dict[str, dict[str, object]] = {
        "serving": {"max_batch_size": 8, "queue_limit": "many", "max_wait_ms": math.inf},
        "serving/digits": {"max_batch_size": None, "cache_entries": math.nan},
    }
    assert usable(written) == {"serving": {"max_batch_size": 8.0}, "serving/digits": {}}
