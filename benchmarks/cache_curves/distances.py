"""How many different keys were used between two uses of the same key: exact LRU stack distances.

A cache that drops what was used longest ago, with room for `s` keys, answers a request exactly when
fewer than `s` different keys were used since the key's last use (Mattson, Gecsei, Slutz, Traiger,
IBM Systems Journal 9 (1970) 78-117). One pass thus gives the hit rate of every size at once.

For request i whose key was last used at p(i), the keys used in between are the i - p(i) - 1
requests less those whose own last use lies in between as well: as many as the earlier requests j
with p(j) > p(i) (Bennett and Kruskal, IBM Journal of Research and Development 19 (1975) 353-357).
They counted with a tree, request by request. Counting all requests bit by bit of p instead, as a
wavelet matrix does (Claude, Navarro, Ordóñez, Information Systems 47 (2015) 15-32), is the same
number of steps, but each of them is one NumPy operation over all requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Keys = NDArray[Any]

FIRST_USE = -1
"""Stands for the distance of a key that was not used before."""


@dataclass(frozen=True, slots=True, eq=False)
class Distances:
    """A stream of requests as an LRU cache sees it.

    Attributes:
        distance: by request, the different keys used since its key's last use; FIRST_USE for none.
        seen: by request, the different keys used before it since the first request.
    """

    distance: IntArray
    seen: IntArray

    @property
    def requests(self) -> int:
        """The number of requests."""
        return int(self.distance.size)

    @property
    def keys(self) -> int:
        """The number of different keys."""
        return int(np.count_nonzero(self.distance == FIRST_USE))


def stack_distances(keys: Keys) -> Distances:
    """Return the exact stack distances of requests, in their order."""
    previous = _last_uses(keys)
    again = np.flatnonzero(previous >= 0)
    distance = np.full(keys.size, FIRST_USE, dtype=np.int64)
    last = previous[again]
    distance[again] = again - last - 1 - _greater_before(_ranks(last))
    first = previous < 0
    return Distances(distance, np.cumsum(first) - first)


def cold_hits(stream: Distances) -> IntArray:
    """The hits of an LRU cache that was empty at the first request, by its size from 0 up.

    It ends with the size that holds all keys; a larger cache has as many hits.
    """
    again = stream.distance[stream.distance >= 0]
    hits = np.zeros(stream.keys + 1, dtype=np.int64)
    hits[1:] = np.cumsum(np.bincount(again, minlength=stream.keys))
    return hits


def _last_uses(keys: Keys) -> IntArray:
    """By request, the place of the last request of the same key; -1 where there is none."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    same = np.flatnonzero(ordered[1:] == ordered[:-1])
    previous = np.full(keys.size, -1, dtype=np.int64)
    previous[order[same + 1]] = order[same]
    return previous


def _ranks(places: IntArray) -> NDArray[np.int32]:
    """The rank of each of some different places."""
    if places.size == 0:
        return np.zeros(0, dtype=np.int32)
    taken = np.zeros(int(places.max()) + 1, dtype=np.int32)
    taken[places] = 1
    ranks: NDArray[np.int32] = (np.cumsum(taken, dtype=np.int32) - taken)[places]
    return ranks


def _greater_before(values: NDArray[np.int32]) -> IntArray:
    """For each element of a permutation of 0 … n-1, how many greater ones stand before it.

    From the highest bit down: of two values that agree above a bit and differ in it, the greater
    one has it set. The values are kept in order of their bits above, and of their places below
    that; those that agree above the bit thus stand together, from the least of them as an index.
    """
    size = values.size
    counts = np.zeros(size, dtype=np.int64)
    places = np.arange(size, dtype=np.int32)
    for bit in reversed(range(max(size - 1, 0).bit_length())):
        half = 1 << bit
        is_set = (values & half) != 0
        ones = np.zeros(size + 1, dtype=np.int32)
        np.cumsum(is_set, out=ones[1:])
        start = values & ~np.int32(2 * half - 1)
        ones_before = ones[:-1] - ones[start]
        clear = ~is_set
        counts[places[clear]] += ones_before[clear]
        index = np.arange(size, dtype=np.int32)
        target = np.where(is_set, start + half + ones_before, index - ones_before)
        values, places = _moved(values, target), _moved(places, target)
    return counts


def _moved(values: NDArray[np.int32], target: NDArray[np.int32]) -> NDArray[np.int32]:
    moved = np.empty_like(values)
    moved[target] = values
    return moved
