"""Caches that are too small: how well their curves are known, and what the agent makes of them.

The curves are held against plain LRU caches. Then a real predictor and a real Redis, each with a
cache that is too small for its users' favourites, are looked at, resized and verified by
`prime-spark tune now cache_resize`; the hit rate is measured afterwards, apart from the agent, and
held against what it foretold. The rival is the common rule: double it until it is enough, waiting
each time until the cache is full.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.cache_curves.choice import smallest
from benchmarks.cache_curves.curves import hit_curve
from benchmarks.performance import cache_redis
from benchmarks.performance.cache_outcome import TARGET, Outcome, figures, outcome_of
from benchmarks.performance.cache_streams import exact_figures, sampled_figures, zipf
from benchmarks.performance.counters import read_counters
from benchmarks.performance.crowd import Crowd, Users, send_crowd
from benchmarks.performance.parts import Part
from benchmarks.performance.stage import Stage, open_stage
from benchmarks.serving_models import FEATURES, write_model

_OURS, _RIVAL = "ours", "doubled"
_LAYERS = 1
_EXPONENT = 0.9
_START = 0.66
_LONGEST_S = 1800.0
_MOST_CHANGES = 10


def measure(quick: bool, seed: int) -> Part:
    """See the module."""
    runs = 1 if quick else 2
    exact = exact_figures(seed, quick=quick)
    sample, rows = sampled_figures(seed, quick=quick)
    predictor = [_predictor(seed + run, quick=quick) for run in range(runs)]
    servers = [
        cache_redis.resize(cache_redis.scene(seed + run, quick=quick)) for run in range(runs)
    ]
    return Part(
        name="cache",
        title="Caches by their curves",
        real="real predictor, Redis and agent; users' favourites drawn by Zipf's law; streams of "
        "the first two figures made up",
        figures=[
            *exact,
            *sample,
            *figures("prediction cache", predictor),
            *figures("Redis", servers),
        ],
        rows=[*rows, *(one.row() for one in (*predictor, *servers))],
    )


def _predictor(seed: int, *, quick: bool) -> Outcome:
    """A prediction cache under load: the agent's turn, then doubling, on the same keys."""
    keys, rate, gather_s, measure_s = (
        (600, 150.0, 40.0, 20.0) if quick else (3000, 500.0, 40.0, 60.0)
    )
    start = _start(keys, seed)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "model.onnx"
        write_model(file, _LAYERS, seed)
        settings = {
            "SERVING__CACHE_ENTRIES": start,
            "AGENT__COOLDOWN_SECONDS": 0,
            "AGENT__SETTLE_SECONDS": 3,
            "AGENT__VERIFY_SECONDS": 40 if quick else 60,
        }
        with open_stage({_OURS: file, _RIVAL: file}, settings) as stage:
            with _crowd(stage, _OURS, (keys, rate), seed):
                time.sleep(gather_s)
                before = _hit_rate(stage, _OURS, measure_s)
                answer = stage.tune("cache_resize", looks=5, every_s=2.0)
                realised = _hit_rate(stage, _OURS, measure_s)
            written = stage.knobs().get(f"serving/{_OURS}", {}).get("cache_entries", start)
            with _crowd(stage, _RIVAL, (keys, rate), seed):
                changes, doubled = _doubled(stage, start, rate, measure_s / 2)
    return outcome_of(
        "prediction cache",
        answer,
        before=before,
        realised=realised,
        sizes=(start, written, doubled),
        rival_changes=changes,
    )


def _start(keys: int, seed: int) -> int:
    """A size at which two of three requests are answered."""
    stream = zipf(100_000, keys, _EXPONENT, np.random.default_rng(seed))
    found = smallest(hit_curve([stream]), _START, keys)
    return found or 1


class _crowd:  # noqa: N801 - used as a context
    """Users of one model until the block ends."""

    def __init__(self, stage: Stage, model: str, asked: tuple[int, float], seed: int) -> None:
        keys, rate = asked
        users = {model: Users(stage.url_of(model), rate, FEATURES, keys, _EXPONENT)}
        self._crowd: Crowd = send_crowd(users, _LONGEST_S, slice_s=60.0, seed=seed)

    def __enter__(self) -> None:
        self._crowd.await_begin()

    def __exit__(self, *_: object) -> None:
        self._crowd.stop()


def _doubled(stage: Stage, start: int, rate: float, measure_s: float) -> tuple[int, int]:
    """Double the cache until its hit rate is enough; return the changes, and its size."""
    entries, changes = start, 0
    while True:
        # As many misses as it has entries fill it.
        time.sleep(entries / (rate * (1.0 - TARGET)))
        if _hit_rate(stage, _RIVAL, measure_s) >= TARGET or changes > _MOST_CHANGES:
            return changes, entries
        entries, changes = 2 * entries, changes + 1
        stage.turn(f"serving/{_RIVAL}", {"cache_entries": float(entries)})


def _hit_rate(stage: Stage, model: str, seconds: float) -> float:
    """The hit rate of a model's cache over some seconds, by the predictor's own counters."""
    before = _counts(stage, model)
    time.sleep(seconds)
    after = _counts(stage, model)
    hits, misses = (after[name] - before[name] for name in ("hits", "misses"))
    return hits / (hits + misses)


def _counts(stage: Stage, model: str) -> dict[str, float]:
    page = read_counters(stage.url)
    return {
        name: page.total(f"prime_spark_cache_{name}_total", model=model)
        for name in ("hits", "misses")
    }
