"""Streams of keys of known shapes, and whether their curves are those of real LRU caches."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from benchmarks.cache_curves.curves import StreamCurve
from benchmarks.cache_curves.distances import cold_hits, stack_distances
from benchmarks.cache_curves.sampling import LARGEST_SHARE, sampled, sampled_at
from benchmarks.performance.parts import Figure

KeyArray = NDArray[np.int64]

_SIZES = 400


def zipf(requests: int, keys: int, exponent: float, rng: np.random.Generator) -> KeyArray:
    """Keys of which the n-th is asked for in proportion to n to the power of -exponent."""
    chances = np.cumsum(np.arange(1, keys + 1) ** -exponent)
    drawn: KeyArray = np.searchsorted(chances, rng.random(requests) * chances[-1])
    return drawn


def shapes(requests: int, keys: int, seed: int) -> Mapping[str, KeyArray]:
    """Streams as caches meet them: favourites, a scan among them, a loop, and favourites that move.

    A key's number says nothing about how often it is asked for.
    """
    rng = np.random.default_rng(seed)
    names = rng.permutation(8 * keys)
    asked = zipf(requests, keys, 0.9, rng)
    scan = np.where(np.arange(requests) % 5 == 0, keys + np.arange(requests) // 5 % keys, asked)
    loop = np.arange(requests) % (keys // 2)
    moving = asked + np.arange(requests) * 4 // requests * (keys // 3)
    streams = {
        "zipf 0.7": zipf(requests, keys, 0.7, rng),
        "zipf 0.9": asked,
        "zipf 1.1": zipf(requests, keys, 1.1, rng),
        "scan": scan,
        "loop": loop,
        "shifting": moving,
    }
    return {name: names[stream] for name, stream in streams.items()}


def exact_figures(seed: int, *, quick: bool) -> list[Figure]:
    """Hold the exact curve against a plain LRU cache at every size."""
    requests, keys = (3000, 150) if quick else (12_000, 400)
    wrong = sizes = 0
    for stream in shapes(requests, keys, seed).values():
        hits = cold_hits(stack_distances(stream))
        for size in range(hits.size):
            sizes += 1
            wrong += int(hits[size] != _lru_hits(stream, size))
    note = f"{sizes} sizes of zipf, scan, loop and shifting streams"
    return [
        Figure("sizes at which the exact curve is not the plain LRU's", wrong, at_most=0, note=note)
    ]


def sampled_figures(seed: int, *, quick: bool) -> tuple[list[Figure], list[dict[str, object]]]:
    """Hold the curve of some of the keys against that of all of them."""
    requests, keys = (200_000, 30_000) if quick else (2_000_000, 200_000)
    rows: list[dict[str, object]] = []
    errors = []
    for name, stream in shapes(requests, keys, seed).items():
        whole = StreamCurve(sampled(stream, most=requests))
        part = sampled_at(stream, LARGEST_SHARE, seed=seed)
        curve = StreamCurve(part)
        sizes = np.linspace(1, max(1, whole.reach), _SIZES)
        error = float(np.mean([abs(whole.at(size) - curve.at(size)) for size in sizes]))
        errors.append(error)
        share = part.stream.requests / requests
        rows.append({"stream": name, "mean error": f"{error:.5f}", "requests read": f"{share:.1%}"})
    note = f"over all sizes, worst of {len(errors)} streams of {requests} requests"
    figure = Figure("mean error of the sampled curve", max(errors), at_most=0.005, note=note)
    return [figure], rows


def _lru_hits(keys: KeyArray, size: int) -> int:
    cache: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for key in keys.tolist():
        if key in cache:
            hits += 1
            cache.move_to_end(key)
            continue
        cache[key] = None
        if len(cache) > size:
            cache.popitem(last=False)
    return hits
