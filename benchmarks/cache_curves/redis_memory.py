"""How many keys fit into Redis's `maxmemory`, by what its keys take now. Pure.

Besides the keys themselves there are two hash tables (all keys; those that expire), which only ever
double: https://github.com/redis/redis/blob/7.0/src/dict.c, `_dictNextExp`. Averaging them into the
size of a key would be up to 8 bytes of some hundred wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

_SLOT_BYTES = 8
_SMALLEST_TABLE = 4


@dataclass(frozen=True, slots=True)
class KeySizes:
    """What the keys of a server take.

    Attributes:
        fixed_bytes: what it takes without any key: itself and its clients.
        key_bytes: of one key with its value, without the tables.
        expiring: share of the keys that expire.
    """

    fixed_bytes: float
    key_bytes: float
    expiring: float

    @classmethod
    def of(cls, *, used: float, fixed: float, keys: int, expires: int) -> KeySizes | None:
        """From what a server says of itself, in bytes; None when it holds too little to tell."""
        tables = table_bytes(keys) + table_bytes(expires)
        if keys < 1 or used - fixed - tables <= 0:
            return None
        return cls(fixed, (used - fixed - tables) / keys, expires / keys)

    def bytes_for(self, keys: int) -> int:
        """The `maxmemory` that holds so many keys."""
        tables = table_bytes(keys) + table_bytes(round(keys * self.expiring))
        return round(self.fixed_bytes + tables + keys * self.key_bytes)

    def keys_in(self, maxmemory: float) -> int:
        """How many keys fit into a `maxmemory`."""
        low, high = 0, max(0, int((maxmemory - self.fixed_bytes) / self.key_bytes))
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.bytes_for(middle) <= maxmemory else (low, middle - 1)
        return low


def table_bytes(keys: int) -> int:
    """The size of a hash table for so many keys."""
    if keys < 1:
        return 0
    return _SLOT_BYTES * max(_SMALLEST_TABLE, 1 << (keys - 1).bit_length())
