"""A share of the keys stands for all of them: how streams too long for exact distances are read.

SHARDS (Waldspurger, Park, Garthwaite, Ahmad, FAST 2015): a key is in the sample if a hash of it
says so, so all its uses are. Between two uses lie then about `share` as many different keys as in
the whole stream. Hot keys fall into the sample or not, which moves the whole curve; their
"SHARDS-adj" puts the number of requests right at distance 0. Here both counts that are known of the
whole stream are put right: the share is that of the keys that came into the sample, and each
request weighs so much that the requests of keys asked for about as often (within a factor of two)
add up to those of the whole stream: post-stratification (Holt and Smith, JRSS A 142 (1979) 33-46).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.cache_curves.distances import Distances, IntArray, Keys, stack_distances

FloatArray = NDArray[np.float64]

MOST_EXACT = 1_000_000
"""Streams up to so many requests are read whole."""

LARGEST_SHARE = 0.08
"""Hot keys make it rather more of the requests: a tenth or so."""

# The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): every bit into every other.
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """The requests of a share of the keys.

    Attributes:
        stream: their distances, counted in keys of the sample.
        place: by request of the sample, its place in the whole stream.
        weight: by request of the sample, how many of the whole stream it stands for.
        requests: of the whole stream.
        share: of the keys; 1 for all of them.
    """

    stream: Distances
    place: IntArray
    weight: FloatArray
    requests: int
    share: float


def sampled(keys: Keys, *, most: int = MOST_EXACT, seed: int = 0) -> Sampled:
    """Read a stream whole if it has at most `most` requests, else a share of its keys."""
    if keys.size <= most:
        return _whole(keys)
    return sampled_at(keys, min(LARGEST_SHARE, most / keys.size), seed=seed)


def sampled_at(keys: Keys, share: float, *, seed: int = 0) -> Sampled:
    """Read the requests of a share of the keys.

    Args:
        keys: the stream, whole numbers; only equal ones are the same key.
        share: above 0, at most 1.
        seed: other seeds choose other keys.
    """
    known, which, uses = np.unique(keys, return_inverse=True, return_counts=True)
    chosen = _mixed(known.astype(np.uint64), seed) < np.uint64(share * 2.0**63)
    if not chosen.any():
        return _whole(keys)
    place = np.flatnonzero(chosen[which])
    weight = _weights(uses, chosen)[which[place]]
    real_share = float(np.count_nonzero(chosen)) / known.size
    return Sampled(stack_distances(keys[place]), place, weight, int(keys.size), real_share)


def _whole(keys: Keys) -> Sampled:
    size = int(keys.size)
    return Sampled(stack_distances(keys), np.arange(size), np.ones(size), size, 1.0)


def _weights(uses: IntArray, chosen: NDArray[np.bool_]) -> FloatArray:
    """By key, how many requests each of its requests stands for."""
    stratum = _strata(np.log2(uses).astype(np.int64), chosen)
    whole = np.bincount(stratum, weights=uses)
    found = np.bincount(stratum[chosen], weights=uses[chosen], minlength=whole.size)
    weight: FloatArray = (whole / np.maximum(found, 1.0))[stratum]
    return weight


def _strata(kind: IntArray, chosen: NDArray[np.bool_]) -> IntArray:
    """Join each kind of key of which none was chosen with the next rarer one that has some."""
    has_some = np.zeros(int(kind.max()) + 1, dtype=np.int64)
    has_some[kind[chosen]] = 1
    joined = np.maximum(np.cumsum(has_some) - 1, 0)
    stratum: IntArray = joined[kind]
    return stratum


def _mixed(keys: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Hash keys to 63 bits."""
    mixed = keys + np.uint64((seed + 1) * _GOLDEN % 2**64)
    for shift, factor in _MIX:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(1)
