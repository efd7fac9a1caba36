"""Identifiers as an argument: sortable by time, safe in URLs, file names and SQL."""

from __future__ import annotations

import random
import secrets
from typing import Protocol

from config.clock import Clock, SystemClock, epoch

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, in lower case
_TIME_DIGITS = 9
_RANDOM_DIGITS = 10


class Ids(Protocol):
    """Makes identifiers that never repeat."""

    def new(self, prefix: str) -> str:
        """Return `prefix-…`, made of letters, digits and hyphens."""
        ...


def _base32(number: int, digits: int) -> str:
    return "".join(_ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(digits)))


class SystemIds:
    """Identifiers from wall time (milliseconds) and the system's secure randomness."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()

    def new(self, prefix: str) -> str:
        """Return an identifier that sorts by the time it was made."""
        millis = int(epoch(self._clock.now()) * 1000)
        noise = secrets.randbits(5 * _RANDOM_DIGITS)
        return f"{prefix}-{_base32(millis, _TIME_DIGITS)}{_base32(noise, _RANDOM_DIGITS)}"


class SeededIds:
    """The same identifiers in the same order for the same seed: for tests and replays."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._count = 0

    def new(self, prefix: str) -> str:
        """Return the next identifier of this seed's series."""
        self._count += 1
        noise = self._random.getrandbits(5 * _RANDOM_DIGITS)
        return f"{prefix}-{_base32(self._count, _TIME_DIGITS)}{_base32(noise, _RANDOM_DIGITS)}"
