"""Which version answers a request: a pure function of the experiment's salt and the sticky key.

It stands in the registry because serving assigns by it and the benchmarks check it. The same salt
and key give the same point in every process, after every restart and on every replica. When a
weight grows, the challenger's share of the unit interval grows at its upper end only, so a key
can move from control to challenger and never the other way.
"""

from __future__ import annotations

import math
from hashlib import blake2b

from registry.records import Route, RouteMode, Variant

_DIGEST_BYTES = 8
# A double holds 53 bits, so the point is the upper 53 of the 64 hashed bits: uniform on a grid of
# 2**-53, and a weight is met exactly, without any rounding of the hash up to 1.0.
_SHIFT = 11
_GRID = 2.0**-53


def salt_prefix(salt: str) -> bytes:
    """Return the salt in the form `point` takes: its length first, so no two pairs run together."""
    raw = salt.encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(4, "big") + raw


def point(prefix: bytes, key: bytes) -> float:
    """Return where `key` falls in [0, 1) under the salt of `prefix` (see `salt_prefix`)."""
    digest = blake2b(prefix + key, digest_size=_DIGEST_BYTES).digest()
    return (int.from_bytes(digest, "big") >> _SHIFT) * _GRID


class Division:
    """The fast form of `assign` for one salt and weight, made once for a route."""

    __slots__ = ("_below", "_salted")

    def __init__(self, salt: str, weight: float) -> None:
        self._salted = blake2b(salt_prefix(salt), digest_size=_DIGEST_BYTES)
        # The digests whose point is below the weight, as one bound on whole numbers.
        self._below = math.ceil(weight / _GRID) << _SHIFT

    def to_challenger(self, key: bytes) -> bool:
        """Tell whether the challenger answers requests with this key."""
        digest = self._salted.copy()
        digest.update(key)
        return int.from_bytes(digest.digest(), "big") < self._below


def bucket(salt: str, key: str) -> float:
    """Return where `key` falls in [0, 1) under `salt`; uniform over keys."""
    return point(salt_prefix(salt), key.encode("utf-8", "surrogatepass"))


def assign(route: Route, key: str) -> Variant:
    """Return the variant that answers requests with this sticky key under `route`."""
    if route.mode is RouteMode.AB and bucket(route.salt, key) < route.weight:
        return Variant.CHALLENGER
    return Variant.CHAMPION
