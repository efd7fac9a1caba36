"""Streams of keys of known shapes, and the plain LRU cache they are held against."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

KeyArray = NDArray[np.uint64]


def zipf(requests: int, keys: int, exponent: float, seed: int) -> KeyArray:
    """Keys of which the n-th is asked for in proportion to n to the power of -exponent."""
    chances = np.arange(1, keys + 1) ** -exponent
    drawn = np.random.default_rng(seed).choice(keys, requests, p=chances / chances.sum())
    return drawn.astype(np.uint64)


def lru_hits(keys: Iterable[int], size: int) -> Sequence[bool]:
    """Whether each request is answered by an LRU cache that was empty at the first."""
    cache: OrderedDict[int, None] = OrderedDict()
    hits = []
    for key in keys:
        hits.append(key in cache)
        cache[key] = None
        cache.move_to_end(key)
        if len(cache) > size:
            cache.popitem(last=False)
    return hits
